"""What stock cheroot 11.1.2 does and a file server must not, one test for each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import time
from pathlib import Path

import pytest

from tests.components.found import require
from tests.components.processes import wait_until
from tests.components.watching import MIB, MemoryWatch
from tests.server.certificate import make_certificate
from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire

CHUNKED = b"PUT /%b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_silent_connections_do_not_take_threads_from_others(start_server: StartServer) -> None:
    server = start_server(threads=4)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(server.wire())
        begun = time.monotonic()
        assert stack.enter_context(server.wire()).ask("GET", "/").status == 200
        assert time.monotonic() - begun < 5


def test_more_than_ten_kept_connections_stay_open(server: AppServer) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.wire()) for _ in range(14)]
        for _ in range(3):
            assert {wire.ask("GET", "/").status for wire in wires} == {200}


def test_more_than_five_connections_wait_while_nobody_accepts(start_server: StartServer) -> None:
    server = start_server()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        try:
            # Beyond the queue a connection would be tried again after one second, then two, ...
            wires = [stack.enter_context(server.wire(timeout=0.9)) for _ in range(100)]
        finally:
            os.kill(worker, signal.SIGCONT)
        for wire in wires:
            wire.socket.settimeout(20)
            assert wire.ask("GET", "/").status == 200


def test_headers_have_a_limit(wire: Wire) -> None:
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 100_000 + b"\r\n\r\n")
    assert wire.reply().status == 431


@pytest.mark.parametrize("framing", ["Content-Length: 150000000", "Transfer-Encoding: chunked"])
def test_an_unread_body_of_150_megabytes_costs_no_memory(
    start_server: StartServer, framing: str
) -> None:
    server = start_server()
    block = b"x" * 1_000_000
    sent = block if framing.startswith("Content") else b"f4240\r\n" + block + b"\r\n"
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
        with MemoryWatch(server.rss) as memory:
            wire.send(f"PUT /unread?status=401+No HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
            for _ in range(150):
                wire.send(sent)
            assert wire.reply().status == 401
            assert wire.is_closed()
        assert memory.growth < 16 * MIB


def test_an_unread_chunked_body_is_not_run_as_the_next_request(wire: Wire) -> None:
    smuggled = b"GET /die HTTP/1.1\r\nHost: localhost\r\n\r\n"
    wire.send(CHUNKED % b"unread" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled))
    assert wire.reply().body == b"unread"
    assert wire.ask("GET", "/unread").body == b"unread"


def test_an_early_reply_is_not_destroyed_by_a_hard_close(server: AppServer) -> None:
    for _ in range(20):
        with server.wire() as wire:
            wire.send(b"PUT /unread?status=403+No HTTP/1.1\r\nHost: a\r\n")
            wire.send(b"Content-Length: 2000000\r\n\r\n" + b"x" * 100_000)
            time.sleep(0)
            # Bytes that arrive after a hard close would reset the connection, reply and all.
            wire.send(b"x" * 1_900_000)
            assert wire.reply().status == 403
            assert wire.is_closed()


def test_a_chunked_body_is_taken_with_its_last_line(wire: Wire) -> None:
    begun = time.monotonic()
    for _ in range(5):
        wire.send(CHUNKED % b"digest" + b"3\r\nabc\r\n0\r\n\r\n")
        assert wire.reply().status == 201
        assert wire.ask("GET", "/").status == 200
    assert time.monotonic() - begun < 5


def test_continue_waits_for_the_application_and_knows_capitals(wire: Wire) -> None:
    head = "PUT /{} HTTP/1.1\r\nHost: a\r\nExpect: {}\r\nContent-Length: 3\r\n\r\n"
    assert wire.send(head.format("echo", "100-CONTINUE")).reply().status == 100
    assert wire.send(b"abc").reply().body == b"abc"
    wire.send(head.format("unread?status=401+No", "100-continue"))
    assert wire.reply().status == 401


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 1_0",
        "Content-Length: -1",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
    ],
)
def test_an_ambiguous_length_is_refused(wire: Wire, lines: str) -> None:
    wire.send(f"PUT /echo HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0123456789")
    assert wire.reply().status == 400


def test_a_header_name_with_an_underscore_does_not_pass_for_one_with_a_hyphen(
    wire: Wire,
) -> None:
    reply = wire.ask("GET", "/environ", None, "X_Real_IP: 6.6.6.6", "X-Real-IP: 1.1.1.1")
    assert '"HTTP_X_REAL_IP": "1.1.1.1"' in reply.text
    reply = wire.ask("GET", "/environ", None, "X-Real-IP: 1.1.1.1", "X_Real_IP: 6.6.6.6")
    assert '"HTTP_X_REAL_IP": "1.1.1.1"' in reply.text


def test_a_silent_client_of_a_tls_port_delays_nobody(
    start_server: StartServer, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    secure = start_server(tls_certificate=certificate, tls_key=key)
    with secure.wire() as silent:
        context = ssl.create_default_context(cafile=certificate)
        begun = time.monotonic()
        with secure.wire(tls=context) as wire:
            assert wire.ask("GET", "/").status == 200
        assert time.monotonic() - begun < 5
        assert silent.socket.fileno() > 0


def test_a_stop_does_not_wait_without_bound_for_a_stalled_download(
    start_server: StartServer,
) -> None:
    server = start_server(drain_timeout=0.5)
    with server.wire(receive_buffer=4096) as wire:
        wire.send(b"GET /stream?count=1000&size=1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.socket.recv(100)
        begun = time.monotonic()
        assert server.stop(seconds=15) == 0
        assert time.monotonic() - begun < 8


def test_an_upload_is_read_in_large_blocks(wire: Wire) -> None:
    reply = wire.ask("PUT", "/digest", b"x" * (32 * MIB))
    # Socket files read 8 KiB at a time: 4,096 reads.
    assert int(reply.headers["x-reads"]) < 1500


def test_an_early_end_of_an_upload_is_not_the_end_of_the_body(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    server.await_event("ClientGone")


def test_a_path_that_is_not_utf_8_is_answered(wire: Wire) -> None:
    assert wire.ask("GET", "/%ff").status == 400


def test_losers_of_a_race_to_accept_do_not_stall(start_server: StartServer) -> None:
    server = start_server(workers=3)
    taken = []
    for _ in range(200):
        begun = time.monotonic()
        with server.wire() as wire:
            assert wire.ask("GET", "/").status == 200
        taken.append(time.monotonic() - begun)
    assert max(taken) < 0.9


def test_a_request_that_computes_does_not_hold_up_the_others(start_server: StartServer) -> None:
    server = start_server(workers=1)
    with server.wire() as busy, server.wire() as other:
        busy.send(b"GET /compute?seconds=3 HTTP/1.1\r\nHost: a\r\n\r\n")
        begun = time.monotonic()
        for _ in range(5):
            assert other.ask("GET", "/").status == 200
        assert time.monotonic() - begun < 2
        assert busy.reply().body == b"computed"


def test_a_request_that_waits_for_a_store_does_not_hold_up_the_others(
    start_server: StartServer,
) -> None:
    server = start_server(workers=1)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(server.wire()) for _ in range(20)]
        for wire in waiting:
            wire.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        with server.wire() as other:
            for _ in range(20):
                assert other.ask("GET", "/").status == 200
        (server.folder / "gate").touch()
        assert {wire.reply().body for wire in waiting} == {b"waited"}
        # The threads come back: the same again, on the same connections.
        for wire in waiting:
            assert wire.ask("GET", "/wait").body == b"waited"


def test_a_stopped_worker_does_not_take_the_connections_of_the_others(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2)
    stopped = server.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:

        def served() -> bool:
            with server.wire(timeout=0.5) as wire:
                try:
                    return wire.ask("GET", "/").status == 200
                except TimeoutError:
                    return False

        wait_until(served, 20, "an answer of the other worker")
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_file_is_read_in_large_blocks(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    server = AppServer(tmp_path)
    options = ["-D", "-f", "-e", "trace=preadv,preadv2,pread64", "-o", str(trace)]
    server.argv = [str(require("strace")), *options, *server.argv]
    (tmp_path / "file").write_bytes(b"f" * 1_000_000)
    with server, server.wire() as wire:
        assert len(wire.ask("GET", "/span?name=file").body) == 1_000_000
    reads = re.findall(r"pread.*= (\d+)$", trace.read_text(), re.MULTILINE)
    assert sum(map(int, reads)) >= 1_000_000
    # Two blocks, and what was read again after waiting for the client.
    assert len(reads) < 20
