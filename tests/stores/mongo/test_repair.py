"""What fsck repairs is whole again, dies it anywhere; what it cannot repair stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from davstore.stores.mongo import runner
from davstore.stores.mongo.findings import Finding
from davstore.stores.mongo.operations import Algorithm, Begin, Find
from davstore.stores.mongo.repair import repair
from davstore.stores.mongo.slots import Tree
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.harness import CTX, build, names, put, read, settle, tree
from tests.stores.mongo.damages import (
    DAMAGES,
    LARGE,
    LONG_AGO,
    SMALL,
    Damage,
    Documents,
    fill,
    fresh,
    node,
)

REPAIRED = [name for name, damage in DAMAGES.items() if damage.repaired]
LEFT = [name for name, damage in DAMAGES.items() if not damage.repaired]


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drift of the counters is looked at for a second; here nobody is at work meanwhile."""
    monkeypatch.setattr(runner, "_LONGEST_PAUSE", 0.001)


@pytest.fixture
def store(mongod: Mongod, mongo_database: str) -> Iterator[MongoStore]:
    store = MongoStore(mongod.uri, mongo_database, chunk_size=1 << 16)
    yield store
    store.close()


@pytest.fixture
def database(store: MongoStore) -> Documents:
    return store.database


def check(store: MongoStore, *, verify: bool = False) -> list[Finding]:
    return store.upkeep().check(lambda _count: None, verify=verify)


def documents(database: Documents) -> dict[str, list[dict[str, Any]]]:
    return {
        name: sorted(database[name].find(), key=lambda document: str(document["_id"]))
        for name in ("nodes", "fs.files", "fs.chunks", "counters")
    }


def must_be_saved(store: MongoStore, damage: Damage) -> None:
    assert {path: read(store, path) for path in damage.saved} == damage.saved


@pytest.mark.parametrize("name", REPAIRED)
def test_what_can_be_repaired_is(store: MongoStore, database: Documents, name: str) -> None:
    fill(store)
    damage = DAMAGES[name]
    damage.make(database)
    found = check(store)
    done = store.upkeep().repair(found)
    assert done
    assert check(store, verify=True) == []
    must_be_saved(store, damage)
    assert store.upkeep().repair(found) == []
    tree(store)


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_repaired_stays_as_it_is(
    store: MongoStore, database: Documents, name: str
) -> None:
    fill(store)
    damage = DAMAGES[name]
    damage.make(database)
    before = documents(database)
    found = check(store, verify=damage.verify)
    own = [each for each in found if each.kind == damage.kind]
    assert own and store.upkeep().repair(own) == []
    assert documents(database) == before
    assert {each.kind for each in check(store, verify=damage.verify)} >= {damage.kind}


@pytest.mark.parametrize("name", REPAIRED)
def test_nothing_is_ever_deleted(store: MongoStore, database: Documents, name: str) -> None:
    fill(store)
    DAMAGES[name].make(database)
    before = documents(database)
    store.upkeep().repair(check(store))
    after = documents(database)
    for kind, all_before in before.items():
        left = {each["_id"] for each in after[kind]}
        assert {each["_id"] for each in all_before} <= left, kind


class Died(Exception):
    """The process is no more."""


def dying(algorithm: Algorithm[Any], writes: int) -> Algorithm[Any]:
    """The algorithm until it has written so often."""
    operation = next(algorithm)
    while True:
        if not isinstance(operation, Find | Begin):
            if not writes:
                raise Died
            writes -= 1
        result = yield operation
        try:
            operation = algorithm.send(result)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("name", REPAIRED)
def test_a_repair_that_dies_is_begun_again(
    store: MongoStore, database: Documents, name: str
) -> None:
    fill(store)
    damage = DAMAGES[name]
    damage.make(database)
    run, terms = store._share.runner.run, store._share.runner.terms
    deaths = 0
    for writes in range(20):
        found = check(store)
        if not found:
            break
        try:
            for each in found:
                run(dying(repair(Tree(terms), each, datetime.now(UTC)), writes))
        except Died:
            deaths += 1
    assert deaths and check(store, verify=True) == []
    must_be_saved(store, damage)


def test_lost_and_found_keeps_everything_apart(store: MongoStore, database: Documents) -> None:
    """Strays of one name, names that cannot be used, a file in the way, and twice."""
    build(store, {"/lost+found": b"a file of somebody's", "/a": None, "/b": None, "/c": None})
    for folder in "abc":
        put(store, f"/{folder}/same", folder.encode())
    put(store, "/a/long", b"long")
    put(store, "/a/bad", b"bad")
    database.nodes.update_one({"n": "long"}, {"$set": {"n": "l" * 255}})
    put(store, "/b/long", b"another")
    database.nodes.update_one({"n": "long"}, {"$set": {"n": "l" * 255}})
    bad = node(database, "/a/bad")["_id"].hex()
    database.nodes.update_one({"n": "bad"}, {"$set": {"n": "../x/\x00"}})
    for folder in ("/a", "/b"):
        database.nodes.delete_one({"_id": node(database, folder)["_id"]})
    store.upkeep().repair(check(store))
    assert check(store) == []
    assert read(store, "/lost+found") == b"a file of somebody's"
    assert sorted(content for content in tree(store, "/lost+found-2").values() if content) == [
        b"a", b"another", b"b", b"bad", b"long",
    ]  # fmt: skip
    assert bad in names(store, "/lost+found-2")
    database.nodes.delete_one({"_id": node(database, "/c")["_id"]})
    store.upkeep().repair(check(store))
    assert len(names(store, "/lost+found-2")) == 6
    assert check(store) == []


def test_what_was_given_a_duty_goes(store: MongoStore, database: Documents) -> None:
    """Leaked contents, chunks of nobody's, tombstones that nobody was to remove."""
    fill(store)
    for name in ("leaked", "stray chunks", "tombstone without duty"):
        DAMAGES[name].make(database)
    store.upkeep().repair(check(store))
    now = datetime.now(UTC)
    for collection, field in (("nodes", "gc"), ("nodes", "slot"), ("fs.files", "metadata.gc")):
        database[collection].update_many({field: {"$gt": now}}, {"$set": {field: now}})
    database.nodes.update_many({"del": {"$exists": True}}, {"$set": {"del": LONG_AGO}})
    settle(store)
    assert names(store) == ["d"]
    assert database["fs.files"].count_documents({}) == 1
    assert database["fs.chunks"].count_documents({}) == 5
    assert database.nodes.count_documents({"del": {"$exists": True}}) == 0
    assert check(store) == []
    assert (read(store, "/d/large"), read(store, "/d/small")) == (LARGE, SMALL)


def test_a_finding_that_is_not_there_any_more_is_left_alone(
    store: MongoStore, database: Documents
) -> None:
    fill(store)
    before = documents(database)
    healthy = node(database, "/d/small")["_id"].hex()
    kinds = {damage.kind for damage in DAMAGES.values()}
    for subject in (healthy, fresh().hex(), node(database, "/d/large")["c"].hex()):
        findings = [Finding(kind, subject, "/d/small") for kind in kinds]
        assert store.upkeep().repair(findings) == []
    assert documents(database) == before
    assert store.stat(CTX, "/d/small").size == len(SMALL)
