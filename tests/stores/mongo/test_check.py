"""fsck finds everything that is wrong, names it, and tells nothing that is only under way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from bson.datetime_ms import DatetimeMS

from davstore.errors import Corrupt, StoreError
from davstore.stores.base import Update
from davstore.stores.mongo.findings import KINDS, Finding
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.harness import CTX, build, find, names, pattern, put, read
from tests.stores.mongo.damages import DAMAGES, Documents, drop, fill, fresh, node
from tests.stores.mongo.damages import put as put_fields

#: What the busy ones do, and for how long.
SECONDS = 5.0
SEED = 7


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


def test_nothing_is_wrong_with_a_healthy_tree(store: MongoStore) -> None:
    fill(store)
    store.copy(CTX, "/d", "/d2", overwrite=False)
    store.move(CTX, "/other", "/d2/small", overwrite=True)
    put(store, "/d/large", b"replaced")
    store.delete(CTX, "/d/e")
    assert check(store, verify=True) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_is_found_and_named(
    store: MongoStore, database: Documents, name: str
) -> None:
    fill(store)
    damage = DAMAGES[name]
    damage.make(database)
    found = check(store, verify=damage.verify)
    assert (damage.kind, damage.path) in {(each.kind, each.path) for each in found}, found
    if damage.verify:
        assert check(store) == []


def test_every_kind_of_finding_is_tried() -> None:
    assert {damage.kind for damage in DAMAGES.values()} == set(KINDS)


def test_a_chunk_is_named_by_all_files_that_share_it(
    store: MongoStore, database: Documents
) -> None:
    fill(store)
    store.copy(CTX, "/d", "/copy", overwrite=False)
    DAMAGES["chunk missing"].make(database)
    found = check(store)
    assert sorted(each.path for each in found) == ["/copy/large", "/d/large"]
    assert {each.detail for each in found} == {"chunk 2 of 5 is missing"}
    with pytest.raises(Corrupt):
        read(store, "/copy/large")


def test_names_that_look_like_paths_or_expressions_are_told_as_they_are(
    store: MongoStore, database: Documents
) -> None:
    build(store, {"/$HOME": None, "/$HOME/ä b.txt": pattern(100_000)})
    content = node(database, "/$HOME/ä b.txt")["c"]
    database.fs.chunks.delete_one({"files_id": content, "n": 1})
    assert [each.path for each in check(store)] == ["/$HOME/ä b.txt"]


def test_pages_and_large_folders(store: MongoStore, database: Documents) -> None:
    """More of everything than what is fetched at once."""
    store.create_folder(CTX, "/many")
    model = node(database, "/many")
    members = [
        {**model, "_id": fresh(), "p": model["_id"], "n": f"f{number:05}"} for number in range(1300)
    ]
    database.nodes.insert_many(members)
    looked: list[int] = []
    assert store.upkeep().check(looked.append, verify=False) == []
    assert looked[-1] == 1302 and looked == sorted(looked)
    database.nodes.delete_one({"_id": model["_id"]})
    found = check(store)
    assert {each.kind for each in found} == {"no-parent"} and len(found) == 1300


@pytest.mark.parametrize("field", ["etag", "mt", "ct", "t", "n"])
def test_a_wrong_document_fails_alone_in_a_listing(
    store: MongoStore, database: Documents, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    fill(store)
    drop(database, "/d/small", field)
    assert names(store, "/d") == ["e", "large"]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert [each.kind for each in check(store)] == ["malformed"]


def test_a_date_out_of_range_fails_alone(
    store: MongoStore, database: Documents, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store)
    put_fields(database, "/d/small", mt=DatetimeMS(2**60))
    assert names(store, "/d") == ["e", "large"]
    with pytest.raises(Corrupt):
        store.stat(CTX, "/d/small")
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2
    assert [each.kind for each in check(store)] == ["malformed"]


def test_a_listing_follows_every_change_of_what_it_has_listed_before(store: MongoStore) -> None:
    fill(store)
    assert names(store, "/d") == ["e", "large", "small"]
    put(store, "/d/small", b"other")
    store.update(CTX, "/d/large", Update({"{x:}long": f"<p>{'x' * 10_000}</p>"}))
    for _ in range(2):
        assert [node for node in store.list(CTX, "/d") if not node.is_folder] == [
            store.stat(CTX, "/d/large"),
            store.stat(CTX, "/d/small"),
        ]
    store.delete(CTX, "/d/small")
    assert names(store, "/d") == ["e", "large"]


def test_what_lies_below_a_tombstone_is_not_shown(store: MongoStore, database: Documents) -> None:
    """Of each name the top comes first, and is then dropped: never the other way round."""
    fill(store)
    DAMAGES["shadowed by a tombstone"].make(database)
    assert names(store, "/d") == ["e", "large"]
    assert find(store, "/d/small") is None
    store.copy(CTX, "/d", "/copy", overwrite=False)
    assert names(store, "/copy") == ["e", "large"]


def test_a_move_in_the_middle_is_nothing_wrong(store: MongoStore, database: Documents) -> None:
    """Died between its commit and the end of what it has overwritten."""
    fill(store)
    below, above = node(database, "/d/small"), node(database, "/other")
    put_fields(database, "/other", p=below["p"], n="small", g=1, over=below["_id"],
               gc=above["mt"].replace(year=2999))  # fmt: skip
    assert check(store) == []


class Busy:
    """One client of many that do everything everywhere, by a seed."""

    def __init__(self, mongod: Mongod, database: str, seed: int, until: float) -> None:
        self.store = MongoStore(mongod.uri, database, chunk_size=1 << 16, grace=0)
        self.random = random.Random(seed)
        self.done = 0
        self.failed: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(until,))

    def _run(self, until: float) -> None:
        try:
            while time.monotonic() < until:
                try:
                    self._act()
                    self.done += 1
                except StoreError:
                    pass  # others were there first
        except BaseException as error:
            self.failed = error
        finally:
            self.store.close()

    def _path(self) -> str:
        return "".join(f"/{self.random.choice('abc')}" for _ in range(self.random.randint(1, 3)))

    def _act(self) -> None:
        choice = self.random.random()
        if choice < 0.3:
            size = self.random.choice((10, 1000, 100_000, 200_000))
            put(self.store, self._path(), pattern(size))
        elif choice < 0.45:
            self.store.create_folder(CTX, self._path())
        elif choice < 0.55:
            self.store.delete(CTX, self._path())
        elif choice < 0.8:
            self.store.move(CTX, self._path(), self._path(), overwrite=True)
        elif choice < 0.95:
            self.store.copy(CTX, self._path(), self._path(), overwrite=True)
        else:
            self.store.sweep(time.time(), 0.1)


def test_a_busy_database_yields_no_finding(
    mongod: Mongod, mongo_database: str, store: MongoStore
) -> None:
    print(f"seed {SEED}")
    fill(store)
    until = time.monotonic() + SECONDS
    clients = [Busy(mongod, mongo_database, SEED + number, until) for number in range(4)]
    for client in clients:
        client.thread.start()
    checks = 0
    while any(client.thread.is_alive() for client in clients):
        assert check(store, verify=True) == []
        checks += 1
    for client in clients:
        client.thread.join()
    assert [client.failed for client in clients] == [None] * 4
    print(f"{checks} checks beside {sum(client.done for client in clients)} operations")
    assert checks > 3 and all(client.done > 10 for client in clients)
    assert check(store, verify=True) == []
