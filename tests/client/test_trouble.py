"""What a client makes of answers that no davstore gives, of busy servers, and of many nodes."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest

from davstore.client import (
    Client,
    ClientError,
    Damaged,
    NoFace,
    Refused,
    Unavailable,
    Unreachable,
    wire,
)
from davstore.client.places import Nodes
from davstore.discovery import Discovery, Node, NoHealthyNode

#: More than one piece.
LARGE = 9 << 20

TIME = "2026-11-24T22:15:00Z"
FOLDER = {
    "path": "/",
    "name": "",
    "kind": "folder",
    "created": TIME,
    "modified": TIME,
    "etag": '"1"',
}


class Said(NamedTuple):
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    #: Bytes that are promised, and do not come.
    missing: int = 0


PROBLEM = (("Content-Type", "application/problem+json"),)
FILE = {**FOLDER, "path": "/x", "name": "x", "kind": "file", "size": 4, "digests": {}}
FOUND = Said(200, json.dumps(FILE).encode())
ETAG = (("ETag", '"1"'),)
GOOD = Said(200, json.dumps(FOLDER).encode())


@contextmanager
def saying(*answers: Said) -> Iterator[str]:
    """The address of a server that gives these answers, in this order, to whatever is asked."""

    class Handler(BaseHTTPRequestHandler):
        left: ClassVar = list(answers)

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = self.left.pop(0)
            self.send_response(said.status)
            length = ("Content-Length", str(len(said.body) + said.missing))
            for name, value in (*said.headers, length):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        do_PUT = do_POST = do_PATCH = do_HEAD = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
    assert Handler.left == []


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with saying(Said(status), Said(status), GOOD) as url, Client(url) as client:
        assert client.stat("/").is_folder


def test_not_before_it_wants_to_be() -> None:
    busy = Said(503, headers=(("Retry-After", "1"),))
    began = time.monotonic()
    with saying(busy, GOOD) as url, Client(url) as client:
        client.stat("/")
    assert time.monotonic() - began >= 1


def test_not_at_all_when_that_is_too_late() -> None:
    busy = Said(503, headers=(("Retry-After", "3600"),))
    began = time.monotonic()
    with saying(busy) as url, Client(url) as client, pytest.raises(Unavailable):
        client.stat("/")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        (Said(404, b"<html>"), NoFace, "not the REST face of a davstore"),
        (Said(302, headers=(("Location", "/x"),)), Refused, "sends on to /x; use that address"),
        (Said(500, b"<html>"), Refused, "500 Internal Server Error"),
        (Said(200, b"<html>"), Damaged, "is no JSON"),
        (Said(200, b"[]"), Damaged, "describes no file"),
        (Said(200, b'{"path": 1}'), Damaged, "describes no file"),
        (Said(200, b'"\xff'), Damaged, "is no JSON"),
        (Said(200, b"[" * 100_000), Damaged, "is no JSON"),
        (Said(400, b"[" * 100_000, PROBLEM), Refused, "400 Bad Request"),
        (Said(200, b"abcd", (("Content-Encoding", "gzip"),)), ClientError, "cannot be asked"),
        (Said(400, b"[1", PROBLEM), Refused, "400 Bad Request"),
    ],
)
def test_strange_answers(said: Said, kind: type[ClientError], sentence: str) -> None:
    with saying(said) as url, Client(url) as client, pytest.raises(kind, match=sentence):
        client.stat("/")


@pytest.mark.parametrize(
    ("done", "sentence"),
    [
        (lambda client, _: client.upload(io.BytesIO(b"abcd"), "/x"), "is no JSON"),
        (lambda client, _: client.upload(io.BytesIO(bytes(LARGE)), "/x"), "does not say where"),
        (lambda client, here: client.download("/x", here / "x"), "is no JSON"),
        (lambda client, _: list(client.list("/x")), "is no listing"),
        (lambda client, _: client.mkdir("/x"), "is no JSON"),
        (lambda client, _: client.move("/x", "/y"), "is no JSON"),
        (lambda client, _: client.copy("/x", "/y"), "is no JSON"),
        (lambda client, _: client.delete("/x"), "does not say that /x is gone"),
    ],
)
def test_a_page_of_a_login_is_no_success(
    tmp_path: Path, done: Callable[[Client, Path], object], sentence: str
) -> None:
    with saying(Said(200, b"<html>")) as url, Client(url) as client:
        with pytest.raises(Damaged, match=sentence):
            done(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_listing_that_has_begun_is_borne_for_as_long_as_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "_AT_FIRST", 0.3)
    lines = [json.dumps({**FILE, "name": name}).encode() + b"\n" for name in "ab"]
    busy = Said(503, headers=(("Retry-After", "1"),))
    answers = Said(200, lines[0], missing=100), busy, Said(200, b"".join(lines))
    with saying(*answers) as url, Client(url) as client:
        assert [entry.name for entry in client.list("/")] == ["a", "b"]


def test_half_a_listing_is_no_listing() -> None:
    line = json.dumps(FILE).encode()
    with saying(Said(200, line + b"\n" + line[:20])) as url, Client(url) as client:
        with pytest.raises(Damaged, match="is no listing, or not all of one"):
            list(client.list("/"))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (Said(200, b"abc", ETAG), "came 3 bytes, and it has 4"),
        (Said(200, b"abcde", ETAG), "another"),
        (Said(200, b"abcd", (*ETAG, ("Content-Encoding", "gzip"))), "cannot be read"),
    ],
)
def test_another_content_than_was_told(tmp_path: Path, said: Said, sentence: str) -> None:
    """It is asked for once more, and no more often than that."""
    with saying(FOUND, said, FOUND, said) as url, Client(url) as client:
        with pytest.raises(Damaged, match=sentence):
            client.download("/x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("offset", ["0", "1", "-1", "x", None, str(LARGE + 1)])
def test_another_offset_than_was_sent(offset: str | None) -> None:
    begun = Said(201, headers=(("Location", "/upload"),))
    taken = Said(204, headers=(("Upload-Offset", offset),) if offset is not None else ())
    with saying(begun, taken) as url, Client(url) as client, pytest.raises(Damaged):
        client.upload(io.BytesIO(bytes(LARGE)), "/x")


@pytest.mark.parametrize("location", ["", "http://[x", "http://x"])
def test_an_upload_without_an_address(location: str) -> None:
    begun = Said(201, headers=(("Location", location),))
    with saying(begun) as url, Client(url) as client:
        with pytest.raises(Damaged, match="does not say where"):
            client.upload(io.BytesIO(bytes(LARGE)), "/x")


class Known(Discovery):
    """These nodes, whatever Consul says."""

    def __init__(self, **shares: tuple[str, ...]) -> None:
        super().__init__("http://127.0.0.1:1", "known")
        self.known = [Node(name, name, 80, "http", (), mounts) for name, mounts in shares.items()]

    def in_turn(self) -> list[Node]:
        if not self.known:
            raise NoHealthyNode("no node is healthy")
        self.known.append(self.known.pop(0))
        return list(self.known)


def test_one_node_is_kept_until_it_fails() -> None:
    places = Nodes(Known(a=("/",), b=("/",), c=("/",)))
    first = places.current("/x")
    assert {places.current("/x") for _ in range(5)} == {first}
    assert places.leave(first, "/x")
    second = places.current("/x")
    assert second != first
    assert {places.current("/x") for _ in range(5)} == {second}
    assert places.leave(second, "/x")
    third = places.current("/x")
    # All have failed a moment ago: there is no other, and still one that is asked.
    assert not places.leave(third, "/x")
    assert places.current("/x") in (first, second, third)


def test_a_node_that_is_not_healthy_any_more_is_left() -> None:
    known = Known(a=("/",), b=("/",))
    places = Nodes(known)
    first = places.current("/")
    known.known = [node for node in known.known if node.url("") != first]
    assert places.current("/") != first
    known.known = []
    with pytest.raises(Unreachable, match="no node is healthy"):
        places.current("/")


def test_a_share_of_one_node_is_asked_for_there() -> None:
    places = Nodes(Known(a=("/", "/own"), b=("/",), c=("/", "/own/more")))
    for _ in range(5):
        assert places.current("/own/x") == "http://a:80"
        assert places.current("/own/more/x") == "http://c:80"
        assert not places.leave("http://a:80", "/own/x")
