"""SIGHUP to the supervisor at every moment, with plans that change, fail or take long."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.components.processes import is_alive, wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.test_supervisor_faults import Starting


def _hup(server: AppServer) -> None:
    os.kill(server.pid, signal.SIGHUP)


def _await(server: AppServer, text: str, count: int = 1) -> None:
    server.wait_until(lambda: server.said().count(text) >= count, 20, f"{text!r} {count} times")


def _status(server: AppServer) -> int:
    with server.wire() as wire:
        return int(wire.ask("GET", "/").status)


def _await_workers(server: AppServer, count: int) -> None:
    wait_until(lambda: len(server.workers()) == count, 20, f"{count} workers")


def _exit_status(server: AppServer) -> int:
    assert server._process is not None
    return server._process.wait(20)


def test_new_workers_and_housekeeper_follow_the_new_plan(start_server: StartServer) -> None:
    server = start_server(workers=1, house=True, reread=True)
    old = server.pids()[1:]
    for number, workers in enumerate([3, 1], 1):
        (server.folder / "settings").write_text(json.dumps({"workers": workers}))
        _hup(server)
        _await(server, "Reloaded", number)
        _await_workers(server, workers)
        assert _status(server) == 200
    wait_until(lambda: not any(map(is_alive, old)), 20, "the end of the first ones")
    assert server.stop() == 0


def test_a_plan_with_faults_is_not_taken_and_each_is_told(start_server: StartServer) -> None:
    server = start_server(workers=2, reread=True)
    old = server.workers()
    (server.folder / "wrong").touch()
    _hup(server)
    _await(server, "Not reloading, the old workers go on")
    assert "Not reloading: one: is wrong on purpose" in server.said()
    assert "Not reloading: two: as well" in server.said()
    assert server.workers() == old
    assert server.said().count("stage READY") == 2
    assert server.stop() == 0


def test_while_a_plan_is_tried_the_supervisor_does_its_work(start_server: StartServer) -> None:
    server = start_server(workers=2, reread=True)
    (server.folder / "slow").touch()
    _hup(server)
    wait_until((server.folder / "rehearsing").exists, 20, "the rehearsal")
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    _await(server, "SIGKILL")
    assert _status(server) == 200
    # What comes meanwhile is not lost.
    _hup(server)
    _await(server, "Not reloading yet")
    (server.folder / "slow").unlink()
    _await(server, "Reloaded", 2)
    assert server.stop() == 0


def test_a_rehearsal_that_is_killed_leaves_everything_as_it_was(start_server: StartServer) -> None:
    server = start_server(workers=2, reread=True)
    old = server.workers()
    (server.folder / "slow").touch()
    _hup(server)
    file = server.folder / "rehearsing"
    pid = int(wait_until(lambda: file.read_text() if file.exists() else None, 20, "the rehearsal"))
    os.kill(pid, signal.SIGKILL)
    _await(server, "Not reloading, the old workers go on")
    assert server.workers() == old
    (server.folder / "slow").unlink()
    _hup(server)
    _await(server, "Reloaded")
    assert server.stop() == 0


def test_a_stop_while_a_plan_is_tried_waits_for_nothing(start_server: StartServer) -> None:
    server = start_server(workers=2, house=True, reread=True)
    (server.folder / "slow").touch()
    _hup(server)
    wait_until((server.folder / "rehearsing").exists, 20, "the rehearsal")
    pids = server.pids()
    os.kill(server.pid, signal.SIGTERM)
    assert _exit_status(server) == 0
    assert not any(map(is_alive, pids))
    assert "Reloaded" not in server.said()


def test_a_stop_while_new_workers_start_ends_old_and_new(start_server: StartServer) -> None:
    server = start_server(workers=2, house=True, reread=True)
    (server.folder / "hold").touch()
    _hup(server)
    wait_until(lambda: len(server.workers()) == 4, 20, "two new workers")
    pids = server.pids()
    os.kill(server.pid, signal.SIGTERM)
    _await(server, "stage STOPPING")
    (server.folder / "hold").unlink()
    assert _exit_status(server) == 0
    assert not any(map(is_alive, pids))


def test_a_reload_asked_for_during_the_start_follows_it(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with Starting(tmp_path, workers=2, reread=True) as server:
        _hup(server)
        _await(server, "Not reloading yet")
        (tmp_path / "settings").write_text(json.dumps({"workers": 3}))
        (tmp_path / "hold").unlink()
        _await(server, "Reloaded")
        wait_until(lambda: len(server.workers()) == 3, 20, "three workers")


def test_a_new_worker_that_dies_leaves_the_old_plan_to_the_next_worker(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2, house=True, reread=True)
    wait_until((server.folder / "housekeeper").exists, 10, "the housekeeper")
    old = server.workers()
    (server.folder / "settings").write_text(json.dumps({"workers": 5}))
    (server.folder / "broken").touch()
    _hup(server)
    _await(server, "Reload failed: new worker")
    wait_until(lambda: server.workers() == old, 20, "the end of the new workers")
    (server.folder / "broken").unlink()
    os.kill(old[0], signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and old[0] not in server.workers(), 20, "another")
    assert old[1] in server.workers()
    assert server.stop() == 0


def test_a_second_reload_while_the_old_housekeeper_ends_makes_no_two(
    start_server: StartServer,
) -> None:
    server = start_server(house=True, reread=True)
    file = server.folder / "housekeeper"
    first = int(
        wait_until(lambda: file.read_text() if file.exists() else None, 10, "the housekeeper")
    )
    (server.folder / "busy").touch()
    for number in (1, 2):
        _hup(server)
        _await(server, "Reloaded", number)
    assert int(file.read_text()) == first
    assert is_alive(first)
    (server.folder / "busy").unlink()
    wait_until(lambda: file.read_text() not in ("", str(first)), 10, "another housekeeper")
    assert server.stop() == 0


def test_old_workers_end_in_haste_once_all_are_to_stop(start_server: StartServer) -> None:
    server = start_server(workers=1, drain_timeout=0.5)
    (old,) = server.workers()
    with server.wire() as busy:
        busy.send(b"GET /paced HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"begun" not in busy._ahead:
            busy._more()
        _hup(server)
        _await(server, "Reloaded")
        # Longer than the time that running requests have at a stop.
        wait_until(lambda: old not in server.workers()[1:], 10, "the new worker")
        assert server.said().count("is killed") == 0
        os.kill(server.pid, signal.SIGTERM)
        assert _exit_status(server) == 0
    assert not is_alive(old)
    assert f"Worker {old} stops with requests unfinished" in server.said()


def test_a_node_that_will_be_known_elsewhere_says_farewell_first(start_server: StartServer) -> None:
    server = start_server(house=True, reread=True)
    file = server.folder / "housekeeper"
    first = wait_until(lambda: file.read_text() if file.exists() else None, 10, "the housekeeper")
    (server.folder / "moved").touch()
    _hup(server)
    wait_until(lambda: file.read_text() != first, 20, "another housekeeper")
    assert (server.folder / "leaving").read_text() == first
    (server.folder / "leaving").unlink()
    second = file.read_text()
    # The next reload changes nothing about that.
    _hup(server)
    wait_until(lambda: file.read_text() != second, 20, "a third housekeeper")
    assert not (server.folder / "leaving").exists()
    assert _status(server) == 200
