"""Clients that take all that there is: threads, connections, the stack, the last moment."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.components.processes import wait_until
from tests.server.certificate import make_certificate
from tests.server.conftest import StartServer
from tests.server.harness import AppServer


def test_threads_that_waited_for_a_store_and_then_all_wait_for_clients_leave_one_for_others(
    start_server: StartServer,
) -> None:
    server = start_server(threads=2)
    with server.wire() as first, server.wire() as second, server.wire() as other:
        for wire in (first, second):
            wire.send(b"PUT /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        server.await_event("waits", "waits")
        (server.folder / "gate").touch()
        assert other.ask("GET", "/").status == 200
        # One was cut for it, no more.
        server.await_event("waits", "waits", "ClientGone")


@pytest.mark.parametrize("size", [1, 17_000])
@pytest.mark.parametrize("framing", ["Content-Length: {}", "Transfer-Encoding: chunked"])
def test_any_number_of_pipelined_requests_with_unread_bodies_is_answered(
    server: AppServer, framing: str, size: int
) -> None:
    is_chunked = "{" not in framing
    body = f"{size:x}\r\n{'x' * size}\r\n0\r\n\r\n" if is_chunked else "x" * size
    request = f"PUT /unread HTTP/1.1\r\nHost: a\r\n{framing.format(size)}\r\n\r\n{body}"
    left, connections = 3000, 0
    while left:
        connections += 1
        answered = _pipeline(server, request, left)
        left -= answered
        # A connection is closed only where the end of a chunked body has not come yet.
        assert answered
        assert is_chunked or not left
    print(f"{connections} connections")


def _pipeline(server: AppServer, request: str, count: int) -> int:
    """How many of `count` are answered on one connection; no answer is missing unannounced."""

    def send() -> None:
        with contextlib.suppress(ConnectionError):
            wire.send(request * count)

    with server.wire() as wire:
        sending = threading.Thread(target=send)
        sending.start()
        try:
            for number in range(1, count + 1):
                reply = wire.reply()
                assert reply.body == b"unread"
                if reply.headers.get("connection") == "close":
                    return number
        finally:
            wire.socket.shutdown(2)
            sending.join()
    return count


def test_heads_that_never_end_do_not_keep_new_connections_out(start_server: StartServer) -> None:
    server = start_server(connections=3)
    with contextlib.ExitStack() as stack:
        heads = [stack.enter_context(server.wire()) for _ in range(3)]
        for wire in heads:
            wire.send(b"GET / HTTP/1.1\r\n")

        def is_served() -> bool:
            with server.wire() as wire:
                return wire.ask("GET", "/").status == 200

        # Half of what a head may take by itself.
        wait_until(is_served, 10, "room for another one")
        assert heads[0].reply().status == 408


def test_a_reply_of_503_is_not_destroyed_by_the_next_connection(start_server: StartServer) -> None:
    server = start_server(connections=1)
    with server.wire() as busy, contextlib.ExitStack() as stack:
        busy.send(b"PUT /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        server.await_event("waits")
        refused = [stack.enter_context(server.wire()) for _ in range(20)]
        for wire in refused:
            assert wire.ask("PUT", "/unread", b"x" * 1000).status == 503
        (server.folder / "gate").touch()


def test_empty_lines_do_not_keep_a_connection_open(server: AppServer) -> None:
    with server.wire() as wire:
        wire.send(b"\r\n")
        # The answer to the first one would be there if it got any.
        assert wire.ask("GET", "/").status == 200
        wire.send(b"\r\n\r\n")
        assert wire.reply().status == 400
        assert wire.is_closed()


@pytest.mark.parametrize("target", ["/unread", "/wait"])
def test_an_early_reply_during_a_graceful_stop_is_not_destroyed(
    start_server: StartServer, target: str
) -> None:
    server = start_server()
    (server.folder / "gate").touch()
    with server.wire() as wire:
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        wire.send(f"PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        assert select.select([wire.socket], [], [], 10)[0]
        # For a while after the answer: a hard close would answer this with a reset.
        pace = threading.Event()
        for _ in range(20):
            wire.send(b"x" * 100_000)
            pace.wait(0.01)
        assert wire.reply().status == 200
        assert wire.is_closed()
    assert server._process is not None
    assert server._process.wait(10) == 0


def test_a_tls_client_that_came_before_the_stop_is_served(
    start_server: StartServer, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(tls_certificate=certificate, tls_key=key)
    context = ssl.create_default_context(cafile=certificate)
    with server.wire() as wire:
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
        reply = wire.ask("GET", "/")
        assert (reply.status, reply.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("tls", [False, True])
def test_a_reader_that_is_slow_but_fast_enough_gets_all_of_it(
    start_server: StartServer, tmp_path: Path, tls: bool
) -> None:
    # Kernels hold megabytes for a reader: no room in there does not mean that it takes nothing.
    given: dict[str, object] = {"body_timeout": 1.5, "rate_grace": 1.5, "min_rate": 20_000}
    context = None
    if tls:
        certificate, key = make_certificate(tmp_path)
        given |= {"tls_certificate": certificate, "tls_key": key}
        context = ssl.create_default_context(cafile=certificate)
    server = start_server(**given)
    with server.wire(tls=context, receive_buffer=65536) as wire:
        wire.send(b"GET /stream?count=1&size=8000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        taken = bytearray()
        pace = threading.Event()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            taken += wire.socket.recv(4096)
            pace.wait(0.03)
        while not taken.endswith(b"0\r\n\r\n"):
            data = wire.socket.recv(65536)
            assert data, f"cut after {len(taken)} bytes"
            taken += data
    assert len(taken) > 8_000_000


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_without_free_descriptors_idle_connections_make_room(start_server: StartServer) -> None:
    server = start_server()
    (worker,) = server.workers()
    most = _descriptors(worker) + 5
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.wire()) for _ in range(12)]
        for wire in wires:
            assert wire.ask("GET", "/").status == 200
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
    assert server.workers() == [worker]


#: What clients send before they go away.
ABUSES = (
    b"",
    b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo",
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x00\x05noise and more noise",
    b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    b"PUT /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\nabc",
    b"GET /span?name=file HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /stream?count=100&size=100000 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /fail?when=late HTTP/1.1\r\nHost: a\r\n\r\n",
)


@pytest.mark.parametrize("tls", [False, True])
def test_abuse_of_every_kind_leaves_no_descriptor_behind(
    start_server: StartServer, tmp_path: Path, tls: bool
) -> None:
    given: dict[str, object] = {"body_timeout": 5, "header_timeout": 5, "idle_timeout": 5}
    contexts: list[ssl.SSLContext | None] = [None]
    if tls:
        certificate, key = make_certificate(tmp_path)
        given |= {"tls_certificate": certificate, "tls_key": key}
        contexts.append(ssl.create_default_context(cafile=certificate))
    server = start_server(**given)
    (server.folder / "file").write_bytes(bytes(3_000_000))
    (worker,) = server.workers()
    with server.wire(tls=contexts[-1]) as wire:
        assert wire.ask("GET", "/").status == 200
        before = _descriptors(worker)
        for abuse in ABUSES * 5:
            for context in contexts:
                for how in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
                    # The server may be the first to end it.
                    with server.wire(tls=context) as other, contextlib.suppress(OSError):
                        other.send(abuse).socket.shutdown(how)
        wait_until(lambda: _descriptors(worker) <= before, 20, f"{before} descriptors")
    assert server.workers() == [worker]
