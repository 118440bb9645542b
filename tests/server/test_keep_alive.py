"""How long connections live, how many there may be, and what they cost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.components.processes import wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire

GET = "GET / HTTP/{}\r\nHost: localhost\r\n{}\r\n"


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: keep-alive\r\n", True),
        ("1.1", "Connection: Close\r\n", False),
        ("1.1", "Connection: upgrade, CLOSE\r\n", False),
        ("1.1", "Connection: TE\r\nConnection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive\r\n", True),
        ("1.0", "Connection: TE, keep-alive\r\n", True),
        ("1.0", "Connection: keep-alive, close\r\n", False),
    ],
)
def test_the_connection_header_decides_whether_the_connection_stays(
    wire: Wire, version: str, connection: str, stays: bool
) -> None:
    for _ in range(3 if stays else 1):
        reply = wire.send(GET.format(version, connection)).reply()
        assert reply.status == 200
        kept = "keep-alive" if version == "1.0" else None
        assert reply.headers.get("connection") == (kept if stays else "close")
    assert stays or wire.is_closed()


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    wire.send("".join(f"GET /x{n} HTTP/1.1\r\nHost: a\r\n\r\n" for n in range(200)))
    for number in range(200):
        assert f'"PATH_INFO": "/x{number}"' in wire.reply().text


def test_a_client_that_stops_sending_still_gets_its_reply(server: AppServer) -> None:
    with server.wire() as wire:
        wire.send(GET.format("1.1", "")).socket.shutdown(1)
        assert wire.reply().status == 200
        assert wire.is_closed()


def test_an_idle_connection_is_closed_in_time(start_server: StartServer) -> None:
    server = start_server(idle_timeout=0.2)
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
        assert wire.is_closed()


def test_a_silent_connection_is_closed_in_time(start_server: StartServer) -> None:
    server = start_server(header_timeout=0.2)
    with server.wire() as wire:
        assert wire.is_closed()


def test_a_head_that_takes_too_long_is_answered_408(start_server: StartServer) -> None:
    server = start_server(header_timeout=0.3)
    with server.wire() as wire:
        begun = time.monotonic()
        wire.send("GET / HTTP/1.1\r\n")
        wire.socket.settimeout(0.05)
        reply = None
        while reply is None and time.monotonic() < begun + 10:
            try:
                # However busily it trickles: the time is for the whole head.
                reply = wire.send("A: b\r\n").reply()
            except TimeoutError:
                continue
        assert reply is not None
        assert reply.status == 408


def test_at_the_limit_the_connection_that_was_idle_longest_makes_room(
    start_server: StartServer,
) -> None:
    server = start_server(connections=3)
    with server.wire() as first, server.wire() as second, server.wire() as third:
        for wire in (second, first, third):
            assert wire.ask("GET", "/").status == 200

        # A connection is idle enough after one second.
        def fourth_is_served() -> bool:
            with server.wire() as wire:
                return wire.ask("GET", "/").status == 200

        wait_until(fourth_is_served, 10, "room for a fourth connection")
        assert second.is_closed()
        assert third.ask("GET", "/").status == 200


def test_beyond_the_limit_a_client_is_told_503(start_server: StartServer) -> None:
    server = start_server(connections=2)
    with server.wire() as first, server.wire() as second:
        for wire in (first, second):
            wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123")
            wait_until(lambda: len(_threads(server)) >= 2, 10, "a request that waits")
        with server.wire() as third:
            reply = third.ask("GET", "/")
            assert (reply.status, reply.headers["connection"]) == (503, "close")
            assert third.is_closed()
        assert first.send(b"456789").reply().status == 201
        assert first.ask("GET", "/").status == 200


def _threads(server: AppServer) -> list[str]:
    return [entry.name for pid in server.workers() for entry in Path(f"/proc/{pid}/task").iterdir()]


def test_200_idle_and_half_sent_connections_cost_no_thread(start_server: StartServer) -> None:
    server = start_server()
    before = len(_threads(server))
    wires = [server.wire() for _ in range(200)]
    try:
        for number, wire in enumerate(wires):
            if number % 2:
                wire.send(b"GET / HTTP/1.1\r\nHost: loc")
            else:
                assert wire.ask("GET", "/").status == 200
        assert len(_threads(server)) == before
        for wire in wires[1::2]:
            assert wire.send(b"alhost\r\n\r\n").reply().status == 200
    finally:
        for wire in wires:
            wire.close()


def test_when_all_threads_wait_the_client_that_was_silent_longest_is_cut(
    start_server: StartServer,
) -> None:
    server = start_server(threads=3)
    begun = b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    wires = [server.wire() for _ in range(4)]
    try:
        for wire in wires[:3]:
            wire.send(begun)
        # The first was cut for the third: one thread is left for whoever comes.
        server.await_event("ClientGone")
        assert wires[3].ask("GET", "/").status == 200
    finally:
        for wire in wires:
            wire.close()
