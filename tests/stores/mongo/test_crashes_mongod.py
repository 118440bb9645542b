"""The crashes of `test_crashes` once more, on a real mongod and through the real runner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from pymongo import WriteConcern

from davstore.errors import NoSuchUpload, StoreError
from davstore.stores.base import Context
from davstore.stores.mongo.check import check
from davstore.stores.mongo.chunks import ChunkWriter
from davstore.stores.mongo.database import connect, make_root
from davstore.stores.mongo.documents import Terms
from davstore.stores.mongo.inspection import size_of
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    COUNTERS,
    NODES,
    Algorithm,
    Document,
    Operation,
)
from davstore.stores.mongo.reclaim import due, reclaim_content, reclaim_node
from davstore.stores.mongo.runner import Connection, Runner
from davstore.stores.mongo.slots import Tree
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.mongo.calls import Call
from tests.stores.mongo.crashes import CRASHES, Crash, rebuild, shown
from tests.stores.mongo.crashes import attempt as attempt_simulated
from tests.stores.mongo.explorer import World

#: Nobody else is at work here, so nothing has to last: no test waits for anything.
BRIEF: Final = Terms(grace=0.0, slot_kept=0.0, mark_lasts=0.02, lease=0.0, hold=0.0)
_ALL: Final = (NODES, CONTENTS, CHUNKS, COUNTERS)


class Died(BaseException):
    """The process is no more. Not an Exception, so that nothing cleans up after it."""


class DyingRunner(Runner):
    """Carries out `left` operations, and none after that."""

    left = 1 << 30

    def _carry_out(self, operation: Operation, path: str) -> Any:
        self.pay()
        return super()._carry_out(operation, path)

    def pay(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Died


@dataclass
class Real:
    """A database of a real mongod."""

    connection: Connection

    def runner(self, left: int = 1 << 30) -> DyingRunner:
        runner = DyingRunner(self.connection, BRIEF, 5.0)
        runner.left = left
        return runner

    def attempt(self, call: Call) -> str:
        try:
            self.runner().run(call(Tree(BRIEF)))
        except StoreError as error:
            return type(error).__name__
        return "done"

    def dump(self) -> dict[str, list[Document]]:
        return {name: list(self.connection.collection(name).find()) for name in _ALL}

    def restore(self, dump: dict[str, list[Document]]) -> None:
        for name, documents in dump.items():
            self.connection.collection(name).delete_many({})
            if documents:
                self.connection.collection(name).insert_many(documents)

    def world(self) -> World:
        """The same documents where they can be looked at as a whole."""
        world = World(0)
        for name, documents in self.dump().items():
            world.database.collections[name] = {one["_id"]: one for one in documents}
        return world

    def settle(self) -> None:
        """All duties, until there are none."""
        later, runner, tree = datetime.now(UTC) + timedelta(days=1), self.runner(), Tree(BRIEF)
        for _ in range(60):
            if not self.world().has_duties():
                return
            for node in runner.run(due(NODES, later, 100)):
                runner.run(reclaim_node(tree, node, later))
            for content in runner.run(due(CONTENTS, later, 100)):
                runner.run(reclaim_content(tree, content))
        raise AssertionError("duties that never end")

    def must_be_clean(self) -> None:
        self.settle()
        self._count_again()
        assert self.runner().run(check(datetime.now(UTC))) == []
        assert self.world().left_over() == []

    def _count_again(self) -> None:
        """Used bytes are counted by the store, not by the algorithms.

        A drift is waited for by fsck, for a second, whether it is one that stays.
        """
        drift = sum(map(size_of, self.connection.collection(NODES).find()))
        counters = self.connection.collection(COUNTERS)
        drift -= sum(counter["bytes"] for counter in counters.find())
        if drift:
            counters.update_one({"_id": "used-0"}, {"$inc": {"bytes": drift}}, upsert=True)


@pytest.fixture
def real(mongod: Mongod, mongo_database: str) -> Iterator[Real]:
    connection, runner = connect(mongod.uri, mongo_database, 1, 0.0)
    # The mongod does not die here, so nobody has to wait for its disk.
    connection.database = connection.database.with_options(write_concern=WriteConcern(1))
    make_root(runner)
    yield Real(connection)
    connection.client.close()


@pytest.mark.parametrize("name", CRASHES)
def test_all_or_nothing_is_found_after_a_crash_at_any_operation(name: str, real: Real) -> None:
    crash = CRASHES[name]
    for call in crash.before:
        assert real.attempt(call) == "done"
    begun, before = real.dump(), shown(real.world())
    after = crash.after if crash.shows else before
    k, found = 0, before
    while _dies(real, crash, k):
        found = shown(real.world())
        assert found in (before, after), k
        _carry_on(real, crash)
        real.restore(begun)
        k += 1
    assert k >= 2
    assert shown(real.world()) == after


def _dies(real: Real, crash: Crash, k: int) -> bool:
    """Carry out the first k operations; False when that is the whole call."""
    algorithm: Algorithm[Any] = crash.call(Tree(BRIEF))
    try:
        real.runner(k).run(algorithm)
    except Died:
        return True
    return False


def _carry_on(real: Real, crash: Crash) -> None:
    """Others do what they could do if the dead process had never been, or had come to its end."""
    expected = World(0)
    rebuild(expected, shown(real.world()))
    for call in crash.then:
        assert real.attempt(call) == attempt_simulated(expected, call)
    assert shown(real.world()) == shown(expected)
    real.must_be_clean()
    assert shown(real.world()) == shown(expected)


_BYTES: Final = bytes(range(256)) * 10
_CTX: Final = Context("tester")


def _opened(uri: str, name: str, monkeypatch: pytest.MonkeyPatch, left: int) -> MongoStore:
    """A store that dies after `left` operations, of which each batch of chunks is one."""
    store = MongoStore(uri, name, chunk_size=1000, inline_max=100, grace=0.0)
    share = store._share
    runner = share.runner = DyingRunner(share.connection, BRIEF, 5.0)
    runner.left = left
    insert = ChunkWriter._insert

    def dying(self: ChunkWriter, documents: list[Document]) -> None:
        runner.pay()
        insert(self, documents)

    monkeypatch.setattr(ChunkWriter, "_insert", dying)
    return store


@pytest.mark.parametrize("resumes", [False, True], ids=["collected", "resumed"])
def test_a_persistent_upload_whose_process_dies(
    mongod: Mongod, mongo_database: str, monkeypatch: pytest.MonkeyPatch, resumes: bool
) -> None:
    """Kept, suspended, resumed by another process and committed; one of the two dies anywhere."""
    other = MongoStore(mongod.uri, mongo_database, chunk_size=1000, inline_max=100, grace=0.0)
    other._share.runner = DyingRunner(other._share.connection, BRIEF, 5.0)
    real = Real(other._share.connection)
    k, is_over, resumed = 0, False, 0
    while not is_over:
        path, keys = f"/f{k}", list[str]()
        with monkeypatch.context() as patch:
            store = _opened(mongod.uri, mongo_database, patch, k)
            is_over = _uploads_until_it_dies(store, path, keys)
        if resumes and not is_over and keys and _resume(other, keys[0]):
            resumed += 1
            assert path[1:] in _names(other)
        names = _names(other)
        assert is_over <= (path[1:] in names)
        if path[1:] in names:
            with other.open(_CTX, path) as reader:
                assert b"".join(reader.chunks(0, len(_BYTES))) == _BYTES
        real.must_be_clean()
        assert _names(other) == names
        k += 1
    other.close()
    assert k > 10
    assert bool(resumed) is resumes


def _names(store: MongoStore) -> list[str]:
    return [node.name for node in store.list(_CTX, "/")]


def _resume(store: MongoStore, key: str) -> bool:
    """Whether another process could bring it to its end, once it could not be written any more."""
    past = datetime(2000, 1, 1, tzinfo=UTC)
    sealed = {"metadata.writing": {"$exists": True}}
    store.database["fs.files"].update_many(sealed, {"$set": {"metadata.writing": past}})
    try:
        upload = store.resume(_CTX, key)
    except NoSuchUpload:
        return False
    assert upload.offset >= 1500
    upload.write(_BYTES[upload.offset :])
    upload.commit(expected_length=len(_BYTES))
    return True


def _uploads_until_it_dies(store: MongoStore, path: str, keys: list[str]) -> bool:
    """Whether it came to its end. The upload's id is put into `keys` once it has one."""
    try:
        upload = store.upload(_CTX, path)
        upload.write(_BYTES[:1500])
        keys.append(upload.persist(60.0))
        upload.write(_BYTES[1500:1700])
        upload.suspend()
        again = store.resume(_CTX, keys[0])
        again.write(_BYTES[again.offset :])
        again.commit(expected_length=len(_BYTES))
    except Died:
        return False
    finally:
        store.close()
    return True
