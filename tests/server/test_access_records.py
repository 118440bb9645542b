"""What the access log is told of each request."""

from __future__ import annotations

import socket
import time

from tests.server.conftest import StartServer


def test_a_record_tells_who_asked_what_and_how_it_went(start_server: StartServer) -> None:
    server = start_server()
    begun = time.time()
    with server.wire() as wire:
        wire.ask("PUT", "/digest?a=%20", b"x" * 12345, "User-Agent: some/1.0")
        wire.ask("GET", "/identity?user=someone")
        wire.ask("GET", "/stream?count=2&size=10")
        wire.send(b"GET / HTTP/1.0\r\n\r\n").reply()
    put, known, streamed, old = server.records(4)
    assert (put.method, put.target, put.protocol) == ("PUT", "/digest?a=%20", "HTTP/1.1")
    assert (put.remote, put.user, put.agent) == ("127.0.0.1", None, "some/1.0")
    assert (put.status, put.received) == (201, 12345)
    assert put.sent > 64
    assert begun - 1 < put.time < time.time() + 1
    assert 0 <= put.seconds < 10
    assert put.request_id
    assert (known.user, known.received, known.sent, known.agent) == ("someone", 0, 5, "")
    assert streamed.sent == 20
    assert (old.protocol, old.sent) == ("HTTP/1.0", 4096)
    assert len({record.request_id for record in (put, known, streamed, old)}) == 4


def test_a_request_that_the_server_refuses_has_a_record_too(start_server: StartServer) -> None:
    server = start_server(header_timeout=0.3)
    with server.wire() as wire:
        wire.send(b"PUT /x?y HTTP/1.0\r\nHost: localhost:evil\r\n\r\n")
        assert wire.reply().status == 400
    (evil,) = server.records(1)
    assert (evil.method, evil.target, evil.protocol) == ("PUT", "/x?y", "HTTP/1.0")
    for request in (b"nonsense\r\n", b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /late"):
        with server.wire() as wire:
            assert wire.send(request).reply().status >= 400
    with server.wire() as wire:
        assert wire.ask("GET", "/fail?when=call").status == 500
    nonsense, escape, late, failed = server.records(5)[1:]
    assert (nonsense.status, nonsense.target) == (400, "nonsense")
    assert (escape.status, escape.target) == (400, "/%zz")
    assert (late.status, late.target) == (408, "GET /late")
    assert (failed.status, failed.method, failed.target) == (500, "GET", "/fail?when=call")


def test_a_broken_upload_has_a_record_without_success(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.reply().status == 400
    (record,) = server.records(1)
    assert (record.status, record.received) == (400, 3)


def test_the_access_log_can_be_absent(start_server: StartServer) -> None:
    server = start_server(log=False)
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
    assert (server.folder / "access").read_text() == ""
