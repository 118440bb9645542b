"""A lock that is granted between a guard's judgement and the write that it was asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pymongo import MongoClient, monitoring
from pymongo.database import Database

from davstore.errors import Locked
from davstore.locks.base import EXCLUSIVE, LockRequest
from davstore.locks.mongo import MongoLocks
from davstore.stores.base import Effect, Node, Store, Update
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.harness import CTX, build, find, put, read, tree

NOW = 1_700_000_000.0
WANTED = LockRequest("/f", EXCLUSIVE, False, "ann", "", 600.0)


class Queries(monitoring.CommandListener):
    """Counts the queries of its own client, by collection."""

    def __init__(self, uri: str) -> None:
        self._found: list[str] = []
        self.client: MongoClient[dict[str, object]] = MongoClient(uri, event_listeners=[self])

    def database(self, store: MongoStore) -> Database[dict[str, object]]:
        return self.client[store.database.name]

    def count(self, collection: str) -> int:
        return self._found.count(collection)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "find":
            self._found.append(str(event.command["find"]))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""


@pytest.fixture
def queries(mongod: Mongod) -> Iterator[Queries]:
    queries = Queries(mongod.uri)
    yield queries
    queries.client.close()


@pytest.fixture
def store(mongod: Mongod, mongo_database: str) -> Iterator[MongoStore]:
    store = MongoStore(mongod.uri, mongo_database)
    yield store
    store.close()


@pytest.fixture
def other(mongod: Mongod, mongo_database: str) -> Iterator[MongoStore]:
    store = MongoStore(mongod.uri, mongo_database)
    yield store
    store.close()


class LockedInBetween:
    """Lets the first judgement pass; right after it, another node grants a lock on `path`."""

    def __init__(self, other: MongoStore, path: str) -> None:
        self._other = other
        self._path = path
        self.judged = 0

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        self.judged += 1
        if self.judged > 1:
            raise Locked(path)
        self._other.note_lock(CTX, self._path)


WRITES: dict[str, tuple[str, Callable[[Store, LockedInBetween], object]]] = {
    "replace the file": ("/d/f", lambda store, guard: put(store, "/d/f", b"new", guard=guard)),
    "delete the file": ("/d/f", lambda store, guard: store.delete(CTX, "/d/f", guard)),
    "delete the folder": ("/d", lambda store, guard: store.delete(CTX, "/d", guard)),
    "properties": (
        "/d/f",
        lambda store, guard: store.update(CTX, "/d/f", Update({"{urn:x}t": "<t/>"}), guard),
    ),
    "create in the folder": ("/d", lambda store, guard: put(store, "/d/g", b"new", guard=guard)),
    "make a folder in the folder": ("/d", lambda store, guard: store.create_folder(
        CTX, "/d/g", guard
    )),
    "large file": ("/d/f", lambda store, guard: put(store, "/d/f", b"n" * 50_000, guard=guard)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_was_judged_before_a_lock_was_granted_does_not_come_after_it(
    store: MongoStore, other: MongoStore, name: str
) -> None:
    locked, write = WRITES[name]
    build(store, {"/d": None, "/d/f": b"old"})
    before = store.stat(CTX, "/d/f")
    with pytest.raises(Locked):
        write(store, LockedInBetween(other, locked))
    assert tree(other) == {"d": None, "d/f": b"old"}
    assert other.stat(CTX, "/d/f") == before


def test_a_lock_on_nothing_is_noticed_by_who_creates_there(
    store: MongoStore, other: MongoStore
) -> None:
    build(store, {"/d": None})
    with pytest.raises(Locked):
        put(store, "/d/new", b"x", guard=LockedInBetween(other, "/d/new"))
    assert find(other, "/d/new") is None


def test_noting_a_lock_changes_nothing_that_clients_see(store: MongoStore) -> None:
    build(store, {"/d": None, "/d/f": b"old"})
    before = [store.stat(CTX, path) for path in ("/", "/d", "/d/f")]
    for path in ("/", "/d", "/d/f", "/d/none", "/none/none"):
        store.note_lock(CTX, path)
    assert [store.stat(CTX, path) for path in ("/", "/d", "/d/f")] == before
    assert read(store, "/d/f") == b"old"


class TestLocksOfTheTree:
    """Locks that are looked for only when the tree says that there may be some."""

    @pytest.fixture
    def locks(self, store: MongoStore) -> MongoLocks:
        return MongoLocks(store.database, epoch=store.lock_epoch)

    def test_without_locks_no_query_is_made_and_the_first_one_is_seen_by_the_next_request(
        self, store: MongoStore, other: MongoStore, locks: MongoLocks, queries: Queries
    ) -> None:
        put(store, "/f", b"x")
        watched = MongoLocks(queries.database(store), epoch=store.lock_epoch)
        for _ in range(2):
            watched.new_request()
            store.stat(CTX, "/f")
            assert watched.covering("/f", NOW) == []
        seen = queries.count("locks")
        for _ in range(5):
            watched.new_request()
            store.stat(CTX, "/f")
            assert watched.covering("/f", NOW) == []
            assert list(watched.members("/", NOW)) == []
        assert queries.count("locks") == seen

        lock = MongoLocks(other.database).grant(WANTED, NOW)
        other.note_lock(CTX, "/f")
        watched.new_request()
        store.stat(CTX, "/f")
        assert watched.covering("/f", NOW) == [lock]

    def test_who_has_not_looked_at_the_tree_in_this_request_asks(
        self, store: MongoStore, other: MongoStore, locks: MongoLocks
    ) -> None:
        store.stat(CTX, "/")
        assert locks.around("/f", NOW, below=True) == []
        lock = MongoLocks(other.database).grant(WANTED, NOW)
        other.note_lock(CTX, "/f")
        locks.new_request()
        assert locks.around("/f", NOW, below=True) == [lock]

    def test_once_the_last_lock_has_gone_nobody_asks_again(
        self, store: MongoStore, locks: MongoLocks
    ) -> None:
        lock = locks.grant(WANTED, NOW)
        store.note_lock(CTX, "/f")
        store.stat(CTX, "/")
        assert locks.covering("/f", NOW) == [lock]
        locks.release(lock.token, "/f", "ann", NOW)
        assert locks.covering("/f", NOW) == []
