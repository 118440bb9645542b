"""Requests that no good client sends: a short 4xx (501 for unknown methods).

Never a 500, never a connection that ends without an answer, and nothing changes.
"""

from __future__ import annotations

import socket

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client, exchange
from tests.e2e.conftest import Place
from tests.e2e.refusal import Unchanged, is_refused

_HOST = b"Host: localhost\r\n"

MALFORMED = {
    "only a word": b"GARBAGE\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "four words": b"GET / HTTP/1.1 more\r\n" + _HOST + b"\r\n",
    "a version that is none": b"GET / HTTP/x.y\r\n" + _HOST + b"\r\n",
    "a target without a slash": b"GET file.txt HTTP/1.1\r\n" + _HOST + b"\r\n",
    "binary": bytes(range(1, 9)) + b"\xff\xfe\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a method with a bracket": b"G(T / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + _HOST + b"no colon\r\n\r\n",
    "a header with a space before its colon": b"GET / HTTP/1.1\r\n" + _HOST + b"A : b\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + _HOST + b"A: b\r\n c\r\n\r\n",
    "a header with a NUL": b"GET / HTTP/1.1\r\n" + _HOST + b"A: b\0c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + _HOST + b"Host: localhost2\r\n\r\n",
    "a megabyte of headers": b"GET / HTTP/1.1\r\n" + _HOST + b"A: bcdefg\r\n" * 100_000 + b"\r\n",
    "a request line of a megabyte": b"GET /"
    + b"a" * 1_000_000
    + b" HTTP/1.1\r\n"
    + _HOST
    + b"\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_head_is_answered_with_4xx(
    server: DavServer, place: Place, sent: bytes
) -> None:
    with Unchanged(server, place):
        is_refused(exchange(server.address, sent), *range(400, 500), 505)


LENGTHS = {
    "negative": b"Content-Length: -1\r\n",
    "with an underscore": b"Content-Length: 1_0\r\n",
    "with a plus": b"Content-Length: +7\r\n",
    "hexadecimal": b"Content-Length: 0x7\r\n",
    "empty": b"Content-Length:\r\n",
    "twice and different": b"Content-Length: 7\r\nContent-Length: 8\r\n",
    "with Transfer-Encoding": b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
    "an encoding that is none": b"Transfer-Encoding: gzipped\r\n",
    "chunked, but not last": b"Transfer-Encoding: chunked, identity\r\n",
    "more digits than a number has": b"Content-Length: " + b"9" * 5000 + b"\r\n",
}


@pytest.mark.parametrize("fields", LENGTHS.values(), ids=LENGTHS.keys())
def test_a_length_that_cannot_be_is_refused_before_anything_is_written(
    server: DavServer, place: Place, file: str, fields: bytes
) -> None:
    sent = b"PUT %s HTTP/1.1\r\n%s%s\r\nchanged" % (file.encode(), _HOST, fields)
    with Unchanged(server, place):
        is_refused(exchange(server.address, sent, method="PUT"), *range(400, 500), 501)


CHUNKS = {
    "a size that is no number": b"xyz\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "a size with an underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a size beyond all sizes": b"f" * 40 + b"\r\nabc\r\n0\r\n\r\n",
    "no end of line behind a chunk": b"3\r\nabcde\r\n0\r\n\r\n",
    "an extension of a megabyte": b"3;" + b"a" * 1_000_000 + b"\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_a_malformed_chunk_is_refused_and_the_old_content_stays(
    server: DavServer, place: Place, file: str, body: bytes
) -> None:
    head = b"PUT %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n" % (file.encode(), _HOST)
    with Unchanged(server, place):
        is_refused(exchange(server.address, head + body, method="PUT"))


@pytest.mark.parametrize("method", ["BREW", "PROPFINDX", "get", "X" * 200])
def test_an_unknown_method_is_answered_501(
    server: DavServer, place: Place, client: Client, file: str, method: str
) -> None:
    with Unchanged(server, place):
        is_refused(client(method, file), 501)


def test_a_request_that_follows_a_refused_one_with_a_body_is_never_taken_from_that_body(
    server: DavServer, place: Place, file: str
) -> None:
    """Bytes of an unread body must not run as a request (smuggling)."""
    inner = b"DELETE %s HTTP/1.1\r\n%s\r\n" % (file.encode(), _HOST)
    outer = b"PUT %s HTTP/1.1\r\n%sIf-None-Match: *\r\nContent-Length: %d\r\n\r\n" % (
        file.encode(),
        _HOST,
        len(inner),
    )
    chunked = b"PUT %s HTTP/1.1\r\n%sIf-None-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n" % (
        file.encode(),
        _HOST,
    )
    with Unchanged(server, place):
        for sent in (outer + inner, chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner)):
            is_refused(exchange(server.address, sent, method="PUT"), 412)


def test_two_requests_at_once_on_one_connection_are_both_answered(
    server: DavServer, file: str
) -> None:
    request = b"GET %s HTTP/1.1\r\n%s" % (file.encode(), _HOST)
    with socket.create_connection(server.address, timeout=20) as link:
        link.sendall(request + b"\r\n" + request + b"Connection: close\r\n\r\n")
        said = b""
        while data := link.recv(65536):
            said += data
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.count(b"content") >= 2


def test_a_host_that_is_not_this_machine_is_refused_while_everybody_may_enter(
    server: DavServer, place: Place, client: Client, file: str
) -> None:
    with Unchanged(server, place):
        is_refused(client("GET", file, Host="attacker.example"))
        is_refused(client("DELETE", file, Host="attacker.example"))
