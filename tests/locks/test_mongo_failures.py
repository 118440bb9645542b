"""The locks in MongoDB when the database does not answer, refuses, or changes its primary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from davstore.errors import Forbidden, QuotaExceeded, StoreError, Unavailable
from davstore.locks.mongo import MongoLocks
from davstore.locks.mongo_grant import Document
from tests.components.mongod import Client, Mongod, ReplicaSet
from tests.locks.contract import NOW, request
from tests.locks.test_mongo import Listener, opened


@contextlib.contextmanager
def failing(client: Client, commands: list[str], times: int, **how: Any) -> Iterator[None]:
    """The next `times` commands of these kinds fail."""
    fail = {"configureFailPoint": "failCommand", "mode": {"times": times}}
    client.admin.command({**fail, "data": {"failCommands": commands, **how}})
    try:
        yield
    finally:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def use(locks: MongoLocks) -> None:
    """Every kind of call below /used, each of which has to succeed."""
    before = locks.count(NOW)
    lock = locks.grant(request("/used/e"), NOW)
    assert locks.covering("/used/e/f", NOW) == [lock]
    lock = locks.refresh(lock.token, "/used/e", 50, "ann", NOW)
    assert locks.find(lock.token, NOW) == lock
    assert list(locks.members("/used", NOW)) == [lock]
    locks.release(lock.token, "/used/e", "ann", NOW)
    assert locks.covering("/used/e", NOW) == []
    locks.grant(request("/used/e"), NOW)
    locks.forget("/used")
    locks.grant(request("/used", timeout=1), NOW)
    assert locks.sweep(NOW + 1) == 1
    assert locks.count(NOW) == before


# Lost connections


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("command", ["find", "update", "delete", "aggregate"])
def test_a_connection_that_breaks_is_no_error(
    mongod: Mongod, mongo_database: str, command: str, times: int
) -> None:
    with mongod.client() as client, opened(mongod, mongo_database) as locks:
        with failing(client, [command], times, closeConnection=True):
            use(locks)


class Losing:
    """A collection whose `k`-th call breaks off, before the server has done it or after."""

    def __init__(self, collection: Collection[Document], k: int, *, done: bool) -> None:
        self._collection, self._left, self._done = collection, k, done
        self.has_lost = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._collection, name)

        def maybe_lost(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left:
                return call(*arguments, **options)
            self.has_lost = True
            if self._done:
                call(*arguments, **options)
            raise AutoReconnect("lost")

        return maybe_lost


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_an_answer_that_is_lost_is_no_error_wherever_it_happens(
    mongod: Mongod, mongo_database: str, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    with mongod.client() as client, opened(mongod, mongo_database) as locks:
        collection = client[mongo_database]["locks"]
        for k in range(1, 100):
            losing = Losing(collection, k, done=done)
            monkeypatch.setattr(locks, "_locks", losing)
            lock = locks.grant(request("/d"), NOW)
            lock = locks.refresh(lock.token, "/d", 70, "ann", NOW)
            assert [one["_id"] for one in collection.find()] == [lock.token]
            locks.release(lock.token, "/d", "ann", NOW)
            assert collection.count_documents({}) == 0
            if not losing.has_lost:
                break
    assert k > 8


# A database that is away, or refuses


def test_a_database_that_is_away_is_an_error_of_ours_in_time_and_it_recovers(
    mongod: Mongod, mongo_database: str
) -> None:
    with opened(mongod, mongo_database, patience=1.0) as locks:
        lock = locks.grant(request("/d"), NOW)
        mongod.kill9()
        calls: list[Callable[[], object]] = [
            lambda: locks.grant(request("/e"), NOW),
            lambda: locks.covering("/d", NOW),
            lambda: locks.release(lock.token, "/d", "ann", NOW),
        ]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                call()
            assert time.monotonic() - began < 4
        with pytest.raises(Unavailable), mongod.client() as client:
            MongoLocks(client[mongo_database], patience=0.5)
        mongod.start()
        assert locks.covering("/d", NOW) == [lock]
        use(locks)


@pytest.mark.parametrize(
    ("code", "meaning"), [(14031, QuotaExceeded), (13, Forbidden), (2, Unavailable)]
)
def test_what_the_database_refuses_is_an_error_of_ours(
    mongod: Mongod, mongo_database: str, code: int, meaning: type[StoreError]
) -> None:
    with mongod.client() as client, opened(mongod, mongo_database) as locks:
        with failing(client, ["update"], 1, errorCode=code):
            with pytest.raises(meaning) as caught:
                locks.grant(request("/d"), NOW)
    assert (type(caught.value), caught.value.path) == (meaning, "/d")
    assert "127.0.0.1" not in str(caught.value)


# Replica sets


def test_no_lock_is_lost_when_the_primary_is_killed_and_nobody_sees_an_error(
    replica_set: ReplicaSet, replica_database: str
) -> None:
    with opened(replica_set, replica_database) as locks:
        held = [locks.grant(request(f"/held/{number}"), NOW) for number in range(10)]
        replica_set.kill_primary()
        began = time.monotonic()
        use(locks)
        print(f"without a primary for {time.monotonic() - began:.1f} s")
        assert sorted(lock.token for lock in held) == [
            lock.token for lock in locks.around("/held", NOW, below=True)
        ]


def concerns(deployment: Mongod | ReplicaSet, name: str) -> tuple[list[Any], list[Any]]:
    listener = Listener(left_out=())
    with deployment.client(event_listeners=[listener]) as client:
        use(MongoLocks(client[name]))
    writes = [sent["writeConcern"] for sent in listener.sent if "writeConcern" in sent]
    reads = [sent["readConcern"]["level"] for sent in listener.sent if "readConcern" in sent]
    assert len(writes) + len(reads) == len(listener.sent)
    return writes, reads


def test_every_write_is_of_the_majority_and_in_the_journal_every_read_of_the_primary_as_it_is(
    replica_set: ReplicaSet, replica_database: str
) -> None:
    writes, reads = concerns(replica_set, replica_database)
    assert writes
    assert all(concern == {"w": "majority", "j": True} for concern in writes)
    assert set(reads) == {"local"}


def test_on_a_standalone_server_every_write_is_in_the_journal(
    mongod: Mongod, mongo_database: str
) -> None:
    writes, reads = concerns(mongod, mongo_database)
    assert all(concern["j"] for concern in writes)
    assert set(reads) == {"local"}
