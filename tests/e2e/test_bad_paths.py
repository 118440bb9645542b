"""Paths that no resource can have, as target and as destination, with every method."""

from __future__ import annotations

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client, exchange
from tests.e2e.conftest import Place
from tests.e2e.refusal import CHANGE_BODY, LOCK_BODY, Unchanged, is_refused

_HOST = b"Host: localhost\r\n"

#: Targets below a folder that exists.
TARGETS = {
    "a percent sign alone": "%",
    "half a percent-encoding": "%4",
    "a percent-encoding that is none": "%zz.txt",
    "a NUL": "a%00b.txt",
    "a line break": "a%0d%0ab.txt",
    "a slash within a name": "a%2Fb.txt",
    "dots that lead out": "../../../../etc/passwd",
    "encoded dots that lead out": "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "encoded dots and slashes": "%2e%2e%2fescaped.txt",
    "dots at the end": "sub/..",
    "Latin-1 instead of UTF-8": "%FCber.txt",
    "an overlong encoding": "%c0%af.txt",
    "a surrogate": "%ed%a0%80.txt",
    "a character that XML cannot carry": "%01.txt",
    "a name of 256 bytes": "n" * 256,
    "a name of 256 bytes in fewer characters": "%C3%BC" * 128,
    "a path of more than 4,096 bytes": "/".join(["d" * 200] * 21),
    "a name that davstore keeps for itself": ".davstore~",
    "a file that davstore keeps for itself": ".davstore~/u1",
    "a file within a file": "file.txt/below.txt",
    "a file with a slash behind it": "file.txt/",
}


@pytest.mark.parametrize("name", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize(
    "method", ["PUT", "MKCOL", "GET", "PROPFIND", "DELETE", "LOCK", "PROPPATCH"]
)
def test_a_path_that_no_resource_can_have_is_refused_with_every_method(
    server: DavServer, place: Place, file: str, method: str, name: str
) -> None:
    bodies = {"PUT": b"changed", "LOCK": LOCK_BODY, "PROPPATCH": CHANGE_BODY}
    body = bodies.get(method, b"")
    head = f"{method} {place.path}{name} HTTP/1.1\r\nHost: localhost\r\nDepth: 0\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with Unchanged(server, place):
        is_refused(exchange(server.address, head.encode() + body, method=method))


@pytest.mark.parametrize("name", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_destination_that_no_resource_can_have_is_refused(
    server: DavServer, place: Place, client: Client, file: str, method: str, name: str
) -> None:
    with Unchanged(server, place):
        answer = client(method, file, Destination=f"{server.url.rstrip('/')}{place.path}{name}")
        is_refused(answer)


@pytest.mark.parametrize(
    "target",
    ["/caf\u00e9.txt".encode("latin-1"), b"/\xff\xfe", "/ü".encode(), b"/a\x7fb", b"/a\tb"],
    ids=["Latin-1", "no encoding", "UTF-8 unescaped", "DEL", "tab"],
)
def test_bytes_that_a_target_cannot_hold_are_answered_without_a_change(
    server: DavServer, place: Place, target: bytes
) -> None:
    with Unchanged(server, place):
        sent = b"GET " + target + b" HTTP/1.1\r\n" + _HOST + b"\r\n"
        is_refused(exchange(server.address, sent))
