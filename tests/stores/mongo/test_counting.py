"""What several writers of a process add to the count of used bytes is counted with one write."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from davstore.errors import PreconditionFailed, Unavailable
from davstore.stores.mongo import counting
from davstore.stores.mongo.counting import Counting
from davstore.stores.mongo.operations import COUNTERS
from davstore.stores.mongo.reclaim import count
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.harness import CTX, put


class Counted:
    """In place of a runner: what was counted, one by one."""

    def __init__(self) -> None:
        self.amounts: list[int] = []
        self.fails = False

    def run(self, algorithm: Any, path: str = "/", deadline: float | None = None) -> None:
        del path, deadline
        self.amounts.append(next(algorithm).put["bytes"].amount)
        if self.fails:
            raise Unavailable("/")


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def counting_(counted: Counted) -> Counting:
    return Counting(counted)  # type: ignore[arg-type]


@pytest.fixture
def store(mongod: Mongod, mongo_database: str) -> Iterator[MongoStore]:
    store = MongoStore(mongod.uri, mongo_database)
    yield store
    store.close()


def test_one_alone_is_counted_at_once(counting_: Counting, counted: Counted) -> None:
    for growth in (5, 0, -3):
        with counting_:
            counting_.add(growth)
    assert counted.amounts == [5, -3]


def test_the_last_one_counts_what_all_have_added(counting_: Counting, counted: Counted) -> None:
    with counting_:
        for growth in (1, 10, 100):
            with counting_:
                counting_.add(growth)
        assert counted.amounts == []
        counting_.add(1000)
    assert counted.amounts == [1111]


def test_others_are_not_waited_for_long(
    counting_: Counting, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with counting_:
        for seconds, expected in ((0.0, []), (0.09, []), (0.11, [3]), (0.12, [3]), (0.23, [3, 2])):
            clock[0] = 100.0 + seconds
            with counting_:
                counting_.add(1)
            assert counted.amounts == expected
    assert counted.amounts == [3, 2]


def test_one_that_fails_counts_for_the_others(counting_: Counting, counted: Counted) -> None:
    failing = ExitStack()
    failing.enter_context(counting_)
    with counting_:
        counting_.add(7)
    counted.fails = True
    with pytest.raises(PreconditionFailed), failing:
        raise PreconditionFailed("/")
    assert counted.amounts == [7]


def test_who_asks_gets_what_is_not_counted_yet(store: MongoStore) -> None:
    put(store, "/a", b"12345")
    with store._share.counting:
        put(store, "/b", b"678")
        (before,) = store.database[COUNTERS].find()
        assert before["bytes"] == 5
        assert store.usage(CTX).used == 8
    assert store.usage(CTX).used == 8


def test_many_at_once_are_all_counted_with_fewer_writes(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "/a", b"")
    writes: list[int] = []

    def noted(growth: int) -> Any:
        writes.append(growth)
        return count(growth)

    monkeypatch.setattr(counting, "count", noted)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(store, f"/{number}", bytes(number)), range(300)))
    (counter,) = store.database[COUNTERS].find()
    assert counter["bytes"] == sum(writes) == sum(range(300))
    print(f"{len(writes)} writes for 300 files")
    assert len(writes) < 150
