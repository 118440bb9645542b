"""What the server refuses itself is told as the application wants it, if that says how."""

from __future__ import annotations

import json

import pytest

from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Reply


def told(reply: Reply) -> list[str]:
    assert reply.headers["content-type"] == "application/json", reply
    assert reply.headers["connection"] == "close"
    found: list[str] = json.loads(reply.body)
    return found


def test_a_head_that_is_refused(server: AppServer) -> None:
    target = "/explained/a%2Fb?x"
    sentence = "The path holds an escaped slash or NUL."
    with server.wire() as wire:
        reply = wire.ask("GET", target)
        assert reply.status == 400
        assert told(reply) == [target, "400 Bad Request", sentence, "path"]
        assert wire.is_closed()
    with server.wire() as wire:
        reply = wire.ask("GET", "/other/a%2Fb")
        assert (reply.status, reply.text) == (400, sentence + "\n")
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    with server.wire() as wire:
        reply = wire.ask("HEAD", target)
        assert (reply.status, reply.body) == (400, b"")
        assert wire.is_closed()


def test_a_head_that_is_too_long(server: AppServer) -> None:
    long = "/explained/" + "a" * 70_000
    with server.wire() as wire:
        target, status, _, field = told(wire.ask("GET", long))
    assert (status, field) == ("414 URI Too Long", "path")
    assert long.startswith(target) and len(target) > 500
    with server.wire() as wire:
        target, status, _, field = told(wire.ask("GET", "/explained", None, "X: " + "a" * 70_000))
    assert (target, status) == ("/explained", "431 Request Header Fields Too Large")


def test_what_is_no_request(server: AppServer) -> None:
    with server.wire() as wire:
        reply = wire.send("/explained\r\n\r\n").reply()
        assert (reply.status, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"zz\r\n", "400 Bad Request", "A chunk's size is malformed."),
        (b"3\r\nabcdef\r\n", "400 Bad Request", "A chunk is longer than its size says."),
        (b"", "408 Request Timeout", "Nothing moved for 1 seconds."),
    ],
)
def test_a_body_that_breaks(
    start_server: StartServer, body: bytes, status: str, sentence: str
) -> None:
    server = start_server(body_timeout=1)
    head = "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.wire() as wire:
        reply = wire.send(head.format("/digest?explained").encode() + body).reply()
    assert told(reply) == ["/digest?explained", status, sentence, "body"]
    with server.wire() as wire:
        reply = wire.send(head.format("/digest").encode() + body).reply()
    assert (f"{reply.status}", reply.text) == (status[:3], sentence + "\n")


def test_a_fault_of_the_application(server: AppServer) -> None:
    with server.wire() as wire:
        target, status, sentence, field = told(wire.ask("GET", "/fail?explained"))
    assert (target, status, field) == ("/fail?explained", "500 Internal Server Error", "")
    assert "The request's id in its log is" in sentence
