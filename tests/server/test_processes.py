"""Supervisor, workers and housekeeper as processes: started, killed, replaced, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.components.processes import NotReady, is_alive, wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer


def _ask(server: AppServer) -> int:
    """The process that answers."""
    with server.wire() as wire:
        return int(wire.ask("GET", "/pid").text)


def test_all_workers_answer_on_one_socket(start_server: StartServer) -> None:
    server = start_server(workers=2)
    workers = set(server.workers())
    assert len(workers) == 2
    seen: set[int] = set()

    def both_seen() -> bool:
        # Several at once, so that one process alone does not get them all.
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(server.wire()) for _ in range(20)]
            for wire in wires:
                wire.send(b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n")
            seen.update(int(wire.reply().text) for wire in wires)
        return seen == workers

    wait_until(both_seen, 20, "answers of both workers")


def test_the_start_is_announced_when_every_worker_answers(start_server: StartServer) -> None:
    server = start_server(workers=3)
    assert len(server.workers()) == 3
    assert server.said().count("ready on port") == 1


def test_a_killed_worker_is_replaced_and_service_goes_on(start_server: StartServer) -> None:
    server = start_server(workers=2)
    for _ in range(3):
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        _await_others(server, [victim], 2)
        assert _ask(server) in server.workers()
    assert "SIGKILL" in server.said()


def _await_others(server: AppServer, gone: list[int], count: int) -> None:
    """Until `count` workers are there, none of them one of `gone`."""

    def replaced() -> bool:
        workers = server.workers()
        return len(workers) == count and not set(gone) & set(workers)

    wait_until(replaced, 20, f"{count} workers in place of {gone}")


def test_a_worker_that_dies_in_a_request_costs_that_request_only(
    start_server: StartServer,
) -> None:
    server = start_server(workers=1)
    with server.wire() as wire:
        wire.send(b"GET /die HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.is_closed()
    assert _ask(server)


def test_when_the_supervisor_is_killed_its_children_die(start_server: StartServer) -> None:
    server = start_server(workers=2, house=True)
    wait_until((server.folder / "housekeeper").exists, 10, "the housekeeper")
    pids = server.pids()
    assert len(pids) == 4
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), 10, "the end of its children")
    # The port is free again at once.
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(server.address)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_stop_lets_a_slow_download_end(
    start_server: StartServer, number: signal.Signals
) -> None:
    server = start_server(workers=2)
    pids = server.pids()
    with server.wire() as busy, server.wire() as idle:
        assert idle.ask("GET", "/").status == 200
        busy.send(b"GET /paced HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"begun" not in busy._ahead:
            busy._more()
        os.kill(server.pid, number)
        assert idle.is_closed()
        server.await_refusal()
        (server.folder / "pace").touch()
        assert busy.reply().body == b"begunended"
    wait_until(lambda: not any(map(is_alive, pids)), 10, "the end")
    assert server._process is not None
    assert server._process.wait() == 0
    assert sorted(server.events()) == ["application closed", "application closed", "closed"]


def test_a_graceful_stop_lets_an_upload_end(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        wait_until(lambda: len(_threads(server)) > 4, 10, "the upload's waiting")
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        reply = wire.send(b"def").reply()
        assert (reply.status, reply.headers["connection"]) == (201, "close")
    assert server._process is not None
    assert server._process.wait(10) == 0


def _threads(server: AppServer) -> list[Path]:
    return [task for pid in server.workers() for task in Path(f"/proc/{pid}/task").iterdir()]


def test_a_graceful_stop_waits_no_longer_than_it_may(start_server: StartServer) -> None:
    server = start_server(drain_timeout=0.5)
    with server.wire() as stalled:
        stalled.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        wait_until(lambda: len(_threads(server)) > 4, 10, "the upload's waiting")
        assert server.stop(seconds=10) == 0


def test_a_second_signal_stops_at_once(start_server: StartServer) -> None:
    server = start_server(drain_timeout=60)
    with server.wire() as stalled:
        stalled.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        wait_until(lambda: len(_threads(server)) > 4, 10, "the upload's waiting")
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        process = server._process
        assert process is not None

        def has_ended() -> bool:
            os.kill(server.pid, signal.SIGTERM)
            return process.poll() is not None

        # One that comes within a second is taken for the first one.
        wait_until(has_ended, 10, "its end at once")
        assert process.poll() == 1


def test_a_reload_replaces_the_workers_and_loses_no_request(start_server: StartServer) -> None:
    server = start_server(workers=2, house=True)
    wait_until((server.folder / "housekeeper").exists, 10, "the housekeeper")
    old = server.workers()
    over = threading.Event()
    statuses: list[int] = []

    def keep_asking() -> None:
        while not over.is_set():
            with server.wire() as wire:
                statuses.append(wire.ask("GET", "/").status)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        with server.wire() as busy:
            busy.send(b"GET /paced HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while b"begun" not in busy._ahead:
                busy._more()
            os.kill(server.pid, signal.SIGHUP)
            wait_until((server.folder / "housekeeper-stopped").exists, 20, "the old ones' leave")
            (server.folder / "pace").touch()
            assert busy.reply().body == b"begunended"
        wait_until(lambda: not any(map(is_alive, old)), 20, "the end of the old workers")
    finally:
        over.set()
        asking.join()
    # The new housekeeper counts as a worker until it has said that it is none.
    _await_others(server, old, 2)
    assert set(statuses) == {200}


def test_a_reload_that_cannot_start_leaves_the_old_workers_alone(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2)
    old = server.workers()
    (server.folder / "broken").touch()
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "Reload failed" in server.said(), 20, "the failure")
    wait_until(lambda: server.workers() == old, 20, "the end of the new workers")
    assert _ask(server) in old
    (server.folder / "broken").unlink()
    os.kill(server.pid, signal.SIGHUP)
    _await_others(server, old, 2)
    assert server.stop() == 0


def test_an_application_that_cannot_be_built_ends_the_start_with_a_message(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken").touch()
    server = AppServer(tmp_path, workers=2)
    with pytest.raises(NotReady, match="ended with 1"):
        server.start()
    assert "the application is broken on purpose" in server.said()
    assert server.said().count("A worker cannot start") <= 2


def test_a_worker_that_cannot_be_built_later_is_tried_again_ever_more_slowly(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2)
    (server.folder / "broken").touch()
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(lambda: "another one follows in 0.4 s" in server.said(), 20, "a longer pause")
    assert _ask(server)
    (server.folder / "broken").unlink()
    wait_until(lambda: len(server.workers()) == 2, 20, "the worker that succeeds")
    assert server.said().count("A worker cannot start") < 10


def test_an_address_that_is_taken_ends_the_start_with_a_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = AppServer(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(NotReady, match="ended with 1"):
            server.start()
    assert "Cannot listen on 127.0.0.1" in server.said()
    assert "Address already in use" in server.said()


def test_the_housekeeper_is_one_is_replaced_and_is_told_to_stop(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2, house=True)
    file = server.folder / "housekeeper"
    wait_until(file.exists, 10, "the housekeeper")
    first = int(file.read_text())
    assert len(server.pids()) == 4
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: file.read_text() not in ("", str(first)), 10, "another housekeeper")
    assert is_alive(int(file.read_text()))
    assert server.stop() == 0
    assert (server.folder / "housekeeper-stopped").exists()


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost"])
def test_it_listens_where_it_is_told(start_server: StartServer, host: str) -> None:
    server = start_server(host=host)
    if host == "::":
        server.host = "127.0.0.1"
        assert _ask(server)
        server.host = "::1"
    elif host == "0.0.0.0":
        server.host = "127.0.0.1"
    assert _ask(server)


def test_nobody_connects_any_more_before_the_socket_is_closed(start_server: StartServer) -> None:
    """Whom the kernel still connected then would be reset."""
    server = start_server()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    with server.wire() as waiting:
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: _is_silent(server), 10, "silence")
        os.kill(worker, signal.SIGCONT)
        assert waiting.ask("GET", "/").status == 200
    server.await_refusal()
    assert server._process is not None
    assert server._process.wait(20) == 0


def _is_silent(server: AppServer) -> bool:
    """Whether the kernel lets a request to connect lie; else it answers at once."""
    try:
        socket.create_connection(server.address, timeout=0.2).close()
    except TimeoutError:
        return True
    return False


def test_a_connection_that_came_before_the_stop_is_served(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as silent:
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        reply = silent.ask("GET", "/")
        assert (reply.status, reply.headers["connection"]) == (200, "close")
