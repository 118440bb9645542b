"""The locks in MongoDB against the promises of a lock store, on a real mongod."""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import monitoring
from pymongo.collection import Collection

from davstore.errors import LockConflict, NoSuchLock
from davstore.locks.base import EXCLUSIVE, LockStore
from davstore.locks.mongo import MongoLocks
from davstore.locks.mongo_grant import (
    Change,
    Document,
    Look,
    Operation,
    Put,
    Remove,
    around,
    live,
    within,
)
from davstore.stores.base import Effect
from tests.components.mongod import Client, Mongod, ReplicaSet
from tests.locks.contract import NOW, Checking, Expiring, Granting, LockContract, request
from tests.locks.simulated import SimulatedCollection

SEED = 20_260_711


@contextlib.contextmanager
def opened(deployment: Mongod | ReplicaSet, name: str, **options: Any) -> Iterator[MongoLocks]:
    with deployment.client() as client:
        store = MongoLocks(client[name], **options)
        yield store
        store.close()


class TestMongoLocks(LockContract):
    @pytest.fixture
    def locks(self, mongod: Mongod, mongo_database: str) -> Iterator[LockStore]:
        with opened(mongod, mongo_database) as store:
            yield store


class TestMongoLocksOnAReplicaSet(Granting, Expiring, Checking):
    @pytest.fixture
    def locks(self, replica_set: ReplicaSet, replica_database: str) -> Iterator[LockStore]:
        with opened(replica_set, replica_database) as store:
            yield store


@pytest.fixture
def client(mongod: Mongod) -> Iterator[Client]:
    with mongod.client() as client:
        yield client


@pytest.fixture
def collection(client: Client, mongo_database: str) -> Collection[Document]:
    return client[mongo_database]["locks"]


@pytest.fixture
def locks(client: Client, mongo_database: str) -> MongoLocks:
    return MongoLocks(client[mongo_database])


# Between handles


def test_another_handle_sees_a_lock_at_once_refreshes_and_releases_it(
    replica_set: ReplicaSet, replica_database: str
) -> None:
    with (
        opened(replica_set, replica_database) as one,
        opened(replica_set, replica_database) as other,
    ):
        for number in range(20):
            lock = one.grant(request(f"/{number}", owner="$HOME"), NOW)
            assert other.covering(f"/{number}", NOW) == [lock]
            refreshed = other.refresh(lock.token, lock.root, 99, "ann", NOW)
            assert one.find(lock.token, NOW) == refreshed
            other.release(lock.token, lock.root, "ann", NOW)
            assert one.covering(f"/{number}", NOW) == []


def test_closing_leaves_the_client_and_the_locks(
    locks: MongoLocks, client: Client, mongo_database: str
) -> None:
    lock = locks.grant(request("/d"), NOW)
    locks.close()
    assert MongoLocks(client[mongo_database]).covering("/d", NOW) == [lock]


def test_a_handle_that_came_through_a_fork_is_refused(
    locks: MongoLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    calls: list[Callable[[], object]] = [
        functools.partial(locks.grant, request("/d"), NOW),
        functools.partial(locks.around, "/d", NOW, below=True),
        functools.partial(locks.sweep, NOW),
    ]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()


def test_a_lock_whose_place_was_taken_is_not_refreshed_by_who_comes_late(
    locks: MongoLocks, collection: Collection[Document]
) -> None:
    """A node whose clock is behind, or that has waited since it looked at its clock."""
    lock = locks.grant(request("/d", timeout=10), NOW)
    taken = locks.grant(request("/d/e", principal="bob"), NOW + 10)
    for call in (
        functools.partial(locks.refresh, lock.token, "/d", 60, "ann", NOW + 9),
        functools.partial(locks.release, lock.token, "/d", "ann", NOW + 9),
    ):
        with pytest.raises(NoSuchLock):
            call()
    assert [document["_id"] for document in collection.find()] == [taken.token]


# The documents


def test_the_ttl_index_takes_a_lock_a_day_after_its_end_by_the_databases_clock(
    locks: MongoLocks, collection: Collection[Document]
) -> None:
    """`now` is years behind here: a wrong clock of a node costs nobody a lock."""
    keys = [(index["key"], index.get("expireAfterSeconds")) for index in collection.list_indexes()]
    assert [key.to_dict() for key, seconds in keys if seconds == 0] == [{"tidy": 1}]

    def tidy_after() -> timedelta:
        (document,) = collection.find()
        date: datetime = document["tidy"]
        return date.replace(tzinfo=UTC) - datetime.now(UTC)

    minute, day = timedelta(minutes=1), timedelta(days=1)
    lock = locks.grant(request("/d", timeout=3600), NOW)
    assert abs(tidy_after() - day - timedelta(hours=1)) < minute
    locks.refresh(lock.token, "/d", 7200, "ann", NOW + 60)
    assert abs(tidy_after() - day - timedelta(hours=2)) < minute
    locks.refresh(lock.token, "/d", float("inf"), "ann", NOW)
    assert tidy_after() > 365 * 50 * day
    assert locks.covering("/d/x", NOW + 1e12)


def test_a_claim_is_no_lock(locks: MongoLocks, collection: Collection[Document]) -> None:
    """What a process leaves that died while it was granted one."""
    locks.grant(request("/d"), NOW)
    collection.update_one({}, {"$set": {"active": False}})
    (claim,) = collection.find()
    assert locks.around("/", NOW, below=True) == list(locks.members("/", NOW)) == []
    assert (locks.count(NOW), locks.find(claim["_id"], NOW)) == (0, None)
    locks.check("/d/x", Effect.REMOVE, (), None, NOW)
    with pytest.raises(NoSuchLock):
        locks.refresh(claim["_id"], "/d", 10, "ann", NOW)
    with pytest.raises(NoSuchLock):
        locks.release(claim["_id"], "/d", "ann", NOW)
    locks.grant(request("/d"), claim["expires"])
    assert collection.count_documents({}) == 1


# Queries


class Listener(monitoring.CommandListener):
    """The commands that were sent, without what `explain` does not want to know."""

    def __init__(self, left_out: Sequence[str] = ("writeConcern", "readConcern")) -> None:
        self.sent: list[dict[str, Any]] = []
        self._left_out = ("lsid", "$db", "$clusterTime", "maxTimeMS", "txnNumber", *left_out)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("find", "update", "delete", "aggregate", "getMore"):
            command = event.command.items()
            self.sent.append({name: part for name, part in command if name not in self._left_out})

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


def stages(plan: object) -> Iterator[str]:
    """The names of all stages anywhere in an explanation's winning plans."""
    if isinstance(plan, Mapping):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for name, part in plan.items():
            if name != "rejectedPlans":
                yield from stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages(part)


def every_call(locks: LockStore) -> None:
    lock = locks.grant(request("/f0/e/x"), NOW)
    with pytest.raises(LockConflict):
        locks.grant(request("/f0"), NOW)
    locks.grant(request("/f0/e/x", timeout=10), NOW + 5000)
    locks.find(lock.token, NOW)
    locks.covering("/f1/e/1/x/y", NOW)
    for path in ("/", "/f1", "/f1/e"):
        locks.around(path, NOW, below=False)
        if path != "/":
            locks.around(path, NOW, below=True)
        list(locks.members(path, NOW))
    lock = locks.grant(request("/f0/e/x"), NOW + 9000)
    locks.refresh(lock.token, "/f0/e/x", 10, "ann", NOW + 9000)
    locks.release(lock.token, "/f0/e/x", "ann", NOW + 9000)
    locks.forget("/f1/e")
    locks.sweep(NOW)
    locks.count(NOW)


def test_every_query_of_every_call_is_an_index_scan_without_a_sort(
    mongod: Mongod, mongo_database: str, client: Client
) -> None:
    listener = Listener()
    with mongod.client(event_listeners=[listener]) as watched:
        locks = MongoLocks(watched[mongo_database])
        fill(client[mongo_database]["locks"])
        every_call(locks)
    seen = set()
    assert len(listener.sent) > 25
    for command in listener.sent:
        plan = client[mongo_database].command("explain", command, verbosity="executionStats")
        found = set(stages(plan))
        assert found & {"IXSCAN", "IDHACK", "COUNT_SCAN"}, command
        assert not found & {"COLLSCAN", "SORT"}, command
        seen.add(next(iter(command)))
    assert seen == {"find", "update", "delete", "aggregate"}


def fill(collection: Collection[Document], count: int = 2000) -> None:
    """Locks all over a tree, written directly because that is quick."""
    collection.insert_many(
        {
            "_id": f"t{number}", "root": f"/f{number % 50}/e/{number}",
            "parent": f"/f{number % 50}/e", "scope": EXCLUSIVE, "infinite": True,
            "principal": "ann", "owner": "", "timeout": 10_000.0, "expires": NOW + 10_000,
            "active": True,
        }
        for number in range(count)
    )  # fmt: skip


def test_a_check_looks_at_the_locks_in_question_only(
    locks: MongoLocks, collection: Collection[Document]
) -> None:
    fill(collection)
    for where, documents in (
        ({**around("/f7/e/7/x/y", below=False), **live(NOW)}, 1),
        ({**around("/f7", below=True), **live(NOW)}, 40),
        (within("/f7/e/57"), 1),
    ):
        plan = collection.database.command(
            "explain", {"find": "locks", "filter": where}, verbosity="executionStats"
        )
        assert plan["executionStats"]["nReturned"] == documents
        assert plan["executionStats"]["totalDocsExamined"] == documents
        assert plan["executionStats"]["totalKeysExamined"] <= documents + 10


# The simulated collection of the schedules


def some_operation(chance: random.Random) -> Operation:
    token = f"t{chance.randrange(6)}"
    path = chance.choice(("/", "/d", "/d/e", "/d!", "/d/e/f", "/x"))
    now = NOW + chance.randrange(10)
    wheres: list[dict[str, Any]] = [
        {"_id": token},
        {"_id": token, **live(now)},
        {**around(path, below=chance.random() < 0.5), **live(now)},
        dict(within(path)),
        {"_id": {"$in": [token, "t0"]}, "expires": {"$lte": now}},
    ]
    either = [{"active": False, "expires": {"$gt": now}}, {"active": True, "expires": now}]
    return chance.choice(
        [
            Look(chance.choice(wheres)),
            Look(chance.choice(wheres)),
            Put({"_id": token, "root": path, "expires": now, "active": chance.random() < 0.5}, 9),
            Put({"_id": token, "root": path, "expires": now, "active": chance.random() < 0.5}, 9),
            Change({"_id": token, "$or": either}, {"active": True, "expires": now}, 9),
            Remove({"_id": token, "active": True}),
            Remove(chance.choice(wheres[2:]), many=True),
        ]
    )


def answer(simulated: SimulatedCollection, operation: Operation) -> Any:
    result = simulated.carry_out(operation)
    if isinstance(operation, Remove) and operation.many:
        while simulated.carry_out(operation):
            pass
    return result


def test_the_simulated_collection_answers_like_the_real_one(locks: MongoLocks) -> None:
    chance, simulated, seen = random.Random(SEED), SimulatedCollection(), set()

    def comparable(result: Any) -> Any:
        if not isinstance(result, list):
            return result
        found = [{name: one[name] for name in one if name != "tidy"} for one in result]
        return sorted(found, key=lambda one: str(one["_id"]))

    for number in range(2000):
        operation = some_operation(chance)
        if isinstance(operation, Put) and operation.document["_id"] in simulated.documents:
            continue  # a token is used once
        expected = comparable(answer(simulated, operation))
        real = comparable(locks.carry_out(operation, "/"))
        assert real == expected, (number, operation)
        seen.add((type(operation), bool(expected)))
    print(f"seed {SEED}: {sorted((kind.__name__, result) for kind, result in seen)}")
    assert len(seen) == 7
