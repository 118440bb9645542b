"""The order of a stop: the node leaves, then accepts nothing more, then ends; housekeeper last."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from davstore.server.housekeeper import LEAVE_WITHIN, Duty
from tests.components.processes import is_alive, wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer


def _start(start_server: StartServer, **given: object) -> AppServer:
    server = start_server(house=True, admin=True, **given)
    wait_until((server.folder / "duty").exists, 10, "the housekeeper")
    return server


def _keeper(server: AppServer) -> int:
    return int((server.folder / "housekeeper").read_text())


def _admin(server: AppServer) -> tuple[int, int]:
    """Who answers at the admin port, and how many workers were replaced."""
    port = int((server.folder / "admin-port").read_text())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        pid, restarts = link.recv(100).split()
        return int(pid), int(restarts)


def _status(server: AppServer) -> int:
    with server.wire() as wire:
        return int(wire.ask("GET", "/").status)


def _exit_status(server: AppServer) -> int:
    assert server._process is not None
    return server._process.wait(20)


def test_new_connections_are_served_until_the_node_has_left(start_server: StartServer) -> None:
    server = _start(start_server, workers=2)
    (server.folder / "stay").touch()
    os.kill(server.pid, signal.SIGTERM)
    wait_until((server.folder / "leaving").exists, 10, "the leaving")
    assert _status(server) == 200
    assert _admin(server)[0] == _keeper(server)
    (server.folder / "stay").unlink()
    server.await_refusal()
    assert _exit_status(server) == 0
    assert "has not said in time" not in server.said()


def test_the_housekeeper_answers_as_long_as_requests_run(start_server: StartServer) -> None:
    server = _start(start_server)
    with server.wire() as busy:
        busy.send(b"GET /paced HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"begun" not in busy._ahead:
            busy._more()
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        assert _admin(server)[0] == _keeper(server)
        assert not (server.folder / "housekeeper-stopped").exists()
        (server.folder / "pace").touch()
        assert busy.reply().body == b"begunended"
    assert _exit_status(server) == 0
    assert (server.folder / "housekeeper-stopped").exists()


@pytest.mark.parametrize("number", [None, signal.SIGSTOP, signal.SIGKILL])
def test_a_housekeeper_that_does_not_leave_delays_the_stop_by_its_bound_at_most(
    start_server: StartServer, number: signal.Signals | None
) -> None:
    server = _start(start_server)
    (server.folder / "stay").touch()
    keeper = _keeper(server)
    if number is signal.SIGSTOP:
        os.kill(keeper, number)
    os.kill(server.pid, signal.SIGTERM)
    began = time.monotonic()
    if number is signal.SIGKILL:
        wait_until((server.folder / "leaving").exists, 10, "the leaving")
        os.kill(keeper, number)
    server.await_refusal()
    waited = time.monotonic() - began
    # With room for a busy machine above; below, by the supervisor's clock.
    assert waited < LEAVE_WITHIN + 3
    assert (waited > LEAVE_WITHIN - 0.5) == (number is not signal.SIGKILL)
    assert _exit_status(server) == 0


def test_a_second_request_to_stop_does_not_wait_for_the_leaving(start_server: StartServer) -> None:
    server = _start(start_server)
    (server.folder / "stay").touch()
    process = server._process
    assert process is not None
    os.kill(server.pid, signal.SIGTERM)
    began = time.monotonic()

    def has_ended() -> bool:
        os.kill(server.pid, signal.SIGTERM)
        return process.poll() is not None

    wait_until(has_ended, 10, "its end at once")
    assert process.poll() == 1
    assert time.monotonic() - began < LEAVE_WITHIN


def test_a_reload_is_no_leaving_and_the_admin_port_answers_again(
    start_server: StartServer,
) -> None:
    server = _start(start_server)
    first = _keeper(server)
    assert _admin(server) == (first, 0)
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(lambda: _admin(server)[1] == 1, 10, "the count of restarts")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: _keeper(server) != first, 20, "another housekeeper")
    assert _admin(server) == (_keeper(server), 1)
    assert not (server.folder / "leaving").exists()
    assert f'"port": {server.port}' in (server.folder / "duty").read_text()


def test_a_stop_between_two_housekeepers_has_the_next_one_leave(start_server: StartServer) -> None:
    server = _start(start_server)
    first = _keeper(server)
    (server.folder / "busy").touch()
    os.kill(server.pid, signal.SIGHUP)
    wait_until((server.folder / "housekeeper-stopped").exists, 20, "the first one's end")
    os.kill(server.pid, signal.SIGTERM)
    wait_until(lambda: "stage STOPPING" in server.said(), 10, "its stopping")
    assert _status(server) == 200
    (server.folder / "busy").unlink()
    leaving = server.folder / "leaving"
    wait_until(lambda: leaving.exists() and leaving.read_text() != "", 10, "the leaving")
    assert int(leaving.read_text()) != first
    assert _exit_status(server) == 0


def test_a_housekeeper_that_is_told_to_end_by_others_leaves_first(
    start_server: StartServer,
) -> None:
    server = _start(start_server)
    keeper = _keeper(server)
    os.kill(keeper, signal.SIGTERM)
    wait_until(lambda: not is_alive(keeper), 10, "its end")
    assert int((server.folder / "leaving").read_text()) == keeper
    wait_until(lambda: _keeper(server) != keeper, 10, "another one")


def test_a_farewell_that_fails_keeps_no_other_from_being_said() -> None:
    said: list[str] = []

    def fail() -> None:
        said.append("first")
        raise OSError("nobody is there")

    duty = Duty()
    duty.on_leaving(fail)
    duty.on_leaving(lambda: said.append("second"))
    duty.leave()
    duty.leave()
    assert said == ["first", "second"]
    duty.on_leaving(lambda: said.append("late"))
    assert said[-1] == "late"
    assert duty.leaving.is_set()
    assert not duty.stop.is_set()
