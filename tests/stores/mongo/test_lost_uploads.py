"""A writer that was silent for so long that another one has its upload now."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, Final, Self

import pytest

from davstore.errors import NoSuchUpload, StoreError, UploadInUse
from davstore.stores.base import Attributes, Context, Effect, Node, Upload
from davstore.stores.mongo import chunks
from davstore.stores.mongo import upload as upload_module
from davstore.stores.mongo.chunks import ChunkWriter
from davstore.stores.mongo.store import MongoStore
from davstore.stores.mongo.upload import MongoUpload
from tests.components.mongod import Mongod
from tests.components.processes import wait_until
from tests.stores.harness import names, pattern, read, settle

_CTX = Context()
_BYTES = pattern(5_000)


@pytest.fixture
def stores(mongod: Mongod, mongo_database: str) -> Iterator[list[MongoStore]]:
    """Two nodes; whoever writes has its upload for no time at all after a sign of life."""
    made = [MongoStore(mongod.uri, mongo_database, chunk_size=1000, grace=0.0) for _ in range(2)]
    for store in made:
        runner = store._share.runner
        runner.terms = replace(runner.terms, hold=0.0)
    yield made
    assert made[0].upkeep().check(lambda *_: None, verify=True) == []
    for store in made:
        store.close()


@pytest.mark.parametrize("begun_here", [True, False], ids=["begun", "resumed"])
@pytest.mark.parametrize("is_finished", [False, True], ids=["going on", "finished"])
@pytest.mark.parametrize(
    "late",
    [
        lambda upload: upload.suspend(),
        lambda upload: upload.commit(),
        lambda upload: upload.persist(60.0),
        lambda upload: upload.rewind(1),
    ],
    ids=["suspend", "commit", "persist", "rewind"],
)
def test_what_it_still_has_replaces_nothing(
    stores: list[MongoStore],
    begun_here: bool,
    is_finished: bool,
    late: Callable[[Upload], object],
) -> None:
    first, second = stores
    slow = first.upload(_CTX, "/a")
    slow.write(_BYTES[:1500])
    key = slow.persist(60.0)
    if not begun_here:
        slow.suspend()
        slow = first.resume(_CTX, key)
    slow.write(_BYTES[1500:1600])
    fast = second.resume(_CTX, key)
    assert fast.offset == 1500
    fast.write(_BYTES[1500:3500])
    fast.persist(60.0)
    if is_finished:
        fast.write(_BYTES[3500:])
        fast.commit(expected_length=len(_BYTES))
    assert isinstance(slow, MongoUpload)
    slow._signed = float("-inf")
    with pytest.raises(NoSuchUpload):
        late(slow)
    assert slow.is_over
    if not is_finished:
        assert second.look_up(_CTX, key).offset == 3500
        fast.write(_BYTES[3500:])
        fast.commit(expected_length=len(_BYTES))
    assert read(second, "/a") == _BYTES
    settle(first)


def test_signs_of_life_come_while_it_is_read_once_more_for_its_digests(
    stores: list[MongoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large one that takes longer than others wait for who is silent."""
    store = stores[0]
    upload = store.upload(_CTX, "/a")
    upload.write(_BYTES)
    key = upload.persist(60.0)
    upload.suspend()
    upload = store.resume(_CTX, key)
    signs: list[datetime] = []

    def reading(*arguments: Any) -> Iterator[bytes]:
        for piece in chunks.read_chunks(*arguments):
            yield piece
            found = store.database["fs.files"].find_one()
            assert found is not None
            signs.append(found["metadata"]["held"])

    monkeypatch.setattr(upload_module, "read_chunks", reading)
    monkeypatch.setattr(upload_module, "_SIGN_EVERY", 0.0)
    upload.commit()
    assert len(signs) == 5
    assert signs[0] < signs[-1]
    assert read(store, "/a") == _BYTES
    settle(store)


def test_chunks_that_come_too_late_replace_none_of_another(
    stores: list[MongoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still between its sign of life and a chunk, which is not whole yet."""
    first, second = stores
    slow = first.upload(_CTX, "/a")
    slow.write(_BYTES[:1500])
    key = slow.persist(60.0)
    slow.write(_BYTES[1500:1600])
    real = ChunkWriter._insert

    def insert(writer: ChunkWriter, documents: list[dict[str, Any]]) -> None:
        monkeypatch.undo()
        with second.resume(_CTX, key) as fast:
            fast.write(_BYTES[1500:])
            fast.commit(expected_length=len(_BYTES))
        real(writer, documents)

    monkeypatch.setattr(ChunkWriter, "_insert", insert)
    with pytest.raises(NoSuchUpload):
        slow.suspend()
    assert slow.is_over
    assert read(second, "/a") == _BYTES
    settle(first)


class _Death:
    """The process dies when its commit is judged: the content is sealed, the file not written."""

    def judge(self, _path: str, _node: Node | None, _effect: Effect) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def _die_at_the_commit(uri: str, database: str, sender: Connection) -> None:
    store = MongoStore(uri, database, chunk_size=1000)
    share = store._share
    # So long others have to take it for possible that the file is written after all.
    share.runner.terms = replace(share.runner.terms, commit_within=2.0, mark_lasts=0.0)
    share.tree = replace(share.tree, terms=share.runner.terms)
    upload = store.upload(_CTX, "/a", Attributes("text/x"))
    upload.write(_BYTES)
    sender.send(upload.persist(3600.0, "memo"))
    upload.commit(guard=_Death())


def test_an_upload_survives_who_died_at_its_commit(
    mongod: Mongod, mongo_database: str, stores: list[MongoStore]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_die_at_the_commit, args=(mongod.uri, mongo_database, sender))
    process.start()
    assert receiver.poll(30), "the process did not begin"
    key = receiver.recv()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    store = stores[0]
    with pytest.raises(UploadInUse):
        store.resume(_CTX, key)

    def taken_up() -> Upload | None:
        with contextlib.suppress(UploadInUse):
            return store.resume(_CTX, key)
        return None

    upload = wait_until(taken_up, 10, "the dead one not to be waited for any more")
    assert names(store) == []
    assert (upload.offset, upload.memo) == (len(_BYTES), "memo")
    upload.rewind(len(_BYTES) - 1)
    upload.suspend()
    kept = stores[1].look_up(_CTX, key)
    assert kept.offset == len(_BYTES) - 1
    assert kept.expires is not None and kept.expires > time.time() + 3000
    upload = stores[1].resume(_CTX, key)
    upload.write(_BYTES[-1:])
    done = upload.commit(expected_length=len(_BYTES))
    assert done.created and done.node.content_type == "text/x"
    assert read(store, "/a") == _BYTES
    assert stores[1].look_up(_CTX, key).offset is None


class Cut:
    """Has something else happen right before the `k`th algorithm that a store runs from now on."""

    def __init__(self, store: MongoStore, k: int, meanwhile: Callable[[], None]) -> None:
        self.happened = False
        self._left = k
        self._meanwhile = meanwhile
        self._runner = store._share.runner
        self._run = self._runner.run

    def __enter__(self) -> Self:
        setattr(self._runner, "run", self._running)  # noqa: B010
        return self

    def _running(self, *arguments: Any) -> Any:
        if self._left == 0 and not self.happened:
            self.happened = True
            self._meanwhile()
        self._left -= 1
        return self._run(*arguments)

    def __exit__(self, *_exc: object) -> None:
        setattr(self._runner, "run", self._run)  # noqa: B010


_LATE: Final[dict[str, Callable[[Upload], object]]] = {
    "suspend": lambda upload: upload.suspend(),
    "commit": lambda upload: upload.commit(),
    "persist": lambda upload: upload.persist(60.0),
    "rewind": lambda upload: upload.rewind(1),
    "abort": lambda upload: upload.abort(),
}


@pytest.mark.parametrize("late", _LATE)
def test_before_whatever_operation_another_has_come(stores: list[MongoStore], late: str) -> None:
    """It has given a sign of life a moment before, so it gives none again."""
    k, happened = 0, True
    while happened:
        happened = _cut_in(stores, late, k)
        k += 1
    assert k >= 2


def _cut_in(stores: list[MongoStore], late: str, k: int) -> bool:
    first, second = stores
    path = f"/{late}-{k}"
    slow = first.upload(_CTX, path)
    slow.write(_BYTES[:2500])
    key = slow.persist(60.0)
    slow.suspend()
    slow = first.resume(_CTX, key)
    others: list[Upload] = []

    def meanwhile() -> None:
        with contextlib.suppress(NoSuchUpload, UploadInUse):
            fast = second.resume(_CTX, key)
            # The last chunk goes, and comes again.
            fast.rewind(2000)
            fast.persist(60.0)
            others.append(fast)

    with Cut(first, k, meanwhile) as cut, contextlib.suppress(StoreError):
        _LATE[late](slow)
    if others:
        (fast,) = others
        assert names(second) == []
        assert second.look_up(_CTX, key).offset == 2000
        fast.write(_BYTES[2000:])
        fast.commit(expected_length=len(_BYTES))
        assert read(second, path) == _BYTES
        second.delete(_CTX, path)
    elif late == "commit":
        assert read(second, path) == _BYTES[:2500]
        second.delete(_CTX, path)
    if not slow.is_over:
        slow.abort()
    return cut.happened
