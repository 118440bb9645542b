"""What goes wrong around a supervisor at the worst moment: signals, deaths and forks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from davstore.server.staff import Post
from tests.components.processes import is_alive, wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer


class Starting(AppServer):
    """One that counts as started once it has its workers, which are not ready yet."""

    def wait_ready(self, seconds: float = 30) -> None:
        self.wait_until(lambda: len(self.workers()) == 2, seconds, "two workers")

    def exit_status(self) -> int:
        assert self._process is not None
        return self._process.wait(20)


def test_a_stop_during_the_start_is_a_graceful_one_and_nothing_is_announced(
    tmp_path: Path,
) -> None:
    (tmp_path / "hold").touch()
    with Starting(tmp_path, workers=2) as server:
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: not _listens(server), 10, "the supervisor's stopping")
        (tmp_path / "hold").unlink()
        assert server.exit_status() == 0
    assert server.events() == ["application closed"] * 2
    assert "ready" not in server.said()
    assert "Traceback" not in server.said()


def _listens(server: AppServer) -> bool:
    """Whether the supervisor itself holds a socket."""
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed just now
            if str(link.readlink()).startswith("socket:"):
                return True
    return False


def test_workers_that_die_in_the_same_moment_of_the_start_end_it(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with Starting(tmp_path, workers=2) as server:
        workers = server.workers()
        # One signal tells the supervisor of both.
        os.kill(server.pid, signal.SIGSTOP)
        (tmp_path / "broken").touch()
        (tmp_path / "hold").unlink()
        wait_until(lambda: not any(map(is_alive, workers)), 20, "the end of both")
        os.kill(server.pid, signal.SIGCONT)
        assert server.exit_status() == 1
    assert server.said().count("Cannot start") == 1


def test_workers_that_die_in_the_same_moment_are_all_replaced(start_server: StartServer) -> None:
    server = start_server(workers=3)
    victims = server.workers()
    os.kill(server.pid, signal.SIGSTOP)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, victims)), 20, "the end of all")
    os.kill(server.pid, signal.SIGCONT)
    wait_until(lambda: len(server.workers()) == 3, 20, "three others")
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
    assert server.stop() == 0


def test_a_fork_that_fails_is_tried_again_and_ends_nobody(start_server: StartServer) -> None:
    server = start_server(workers=2)
    (server.folder / "no-forks").touch()
    first, second = server.workers()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "another try follows in 0.2 s" in server.said(), 20, "two tries")
    with server.wire() as wire:
        assert int(wire.ask("GET", "/pid").text) == second
    (server.folder / "no-forks").unlink()
    wait_until(lambda: len(server.workers()) == 2, 20, "another worker")
    # The failure has left no signal blocked.
    assert server.stop() == 0


def test_a_reload_whose_forks_fail_comes_to_its_end_later(start_server: StartServer) -> None:
    server = start_server(workers=2)
    old = server.workers()
    (server.folder / "no-forks").touch()
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "Cannot fork" in server.said(), 20, "the failure")
    assert server.workers() == old
    (server.folder / "no-forks").unlink()
    wait_until(lambda: not any(map(is_alive, old)), 20, "the end of the old workers")
    assert len(server.workers()) == 2
    assert server.stop() == 0


def test_a_reload_never_makes_two_housekeepers(start_server: StartServer) -> None:
    server = start_server(house=True)
    file = server.folder / "housekeeper"
    wait_until(file.exists, 10, "the housekeeper")
    first = wait_until(lambda: int(file.read_text() or 0), 10, "its name")
    (server.folder / "busy").touch()
    old = server.workers()
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: not any(map(is_alive, old)), 20, "the end of the old workers")
    wait_until((server.folder / "housekeeper-stopped").exists, 10, "the housekeeper's stopping")
    # A further death makes the supervisor look at what is due.
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(lambda: "SIGKILL" in server.said(), 10, "the supervisor's look")
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
    assert int(file.read_text()) == first
    (server.folder / "busy").unlink()
    wait_until(lambda: file.read_text() not in ("", str(first)), 10, "another housekeeper")
    assert not is_alive(first)


def test_a_reload_during_the_start_or_the_stop_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with Starting(tmp_path, workers=2) as server:
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "Not reloading" in server.said(), 10, "its word")
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: not _listens(server), 10, "the supervisor's stopping")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: server.said().count("Not reloading") == 2, 10, "its word again")
        (tmp_path / "hold").unlink()
        assert server.exit_status() == 0


def test_children_that_hear_of_the_end_before_the_supervisor_are_not_taken_for_dead(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2, house=True)
    wait_until((server.folder / "housekeeper").exists, 10, "the housekeeper")
    children = server.pids()[1:]
    assert len(children) == 3
    # As a signal to the whole process group can come: to the children first.
    os.kill(server.pid, signal.SIGSTOP)
    for child in children:
        os.kill(child, signal.SIGTERM)
    wait_until(lambda: not any(map(is_alive, children)), 20, "the end of all")
    os.kill(server.pid, signal.SIGCONT)
    wait_until(lambda: not _zombies(children), 20, "the supervisor's look")
    assert server.stop() == 0
    assert "follows" not in server.said()


def _zombies(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_signal_to_the_whole_group_that_comes_twice_is_one_graceful_stop(
    start_server: StartServer,
) -> None:
    # As timeout(1) does it: to the supervisor, then to its group; some go on passing it on.
    server = start_server(workers=2, house=True)
    process = server._process
    assert process is not None

    def has_ended() -> bool:
        os.killpg(server.pid, signal.SIGTERM)
        return process.poll() is not None

    wait_until(has_ended, 20, "its end")
    assert process.poll() == 0
    assert "follows" not in server.said()
    assert "Traceback" not in server.said()


def test_a_stop_that_is_asked_for_twice_within_a_second_lets_requests_end(
    start_server: StartServer,
) -> None:
    server = start_server(drain_timeout=60)
    with server.wire() as wire:
        wire.send(b"GET /paced HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"begun" not in wire._ahead:
            wire._more()
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: not _listens(server), 10, "the supervisor's stopping")
        os.kill(server.pid, signal.SIGINT)
        (server.folder / "pace").touch()
        assert wire.reply().body == b"begunended"
    assert server._process is not None
    assert server._process.wait(20) == 0


def test_a_worker_that_somebody_else_tells_to_end_is_replaced(start_server: StartServer) -> None:
    server = start_server(workers=2)
    told, other = server.workers()
    os.kill(told, signal.SIGTERM)
    wait_until(lambda: "without the supervisor's word" in server.said(), 20, "its word")
    wait_until(lambda: len(server.workers()) == 2, 20, "another worker")
    assert told not in server.workers()
    assert other in server.workers()
    assert server.stop() == 0


def test_children_that_are_stuck_are_killed_and_replaced(start_server: StartServer) -> None:
    server = start_server(workers=2, house=True, stuck_timeout=0.6)
    keeper = server.folder / "housekeeper"
    wait_until(lambda: keeper.exists() and keeper.read_text(), 10, "the housekeeper")
    stuck, other = server.workers()
    house = int(keeper.read_text())
    os.kill(stuck, signal.SIGSTOP)
    os.kill(house, signal.SIGSTOP)
    wait_until(lambda: not is_alive(stuck) and not is_alive(house), 20, "the end of both")
    wait_until(lambda: keeper.read_text() not in ("", str(house)), 10, "another housekeeper")
    wait_until(lambda: len(server.workers()) == 2, 10, "another worker")
    assert other in server.workers()
    assert server.said().count("gives no sign of life and is killed") == 2
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200
    assert server.stop() == 0


def test_all_processes_may_be_stopped_for_long_and_go_on(start_server: StartServer) -> None:
    # As Ctrl-Z and fg do it.
    server = start_server(workers=2, stuck_timeout=0.6)
    workers = server.workers()
    with server.wire() as wire:
        for _ in range(3):
            os.killpg(server.pid, signal.SIGSTOP)
            time.sleep(1)
            os.killpg(server.pid, signal.SIGCONT)
            assert wire.ask("GET", "/").status == 200
    assert server.workers() == workers
    assert server.stop() == 0
    assert "sign of life" not in server.said()


def test_an_announcement_that_fails_does_not_end_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "deaf").touch()
    with AppServer(tmp_path, workers=2) as server:
        with server.wire() as wire:
            assert wire.ask("GET", "/").status == 200
        wait_until(lambda: "could not be announced" in server.said(), 10, "its word")
        assert server.stop() == 0


def test_a_post_that_fails_for_weeks_is_still_filled_again() -> None:
    post = Post("worker", lambda: 0)
    pauses = [post.vacate(post.started) for _ in range(2000)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0


def test_a_worker_that_fails_slowly_without_ever_being_ready_is_tried_ever_more_slowly() -> None:
    post = Post("worker", lambda: 0)
    assert [post.vacate(post.started + 5) for _ in range(3)] == [0.1, 0.2, 0.4]
    post.is_ready = True
    assert post.vacate(post.started + 5) == 0.0
    assert post.vacate(post.started) == 0.1


def test_a_host_that_is_no_name_ends_the_start_with_a_message(tmp_path: Path) -> None:
    server = Starting(tmp_path, host="a..b")
    server.wait_ready = lambda seconds=30: None  # type: ignore[method-assign]
    with server:
        assert server.exit_status() == 1
    assert "Cannot listen on a..b" in server.said()
