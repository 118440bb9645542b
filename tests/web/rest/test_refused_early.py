"""What the server refuses before the face sees it is a problem document there as well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.components.davserver import DavServer
from tests.server.wire import Reply, Wire
from tests.web.rest.face import BASE


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    home = tmp_path_factory.mktemp("early")
    settings = {"proxy": {"prefix": "/drive"}, "limits": {"body_timeout": 1}}
    with DavServer(home, home / "root", settings=settings) as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


def asked(server: DavServer, request: bytes | str, method: str = "GET") -> Reply:
    """`request` with its first line, and Host unless it has one."""
    with Wire(server.address) as wire:
        text = request if isinstance(request, bytes) else request.encode("latin-1")
        if b"Host" not in text:
            text = text.replace(b"\r\n", b"\r\nHost: localhost\r\n", 1)
        return wire.send(text).reply(method)


def problem(reply: Reply) -> dict[str, Any]:
    assert reply.headers["content-type"] == "application/problem+json", reply
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["connection"] == "close"
    document: dict[str, Any] = json.loads(reply.body)
    assert document["status"] == reply.status
    assert document["type"] == "urn:davstore:problem:" + document["code"]
    assert document["title"] and document["detail"].endswith(".")
    return document


def line(path: str, method: str = "GET", more: str = "") -> str:
    return f"{method} {BASE}/{path} HTTP/1.1\r\n{more}\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "code", "field"),
    [
        (line("stat/a%2Fb"), 400, "name-invalid", "path"),
        (line("stat/a%2fb"), 400, "name-invalid", "path"),
        (line("stat/a%00"), 400, "name-invalid", "path"),
        (line("stat/%FF"), 400, "name-invalid", "path"),
        (line("stat/\xff"), 400, "name-invalid", "path"),
        (line("stat/%zz"), 400, "name-invalid", "path"),
        (line("stat/a#b"), 400, "name-invalid", "path"),
        (line("upload/%FF", "PUT", "Content-Length: 1\r\n") + "x", 400, "name-invalid", "path"),
        (line("tus/%FF", "POST", "Upload-Length: 1\r\n"), 400, "name-invalid", "path"),
        (line("stat/" + "a" * 70_000), 414, "path-too-long", "path"),
        (line("stat/a", "GET", f"X: {'a' * 70_000}\r\n"), 431, "headers-too-large", None),
        (line("stat/a", "GET", "Expect: tea\r\n"), 417, "expectation-unknown", "Expect"),
        (line("search", "POST", "Content-Length: x\r\n"), 400, "request-invalid", "Content-Length"),
        (line("a", "PUT", "Content-Length: -1\r\n"), 400, "request-invalid", "Content-Length"),
        (
            line("upload/a", "PUT", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            400, "request-invalid", "Transfer-Encoding",
        ),
        (
            line("upload/a", "PUT", "Transfer-Encoding: gzip, chunked\r\n"),
            501, "not-implemented", "Transfer-Encoding",
        ),
        (line("stat/a", "GET", "Range: x\r\nRange: y\r\n"), 400, "request-invalid", "Range"),
        (line("stat/a", "GET", "Host: /\r\n"), 400, "request-invalid", "Host"),
        (line("stat/a", "GET", "no colon\r\n"), 400, "request-invalid", None),
        (line("stat/a", "get"), 501, "not-implemented", None),
        (line("stat/a").replace("1.1", "2.0"), 505, "version-unknown", None),
        (f"GET http://localhost{BASE}/stat/%FF HTTP/1.1\r\n\r\n", 400, "name-invalid", "path"),
        (line("stat/%FF").replace("/v1.0.0", "/v1.0.0.0"), 400, "name-invalid", "path"),
        (line("stat/%FF").replace("/file", "/%66ile"), 400, "name-invalid", "path"),
    ],
)  # fmt: skip
def test_a_head_that_is_refused(
    early: DavServer, request_: str, status: int, code: str, field: str | None
) -> None:
    reply = asked(early, request_)
    document = problem(reply)
    assert (reply.status, document["code"], document.get("field")) == (status, code, field)


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        *(
            (target, body, 400, "request-invalid")
            for target in ("PUT {}/upload/broken", "POST {}/tus/broken", "POST {}/mkdir/broken")
            for body in (b"zz\r\n", b"3\r\nabcdef\r\n", b"3\r\nabc\r\n0\r\nnonsense\r\n\r\n")
        ),
        ("PUT {}/upload/broken", b"3\r\nab", 408, "request-timeout"),
    ],
)
def test_a_body_that_breaks_leaves_nothing(
    early: DavServer, target: str, body: bytes, status: int, code: str
) -> None:
    kind = "application/json" if "mkdir" in target else "application/offset+octet-stream"
    head = (
        f"{target.format(BASE)} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n"
        "Tus-Resumable: 1.0.0\r\nUpload-Length: 100\r\n\r\n"
    )
    reply = asked(early, head.encode() + body)
    document = problem(reply)
    assert (reply.status, document["code"], document["field"]) == (status, code, "body")
    assert asked(early, line("stat/broken")).status == 404


def test_a_head_is_asked_for_only(early: DavServer) -> None:
    reply = asked(early, line("stat/%FF", "HEAD"), "HEAD")
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")


def test_webdav_has_plain_text(early: DavServer) -> None:
    for path in ("/a%2Fb", "/filestorage/a%2Fb", "/filestorage/v1.0.01/%FF", f"/x{BASE}/%FF"):
        reply = asked(early, f"GET {path} HTTP/1.1\r\n\r\n")
        assert (reply.status, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
