"""Touches of one document that come at the same time become one write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from davstore.stores.mongo import sharing
from davstore.stores.mongo.operations import (
    COUNTERS,
    MISSING,
    NODES,
    Later,
    Plus,
    Touch,
)
from davstore.stores.mongo.sharing import SharedTouches
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.harness import CTX, names, put

_SECONDS = 10.0


def growth(amount: int, name: str = "used") -> Touch:
    return Touch(COUNTERS, {"_id": name}, {"bytes": Plus(amount)}, insert=True)


class Writes:
    """Carries touches out when it is told to; keeps what was carried out."""

    def __init__(self) -> None:
        self.done: list[Touch] = []
        self._may_go: list[threading.Event] = []
        self._come = threading.Condition()
        self.fails: Callable[[Touch], bool] = lambda _touch: False

    def __call__(self, touch: Touch) -> bool:
        event = threading.Event()
        with self._come:
            self.done.append(touch)
            self._may_go.append(event)
            self._come.notify_all()
        assert event.wait(_SECONDS)
        if self.fails(touch):
            raise ConnectionResetError
        return bool(touch.where["_id"] != "gone")

    def wait_for(self, number: int) -> None:
        """Until so many writes have begun."""
        with self._come:
            assert self._come.wait_for(lambda: len(self._may_go) >= number, _SECONDS)

    def let_go(self, number: int) -> None:
        """The write of this number ends."""
        self.wait_for(number + 1)
        self._may_go[number].set()


class Threads:
    """Threads that touch, of which one knows whether they wait already."""

    def __init__(self, shared: SharedTouches) -> None:
        self._shared = shared
        self._pool = ThreadPoolExecutor(64)

    def touch(self, touch: Touch) -> Future[bool]:
        return self._pool.submit(self._shared.touch, touch)

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture(autouse=True)
def _nothing_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "STUCK", 3600.0)


@pytest.fixture
def writes() -> Writes:
    return Writes()


@pytest.fixture
def shared(writes: Writes) -> SharedTouches:
    return SharedTouches(writes)


@pytest.fixture
def threads(shared: SharedTouches) -> Iterator[Threads]:
    threads = Threads(shared)
    yield threads
    threads.close()


def waiting_for(shared: SharedTouches, collection: str, key: object) -> Any:
    line = shared._lines.get((collection, key))
    return None if line is None else line.waiting


def amount_waiting(shared: SharedTouches, touch: Touch) -> Any:
    turn = waiting_for(shared, touch.collection, touch.where["_id"])
    return None if turn is None else turn.operation.put["bytes"].amount


def until(condition: Callable[[], bool]) -> None:
    """The others have come as far as they can."""
    moment = threading.Event()
    for _ in range(int(_SECONDS * 1000)):
        if condition():
            return
        moment.wait(0.001)
    raise AssertionError("it did not come to this")


def test_those_that_come_while_one_is_written_become_one(
    writes: Writes, shared: SharedTouches, threads: Threads
) -> None:
    first = threads.touch(growth(1))
    writes.wait_for(1)
    others = [threads.touch(growth(10)) for _ in range(20)]
    until(lambda: amount_waiting(shared, growth(0)) == 200)
    writes.let_go(0)
    assert first.result(_SECONDS)
    writes.wait_for(2)
    late = threads.touch(growth(1000))
    until(lambda: amount_waiting(shared, growth(0)) == 1000)
    assert not any(each.done() for each in [*others, late])
    writes.let_go(1)
    assert all(each.result(_SECONDS) for each in others)
    assert not late.done()
    writes.let_go(2)
    assert late.result(_SECONDS)
    assert [touch.put["bytes"].amount for touch in writes.done] == [1, 200, 1000]
    assert all(touch.insert for touch in writes.done)
    assert shared._lines == {}


def test_writes_that_do_not_come_back_hold_up_the_others_for_a_moment_only(
    writes: Writes,
    shared: SharedTouches,
    threads: Threads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection that one is on may be half-open. Nobody pays for it again."""
    monkeypatch.setattr(sharing, "STUCK", 0.2)
    stuck = [threads.touch(growth(1))]
    writes.wait_for(1)
    stuck += [threads.touch(growth(10))]
    writes.wait_for(2)
    began = time.monotonic()
    for number in range(2, 50):
        other = threads.touch(growth(100))
        writes.let_go(number)
        assert other.result(_SECONDS)
    # A fifth of a second in all; for each of them it would be ten seconds.
    assert time.monotonic() - began < 5
    assert not any(each.done() for each in stuck)
    following = threads.touch(growth(1000))
    for number in (0, 1, 50):
        writes.let_go(number)
    assert all(each.result(_SECONDS) for each in [*stuck, following])
    assert [touch.put["bytes"].amount for touch in writes.done] == [1, 10, *[100] * 48, 1000]
    assert shared._lines == {}


def test_who_is_interrupted_while_waiting_leaves_nobody_behind(
    writes: Writes, shared: SharedTouches, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = threads.touch(growth(1))
    writes.wait_for(1)
    may_fail = threading.Event()

    def fail(_key: object, _turn: object) -> None:
        assert may_fail.wait(_SECONDS)
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(shared, "_wait_turn", fail)
        waiting = [threads.touch(growth(10)) for _ in range(5)]
        until(lambda: amount_waiting(shared, growth(0)) == 50)
        may_fail.set()
        assert [type(each.exception(_SECONDS)) for each in waiting] == [MemoryError] * 5
    writes.let_go(0)
    assert first.result(_SECONDS)
    assert shared._lines == {}


def test_other_documents_and_other_conditions_are_written_beside(
    writes: Writes, shared: SharedTouches, threads: Threads
) -> None:
    def touch(name: str, **where: object) -> Touch:
        return Touch(NODES, {"_id": name, "del": MISSING, **where}, {"mt": Later()})

    running = [threads.touch(touch("a")), threads.touch(touch("b")), threads.touch(growth(1, "a"))]
    writes.wait_for(3)
    waiting = threads.touch(touch("a", lk=MISSING))
    until(lambda: waiting_for(shared, NODES, "a") is not None)
    other = threads.touch(touch("a", lk=1))
    # It can neither join the one that waits nor take its place.
    writes.wait_for(4)
    assert writes.done[3].where["lk"] == 1
    for number in range(4):
        writes.let_go(number)
    writes.let_go(4)
    assert all(each.result(_SECONDS) for each in [*running, waiting, other])
    assert len(writes.done) == 5 and len({repr(each) for each in writes.done}) == 5


def test_all_that_share_a_write_share_what_becomes_of_it(
    writes: Writes, shared: SharedTouches, threads: Threads
) -> None:
    first = threads.touch(growth(1, "gone"))
    writes.wait_for(1)
    others = [threads.touch(growth(10, "gone")) for _ in range(3)]
    until(lambda: amount_waiting(shared, growth(0, "gone")) == 30)
    writes.fails = lambda touch: touch.put["bytes"].amount == 30
    writes.let_go(0)
    assert first.result(_SECONDS) is False
    writes.let_go(1)
    for each in others:
        with pytest.raises(ConnectionResetError):
            each.result(_SECONDS)
    # Nobody is in the way of the next one.
    again = threads.touch(growth(5, "gone"))
    writes.let_go(2)
    assert again.result(_SECONDS) is False
    assert shared._lines == {}


def test_many_uploads_into_one_folder_are_all_counted(mongod: Mongod, mongo_database: str) -> None:
    store = MongoStore(mongod.uri, mongo_database)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(store, f"/{number}", bytes(number)), range(200)))
    assert len(names(store)) == 200
    assert store.usage(CTX).used == sum(range(200))
    before = store.stat(CTX, "/").modified
    put(store, "/last", b"x")
    assert store.stat(CTX, "/").modified > before
    store.close()
