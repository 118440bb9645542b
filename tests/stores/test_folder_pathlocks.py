"""Locks on paths, between threads and between processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from davstore.errors import DeadlineExceeded
from davstore.stores.folder.pathlocks import PathLocks
from tests.stores.harness import until

SPAWN = multiprocessing.get_context("spawn")
SEED = 20_240


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[PathLocks]:
    locks = PathLocks(tmp_path / "paths.lock", "share")
    yield locks
    locks.close()


def is_free(locks: PathLocks, *paths: str) -> bool:
    with contextlib.suppress(DeadlineExceeded), locks.hold(paths, time.monotonic()):
        return True
    return False


def test_who_holds_a_path_keeps_others_from_it_from_all_below_and_from_all_above(
    locks: PathLocks,
) -> None:
    with locks.hold(["/a/b"]):
        for path in ("/a/b", "/a/b/c", "/a/b/c/d", "/a", "/"):
            assert not is_free(locks, path), path
        for path in ("/a/c", "/b", "/a/bb", "/a/c/b"):
            assert is_free(locks, path), path
    for path in ("/a/b", "/a/b/c", "/a", "/"):
        assert is_free(locks, path), path


def test_two_paths_are_held_together_and_let_go_together(locks: PathLocks) -> None:
    with locks.hold(["/a/x", "/b/y"]):
        assert not is_free(locks, "/a/x")
        assert not is_free(locks, "/b/y/z")
        assert not is_free(locks, "/a")
        assert is_free(locks, "/a/y", "/b/x")
    assert is_free(locks, "/")


def test_a_path_and_one_below_it_can_be_asked_for_together(locks: PathLocks) -> None:
    with locks.hold(["/a", "/a/b"]):
        assert not is_free(locks, "/a/c")
    assert is_free(locks, "/a")


def test_shares_with_one_lock_file_do_not_meet(tmp_path: Path, locks: PathLocks) -> None:
    other = PathLocks(tmp_path / "paths.lock", "other")
    with locks.hold(["/a"]):
        assert is_free(other, "/a")
        assert is_free(other, "/")
    other.close()


def test_an_exception_lets_go(locks: PathLocks) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold(["/a"]):
        raise ZeroDivisionError
    assert is_free(locks, "/a")


def test_whoever_gives_up_at_a_deadline_leaves_nothing_held(locks: PathLocks) -> None:
    with locks.hold(["/z"]):
        assert not is_free(locks, "/a", "/z")
        assert is_free(locks, "/a")


def test_threads_that_count_under_one_path_never_lose_a_count(locks: PathLocks) -> None:
    print(f"seed {SEED}")
    counts = {"/a": 0, "/b": 0}

    def count(number: int) -> None:
        chance = random.Random(SEED + number)
        for _ in range(100):
            chosen = chance.sample(sorted(counts), chance.choice((1, 2)))
            with locks.hold([f"{path}/{chance.randrange(2)}" for path in chosen]):
                pass
            with locks.hold(chosen):
                before = {path: counts[path] for path in chosen}
                time.sleep(0)
                counts.update({path: before[path] + 1 for path in chosen})

    chances = [random.Random(SEED + number) for number in range(8)]
    expected = 0
    for chance in chances:
        for _ in range(100):
            chosen = chance.sample(sorted(counts), chance.choice((1, 2)))
            expected += len(chosen)
            for _ in chosen:
                chance.randrange(2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert sum(counts.values()) == expected


def test_crossing_orders_do_not_wait_for_each_other(locks: PathLocks) -> None:
    paths = ["/a", "/b", "/a/c", "/b/d", "/c"]

    def take(number: int) -> None:
        chance = random.Random(SEED + number)
        for _ in range(200):
            with locks.hold(chance.sample(paths, 2)):
                pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(take, range(6)))
    assert is_free(locks, "/")


def test_a_stream_of_changes_below_a_folder_does_not_starve_who_wants_the_folder(
    locks: PathLocks,
) -> None:
    done = threading.Event()
    under_way = threading.Barrier(5)

    def change(number: int) -> None:
        under_way.wait()
        while not done.is_set():
            with locks.hold([f"/d/{number}"]):
                time.sleep(0.001)

    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(change, number)
        under_way.wait()
        try:
            for _ in range(20):
                with locks.hold(["/d"], time.monotonic() + 10):
                    pass
                with locks.hold(["/d"]):
                    pass
        finally:
            done.set()


def hold_until_killed(file: Path, sender: Connection) -> None:
    with PathLocks(file, "share").hold(["/a/b"]):
        sender.send("held")
        signal.pause()


def test_the_death_of_a_process_frees_what_it_held(tmp_path: Path, locks: PathLocks) -> None:
    receiver, sender = SPAWN.Pipe(duplex=False)
    child = SPAWN.Process(target=hold_until_killed, args=(tmp_path / "paths.lock", sender))
    child.start()
    try:
        assert receiver.recv() == "held"
        assert not is_free(locks, "/a/b/c")
        assert is_free(locks, "/a/c")
    finally:
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        child.close()
        receiver.close()
        sender.close()
    until(lambda: is_free(locks, "/"), "the kernel to free the locks")
