"""Real processes that fight for locks in MongoDB, and such that are killed."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Semaphore
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from davstore.errors import LockConflict, NoSuchLock
from davstore.locks.base import EXCLUSIVE, LockRequest
from davstore.locks.mongo import MongoLocks
from tests.components.mongod import Mongod, ReplicaSet
from tests.components.processes import wait_until
from tests.locks.test_sqlite import receive, running

SPAWN = multiprocessing.get_context("spawn")
SEED = 20_260_711
PROCESSES = 4
#: Seconds within which all contenders have asked for the lock once. Shorter than the lock lasts.
MEETING_LASTS = 45.0

#: All in the way of each other.
ROOTS = ("/", "/d", "/d/e", "/d/e/f")


@contextlib.contextmanager
def opened(uri: str, name: str, *, claim_lasts: float = 10.0) -> Iterator[MongoLocks]:
    with MongoClient[dict[str, Any]](uri) as client:
        yield MongoLocks(client[name], claim_lasts=claim_lasts)


def wanted(root: str, timeout: float = 60.0) -> LockRequest:
    return LockRequest(root, EXCLUSIVE, True, "ann", "", timeout)


@dataclass(frozen=True)
class Meeting:
    """What makes all contenders meet: who has the lock first keeps it until all others want it."""

    start: Barrier
    #: Taken by the first holder, and never given back.
    first: Semaphore
    #: Given once by each contender, when it is refused for the first time.
    refused: Semaphore
    contenders: int

    def wait_for_all_others(self) -> None:
        """Who of them was granted the lock instead of being refused is missed here."""
        until = time.monotonic() + MEETING_LASTS
        for others in range(1, self.contenders):
            left = max(0.0, until - time.monotonic())
            assert self.refused.acquire(timeout=left), f"only {others - 1} were refused meanwhile"


def meeting(contenders: int) -> Meeting:
    start, first = SPAWN.Barrier(PROCESSES), SPAWN.Semaphore(1)
    return Meeting(start, first, SPAWN.Semaphore(0), contenders)


def contend(locks: MongoLocks, meeting: Meeting, number: int) -> tuple[tuple[float, float], int]:
    """Try until the lock was had once: when it was held, and how often it was refused."""
    chance = random.Random(SEED + number)
    refused = 0
    while True:
        root = chance.choice(ROOTS)
        try:
            lock = locks.grant(wanted(root), time.time())
        except LockConflict:
            refused += 1
            if refused == 1:
                meeting.refused.release()
            # As clients do. 200 threads that ask without a pause leave the holder no processor.
            time.sleep(chance.uniform(0.05, 0.3))
            continue
        began = time.monotonic()
        if meeting.first.acquire(block=False):
            if refused:
                meeting.refused.acquire()
            meeting.wait_for_all_others()
        assert [found.token for found in locks.covering(root, time.time())] == [lock.token]
        ended = time.monotonic()
        locks.release(lock.token, root, "ann", time.time())
        return (began, ended), refused


def contend_all(
    uri: str, name: str, contenders: int, meeting: Meeting, number: int, sender: Connection
) -> None:
    with opened(uri, name) as locks, ThreadPoolExecutor(contenders) as pool:
        meeting.start.wait(60)
        numbers = range(number * contenders, (number + 1) * contenders)
        sender.send(list(pool.map(partial(contend, locks, meeting), numbers)))


def fight(uri: str, name: str, contenders: int) -> None:
    all_meet = meeting(PROCESSES * contenders)
    with contextlib.ExitStack() as stack:
        fighters = [
            stack.enter_context(running(contend_all, uri, name, contenders, all_meet, number))
            for number in range(PROCESSES)
        ]
        reports = [report for _, receiver in fighters for report in receive(receiver)]
    held = sorted(interval for interval, _ in reports)
    refusals = [times for _, times in reports]
    took = held[-1][1] - held[0][0]
    print(f"{len(held)} contenders had the lock within {took:.1f} s, {sum(refusals)} times refused")
    assert len(held) == PROCESSES * contenders
    # All but the first holder were refused while that one had it.
    assert refusals.count(0) <= 1, "they did not meet"
    for (_, ended), (began, _) in itertools.pairwise(held):
        assert ended < began, "two held it at once"


def test_of_200_contenders_in_four_processes_never_two_hold_the_lock(
    mongod: Mongod, mongo_database: str
) -> None:
    fight(mongod.uri, mongo_database, 50)


def test_nor_do_48_contenders_on_a_replica_set(
    replica_set: ReplicaSet, replica_database: str
) -> None:
    fight(replica_set.uri, replica_database, 12)


# Deaths


def hold_for_ever(uri: str, name: str, log: Path, number: int, sender: Connection) -> None:
    """Lock and release until killed, and write down when that was."""
    with opened(uri, name, claim_lasts=1.0) as locks, ThreadPoolExecutor(4) as pool:
        out = os.open(log, os.O_WRONLY | os.O_APPEND)
        list(pool.map(partial(_hold, locks, out), range(number * 4, number * 4 + 4)))


def _hold(locks: MongoLocks, out: int, number: int) -> None:
    chance = random.Random(SEED + number)
    while True:
        root = chance.choice(ROOTS)
        try:
            lock = locks.grant(wanted(root, timeout=1.0), time.time())
        except LockConflict:
            time.sleep(chance.uniform(0.005, 0.03))
            continue
        os.write(out, f"{os.getpid()} {lock.token} {time.time()} {lock.expires}\n".encode())
        for _ in range(20):
            locks.covering(root, time.time())
        os.write(out, f"{os.getpid()} {lock.token} {time.time()}\n".encode())
        with contextlib.suppress(NoSuchLock):
            locks.release(lock.token, root, "ann", time.time())


def intervals(log: Path) -> tuple[list[tuple[float, float]], int]:
    """When each lock was held at most, and how many holders were killed.

    Who was killed, or was slower than its lock lasts, held it until it expired.
    """
    held: dict[str, tuple[float, float]] = {}
    ended: set[str] = set()
    for line in log.read_text().splitlines():
        _, token, *times = line.split()
        if len(times) == 2:
            held[token] = float(times[0]), float(times[1])
        else:
            began, expires = held[token]
            held[token] = began, min(expires, float(times[0]))
            ended.add(token)
    return sorted(held.values()), len(held) - len(ended)


def test_killed_contenders_leave_nothing_that_stays_in_the_way_and_no_second_holder(
    mongod: Mongod, mongo_database: str, tmp_path: Path
) -> None:
    log, chance, kills = tmp_path / "held", random.Random(SEED), 16
    log.touch()
    numbers = itertools.count()

    def grow(lines: int) -> None:
        goal = len(intervals(log)[0]) + lines
        wait_until(lambda: len(intervals(log)[0]) >= goal or None, 60, "more grants")

    def holder() -> int | None:
        """The process that has the lock at this moment, as far as the last line says."""
        last = log.read_text().splitlines()[-1].split()
        return int(last[0]) if len(last) == 4 and int(last[0]) in alive else None

    with contextlib.ExitStack() as stack:

        def contender() -> int:
            arguments = mongod.uri, mongo_database, log, next(numbers)
            process, _ = stack.enter_context(running(hold_for_ever, *arguments))
            assert process.pid
            return process.pid

        alive = [contender() for _ in range(PROCESSES)]
        for turn in range(kills):
            grow(chance.randrange(3, 15))
            any_one = chance.choice(alive)
            victim = wait_until(holder, 30, "a holder") if turn % 2 else any_one
            os.kill(victim, signal.SIGKILL)
            alive.remove(victim)
            alive.append(contender())
        grow(20)
    held, killed = intervals(log)
    print(f"{kills} kills, {len(held)} grants, {killed} holders did not see their end")
    assert killed
    for (_, ended), (began, _) in itertools.pairwise(held):
        assert ended <= began, "two held it at once"
    with opened(mongod.uri, mongo_database) as locks:
        later = time.time() + 11
        locks.grant(wanted("/"), later)
        assert locks.count(later) == 1
