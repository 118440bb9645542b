"""The locks in SQLite against the promises of a lock store, and between processes."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import random
import signal
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from davstore.errors import Corrupt, FormatTooNew, LockConflict, StoreError, Unavailable
from davstore.locks.base import EXCLUSIVE, SHARED, LockRequest, LockStore
from davstore.locks.sqlite import FORMAT, SqliteLocks
from tests.locks.contract import NOW, LockContract, request

SPAWN = multiprocessing.get_context("spawn")
SEED = 20_260_711


class TestSqliteLocks(LockContract):
    @pytest.fixture
    def locks(self, tmp_path: Path) -> Iterator[LockStore]:
        with opened(tmp_path / "locks.db") as store:
            yield store


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SqliteLocks]:
    store = SqliteLocks(path)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def running(
    work: Callable[..., None], *arguments: object
) -> Iterator[tuple[SpawnProcess, Connection]]:
    """A process that does `work` and sends what it found; it is over at the end."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(*arguments, sender))
    process.start()
    sender.close()
    try:
        yield process, receiver
    finally:
        process.kill()
        process.join(10)
        process.close()
        receiver.close()


def receive(receiver: Connection) -> Any:
    assert receiver.poll(60), "a process did not report"
    return receiver.recv()


# Between processes


def fight(path: Path, mark: Path, start: Barrier, number: int, sender: Connection) -> None:
    """Try for conflicting locks and, as holder, do what only one may do.

    Goes on for 700 attempts, and until it was granted ten.
    """
    chance = random.Random(SEED + number)
    attempts = granted = overlaps = 0
    with opened(path) as locks:
        start.wait(60)
        while attempts < 700 or granted < 10:
            attempts += 1
            root = chance.choice(["/d", "/d/e", "/d/e/f", "/"])
            try:
                lock = locks.grant(LockRequest(root, EXCLUSIVE, True, str(number), "", 60), NOW)
            except LockConflict:
                continue
            granted += 1
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                overlaps += 1
            else:
                mark.unlink()
            locks.release(lock.token, root, str(number), NOW)
    sender.send((attempts, granted, overlaps))


def test_of_four_processes_that_fight_for_one_lock_never_two_hold_it(tmp_path: Path) -> None:
    path, mark = tmp_path / "locks.db", tmp_path / "held"
    start = SPAWN.Barrier(4)
    with contextlib.ExitStack() as stack:
        fighters = [
            stack.enter_context(running(fight, path, mark, start, number)) for number in range(4)
        ]
        reports = [receive(receiver) for _, receiver in fighters]
    attempts, granted, overlaps = zip(*reports, strict=True)
    print(f"seed {SEED}: {sum(attempts)} attempts, grants by process: {granted}")
    assert overlaps == (0, 0, 0, 0)
    assert sum(attempts) >= 2800
    assert sum(granted) < sum(attempts), "they did not meet"
    with opened(path) as locks:
        assert locks.count(NOW) == 0


def open_and_grant(path: Path, number: int, sender: Connection) -> None:
    with opened(path) as locks:
        sender.send(locks.grant(request(f"/{number}"), NOW).root)


def test_many_processes_can_make_the_file_at_the_same_time(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        openers = [
            stack.enter_context(running(open_and_grant, tmp_path / "locks.db", number))
            for number in range(8)
        ]
        assert [receive(receiver) for _, receiver in openers] == [f"/{n}" for n in range(8)]
    with opened(tmp_path / "locks.db") as locks:
        assert locks.count(NOW) == 8


def hold_and_write_on(path: Path, sender: Connection) -> None:
    """Take a lock, report it, and go on granting and releasing until killed."""
    locks = SqliteLocks(path)
    held = locks.grant(request("/held", owner="<o/>"), NOW)
    kept = 0
    while True:
        lock = locks.grant(request("/loop"), NOW)
        locks.grant(request(f"/kept/{kept}"), NOW)
        sender.send((held.token, kept))
        locks.release(lock.token, "/loop", "ann", NOW)
        kept += 1


@pytest.mark.parametrize("turn", range(5))
def test_what_a_killed_process_was_granted_is_still_locked_and_the_file_is_whole(
    tmp_path: Path, turn: int
) -> None:
    path = tmp_path / "locks.db"
    chance = random.Random(SEED + turn)
    with running(hold_and_write_on, path) as (process, receiver):
        for _ in range(chance.randrange(1, 60)):
            token, kept = receive(receiver)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        with contextlib.suppress(EOFError):
            while receiver.poll(0):
                token, kept = receiver.recv()
    with opened(path) as locks:
        for number in range(kept + 1):
            assert len(locks.covering(f"/kept/{number}", NOW)) == 1
        assert len(locks.around("/loop", NOW, below=False)) <= 1
        with pytest.raises(LockConflict):
            locks.grant(request("/held", principal="bob"), NOW)
        locks.release(token, "/held", "ann", NOW)
        locks.grant(request("/held", principal="bob"), NOW)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_another_handle_sees_a_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    with opened(path) as one, opened(path) as other:
        for number in range(50):
            lock = one.grant(request(f"/{number}"), NOW)
            assert other.covering(f"/{number}", NOW) == [lock]
            other.release(lock.token, lock.root, "ann", NOW)
            assert one.covering(f"/{number}", NOW) == []


def test_locks_are_there_after_closing_and_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    with opened(path) as locks:
        lock = locks.grant(request("/d/ü", SHARED, infinite=False, owner="<o>中</o>"), NOW)
    with opened(path) as again:
        assert again.covering("/d/ü", NOW) == [lock]


def test_looking_does_not_wait_for_another_processs_writing(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    with opened(path) as locks, contextlib.closing(sqlite3.connect(path)) as writer:
        lock = locks.grant(request("/d"), NOW)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM locks")
        assert locks.covering("/d", NOW) == [lock]
        locks.forget("/nothing/is/locked/here")
        writer.execute("ROLLBACK")


# Forks


def use_after_fork(path: Path, sender: Connection) -> None:
    """Open, fork, and let the child try every call; in a process of one thread."""
    with opened(path) as locks:
        calls: list[Callable[[], object]] = [
            functools.partial(locks.grant, request("/d"), NOW),
            functools.partial(locks.around, "/d", NOW, below=True),
            functools.partial(locks.count, NOW),
            functools.partial(locks.sweep, NOW),
            locks.close,
        ]
        child = os.fork()
        if not child:
            refused = 0
            for call in calls:
                with contextlib.suppress(RuntimeError):
                    call()
                    break
                refused += 1
            os._exit(refused)
        refused = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sender.send((refused, len(calls), locks.count(NOW)))


def test_a_handle_that_came_through_a_fork_is_refused(tmp_path: Path) -> None:
    with running(use_after_fork, tmp_path / "locks.db") as (_, receiver):
        refused, calls, locked = receive(receiver)
    assert (refused, locked) == (calls, 0)


# The file


def test_the_file_says_its_format_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    with opened(path) as locks:
        locks.grant(request("/d"), NOW)
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    before = path.read_bytes()
    with pytest.raises(FormatTooNew) as caught:
        SqliteLocks(path)
    assert caught.value.path == str(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    path.write_bytes(b"this is not a database, but long enough to be looked at " * 40)
    with pytest.raises(Corrupt):
        SqliteLocks(path)


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        SqliteLocks(tmp_path / "nothing" / "locks.db")
    assert str(tmp_path) not in str(caught.value)


def test_a_closed_handle_is_an_error_of_ours(tmp_path: Path) -> None:
    locks = SqliteLocks(tmp_path / "locks.db")
    locks.close()
    for call in (
        functools.partial(locks.covering, "/d", NOW),
        functools.partial(locks.sweep, NOW),
        functools.partial(locks.count, NOW),
    ):
        with pytest.raises(StoreError):
            call()


def test_a_failed_grant_leaves_no_transaction_open(tmp_path: Path) -> None:
    path = tmp_path / "locks.db"
    with opened(path) as locks, opened(path) as other:
        locks.grant(request("/d"), NOW)
        for _ in range(3):
            with pytest.raises(LockConflict):
                locks.grant(request("/d"), NOW)
        other.grant(request("/e"), NOW)


# Speed


def test_a_check_costs_little_however_many_locks_there_are(tmp_path: Path) -> None:
    """It is asked for every write; 20 µs were measured, ten times that is a broken index."""
    with opened(tmp_path / "locks.db") as locks:
        for number in range(2000):
            locks.grant(request(f"/share/{number % 50}/{number}/deep/file"), NOW)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(200):
                locks.covering("/share/a/b/c/file.txt", NOW)
            best = min(best, (time.perf_counter() - start) / 200)
        print(f"covering, 2000 locks: {best * 1e6:.1f} µs")
        assert best < 400e-6
