"""Uploads in parts on a real mongod: any order, repeated, by several senders, finished once."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import pytest
from gridfs import GridFSBucket

from davstore.errors import (
    DigestMismatch,
    LengthMismatch,
    Locked,
    NoSuchUpload,
    NotFound,
    PartDiffers,
    PartsMissing,
    PreconditionFailed,
    QuotaExceeded,
    StoreError,
    Unavailable,
    UploadFinished,
    UploadInUse,
    WrongPart,
)
from davstore.stores.base import Attributes, Context, FindsById, Part, TakesParts
from davstore.stores.mongo import chunks, part_completion, part_uploads, publishing
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.components.processes import wait_until
from tests.stores.harness import CTX, Refusal, digests_of, names, pattern, put, read, settle

UNIT = 8 << 10
SIZE = 3 * UNIT
HOUR = 3600.0


@pytest.fixture
def opened(mongod: Mongod, mongo_database: str) -> Iterator[list[MongoStore]]:
    """Two instances on one database, as two nodes are."""
    stores = [
        MongoStore(mongod.uri, mongo_database, chunk_size=UNIT, inline_max=1 << 10)
        for _ in range(2)
    ]
    yield stores
    for each in stores:
        each.close()


@pytest.fixture
def store(opened: list[MongoStore]) -> Iterator[MongoStore]:
    """At the end fsck finds nothing wrong, whatever a test has left unfinished."""
    yield opened[0]
    assert opened[0].upkeep().check(lambda _count: None, verify=True) == []


@pytest.fixture
def other(opened: list[MongoStore]) -> MongoStore:
    return opened[1]


def cut(content: bytes, size: int = SIZE) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)] or [b""]


def send(
    store: MongoStore, key: str, number: int, parts: list[bytes], *, announced: bool = True
) -> Part:
    data = parts[number]
    blocks = [data[at : at + 5000] for at in range(0, len(data), 5000)]
    return store.put_part(
        CTX, key, number, len(parts), blocks, length=len(data) if announced else None
    )


def chunks_of(store: MongoStore, key: str) -> list[int]:
    found = store.database["fs.chunks"].find({"files_id": content_id(store, key)}).sort("n")
    return [chunk["n"] for chunk in found]


def content_id(store: MongoStore, key: str) -> object:
    (found,) = (
        each["_id"]
        for each in store.database["fs.files"].find({}, {"_id": 1})
        if bytes(each["_id"]).hex() == key
    )
    return found


def test_it_can_be_asked_for_its_abilities(store: MongoStore) -> None:
    assert isinstance(store, TakesParts) and isinstance(store, FindsById)
    assert store.part_rules().unit == UNIT
    assert store.part_rules().small == 1 << 10


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
@pytest.mark.parametrize("size", [0, 1, UNIT, SIZE, SIZE + 1, 4 * SIZE - 7, 4 * SIZE])
def test_parts_in_any_order_become_the_file(
    store: MongoStore, other: MongoStore, size: int, announced: bool
) -> None:
    content = pattern(size)
    parts = cut(content)
    seed = size * 2 + announced
    chance = random.Random(seed)
    print(f"seed {seed}")
    for turn in range(3):
        order = list(range(len(parts)))
        chance.shuffle(order)
        path = f"/file-{turn}"
        for number in order:
            node = chance.choice((store, other))
            key = node.begin_parts(CTX, path, "mine", HOUR, Attributes("text/x", 1e9))
            send(node, key, number, parts, announced=announced)
            send(other, key, number, parts, announced=announced)
        assert names(store) == [f"file-{each}" for each in range(turn)]
        done = other.finish_parts(
            CTX,
            key,
            len(parts),
            expected_length=size,
            expected_digests=digests_of(content, ("md5", "sha256")),
        )
        assert done.created
        assert (done.node.content_type, done.node.modified) == ("text/x", 1e9)
        assert dict(done.node.digests) == digests_of(content, ("sha1", "sha256"))
        assert read(store, path) == content
        assert chunks_of(store, key) == list(range(-(-size // UNIT)))
        stream = GridFSBucket(store.database).open_download_stream(content_id(store, key))
        assert stream.read() == content
    sizes = [len(chunk["data"]) for chunk in store.database["fs.chunks"].find()]
    assert sum(sizes) == 3 * size


def begin(store: MongoStore, path: str = "/file", name: str = "mine") -> str:
    return store.begin_parts(CTX, path, name, HOUR)


def uploaded(store: MongoStore, content: bytes, path: str = "/file", name: str = "mine") -> str:
    """Everything is sent and nothing finished."""
    key = begin(store, path, name)
    parts = cut(content)
    for number in range(len(parts)):
        send(store, key, number, parts)
    return key


def test_a_name_is_the_identitys_own_for_each_path(store: MongoStore, other: MongoStore) -> None:
    anna, bert = Context("anna"), Context("bert")
    keys = [
        each.begin_parts(who, path, name, HOUR)
        for each in (store, other)
        for who in (CTX, anna, bert)
        for path in ("/a", "/b")
        for name in ("one", "two", "$HOME")
    ]
    assert len(keys) == 36
    assert keys[:18] == keys[18:]
    assert len(set(keys)) == 18
    with pytest.raises(NoSuchUpload):
        store.find_parts(Context("carl"), "/a", "one")


def test_what_is_there_and_what_is_missing_is_told(store: MongoStore, other: MongoStore) -> None:
    content = pattern(3 * SIZE + 5)
    parts = cut(content)
    key = begin(store)
    assert other.find_parts(CTX, "/file", "mine").missing(2) == [0, 1]
    send(store, key, 3, parts)
    send(store, key, 1, parts)
    found = other.find_parts(CTX, "/file", "mine")
    assert (found.id, found.path, found.count, found.part_size) == (key, "/file", 4, SIZE)
    assert found.parts == {
        number: Part(len(parts[number]), hashlib.sha256(parts[number]).hexdigest())
        for number in (1, 3)
    }
    assert found.missing(4) == [0, 2]
    assert not found.finished
    with pytest.raises(PartsMissing) as caught:
        other.finish_parts(CTX, key, 4)
    assert caught.value.missing == (0, 2)
    assert names(store) == []


def test_a_part_with_another_content_is_refused(store: MongoStore) -> None:
    content = pattern(2 * SIZE)
    parts = cut(content)
    key = uploaded(store, content)
    for announced in (True, False):
        with pytest.raises(PartDiffers):
            send(store, key, 0, [b"x" * SIZE, b""], announced=announced)
    sha256 = hashlib.sha256(parts[0]).hexdigest()
    with pytest.raises(PartDiffers):
        store.put_part(CTX, key, 0, 2, [parts[0]], sha256="0" * 64)
    with pytest.raises(DigestMismatch):
        store.put_part(CTX, key, 0, 2, [b"x" * SIZE], sha256=sha256)
    assert store.put_part(CTX, key, 0, 2, [parts[0]], sha256=sha256).sha256 == sha256
    store.finish_parts(CTX, key, 2, expected_length=2 * SIZE)
    assert read(store, "/file") == content


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
def test_parts_that_do_not_fit_are_refused(store: MongoStore, announced: bool) -> None:
    key = begin(store)

    def refused(number: int, count: int, size: int) -> bool:
        try:
            length = size if announced else None
            store.put_part(CTX, key, number, count, [b"x" * size], length=length)
        except WrongPart:
            return True
        return False

    assert refused(0, 2, UNIT + 1)
    assert refused(0, 2, 0)
    assert refused(0, 0, UNIT)
    assert refused(2, 2, UNIT)
    assert refused(-1, 2, UNIT)
    assert refused(0, 10_001, UNIT)
    # Nothing of these binds: now another size and count are said.
    assert not refused(1, 4, 2 * UNIT)
    assert refused(0, 4, UNIT)
    assert refused(0, 4, 3 * UNIT)
    assert refused(3, 4, 2 * UNIT + 1)
    assert refused(0, 3, 2 * UNIT)
    assert not refused(0, 4, 2 * UNIT)
    assert not refused(3, 4, 2 * UNIT)
    assert not refused(2, 4, 2 * UNIT)
    with pytest.raises(WrongPart):
        store.finish_parts(CTX, key, 3)
    store.finish_parts(CTX, key, 4)
    assert read(store, "/file") == b"x" * 8 * UNIT


def test_a_last_part_that_turns_out_too_long_is_told(store: MongoStore) -> None:
    key = begin(store)
    store.put_part(CTX, key, 1, 2, [b"x" * 2 * UNIT])
    with pytest.raises(WrongPart):
        store.put_part(CTX, key, 0, 2, [b"x" * UNIT], length=UNIT) and store.finish_parts(
            CTX, key, 2
        )
    assert names(store) == []


def test_a_part_that_breaks_off_leaves_no_trace(store: MongoStore, other: MongoStore) -> None:
    content = pattern(2 * SIZE + 100)
    parts = cut(content)
    key = begin(store)

    def broken(size: int) -> Iterator[bytes]:
        yield b"y" * size
        raise ConnectionResetError

    for number in (0, 2, 1):
        with pytest.raises(ConnectionResetError):
            store.put_part(CTX, key, number, 3, broken(SIZE), length=None)
        with pytest.raises((LengthMismatch, WrongPart)):
            store.put_part(CTX, key, number, 3, [b"z" * (SIZE - 1)], length=UNIT)
        with pytest.raises(DigestMismatch):
            store.put_part(CTX, key, number, 3, [b"z" * SIZE], sha256="0" * 64)
        assert number not in store.find_parts(CTX, "/file", "mine").parts
        send(other, key, number, parts, announced=False)
    other.finish_parts(CTX, key, 3)
    assert read(store, "/file") == content
    assert chunks_of(store, key) == list(range(7))


def test_of_two_that_send_one_part_at_once_the_second_is_told(
    store: MongoStore, other: MongoStore
) -> None:
    content = pattern(2 * SIZE)
    parts = cut(content)
    key = begin(store)

    def slowly() -> Iterator[bytes]:
        yield parts[0][:1000]
        for each in (store, other):
            with pytest.raises(UploadInUse):
                send(each, key, 0, [b"x" * SIZE, b""])
            with pytest.raises(PartsMissing):
                each.finish_parts(CTX, key, 2)
        send(other, key, 1, parts)
        yield parts[0][1000:]

    store.put_part(CTX, key, 0, 2, slowly(), length=SIZE)
    store.finish_parts(CTX, key, 2)
    assert read(store, "/file") == content


def test_nothing_is_sent_while_somebody_finishes(store: MongoStore, other: MongoStore) -> None:
    content = pattern(2 * SIZE)
    key = uploaded(store, content)
    said: list[type[StoreError]] = []

    class Meanwhile:
        def judge(self, path: str, node: object, effect: object) -> None:
            for ask in (
                lambda: other.put_part(CTX, key, 2, 3, [b"x"]),
                lambda: other.finish_parts(CTX, key, 2),
            ):
                try:
                    ask()
                except StoreError as error:
                    said.append(type(error))
            assert send(other, key, 0, cut(content)).length == SIZE

    store.finish_parts(CTX, key, 2, guard=Meanwhile())
    assert said == [UploadInUse, UploadInUse]
    assert read(store, "/file") == content


@pytest.mark.parametrize("instead", [None, b"newer"], ids=["deleted", "replaced"])
def test_a_finisher_that_another_has_overtaken_writes_no_file(
    store: MongoStore,
    other: MongoStore,
    instead: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stands still between the seal and the file; see test_late_finishers for all the rest."""
    content = pattern(2 * SIZE)
    key = uploaded(store, content)
    runner = store._share.runner
    runner.terms = replace(runner.terms, mark_lasts=0.0)

    def body_of(attributes: Attributes, size: int, digests: Mapping[str, str]) -> dict[str, Any]:
        monkeypatch.undo()
        assert other.finish_parts(CTX, key, 2).created
        assert read(other, "/file") == content
        other.delete(CTX, "/file")
        if instead is not None:
            put(other, "/file", instead)
        return publishing.body_of(attributes, size, digests)

    monkeypatch.setattr(part_uploads, "body_of", body_of)
    with pytest.raises(Unavailable):
        store.finish_parts(CTX, key, 2)
    assert names(store) == ([] if instead is None else ["file"])
    assert instead is None or read(store, "/file") == instead
    with pytest.raises(NoSuchUpload):
        store.finish_parts(CTX, key, 2)


def test_it_is_known_to_be_finished_though_its_finisher_died_before_noting_that(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who asks again would be told that a file is in the way: its own."""

    class DiedError(BaseException):
        pass

    def forget_parts(_upload: object, _nonce: str) -> None:
        raise DiedError

    content = pattern(2 * SIZE)
    key = uploaded(store, content)
    monkeypatch.setattr(part_completion, "forget_parts", forget_parts)
    with pytest.raises(DiedError):
        store.finish_parts(CTX, key, 2)
    monkeypatch.undo()
    assert read(other, "/file") == content
    assert other.find_parts(CTX, "/file", "mine").finished
    assert not other.finish_parts(CTX, key, 2).created
    other.delete(CTX, "/file")
    with pytest.raises(NoSuchUpload):
        other.finish_parts(CTX, key, 2)
    with pytest.raises(UploadFinished):
        other.give_up_parts(CTX, key)
    assert other.find_parts(CTX, "/file", "mine").finished


def test_a_finisher_whose_parts_another_has_moved_says_so(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = cut(pattern(2 * SIZE))
    key = begin(store)
    for number in (1, 0):  # the last one comes first, so it lies aside
        send(store, key, number, parts, announced=False)
    runner = store._share.runner
    runner.terms = replace(runner.terms, mark_lasts=0.0)

    def read_chunks(*arguments: Any) -> Iterator[bytes]:
        monkeypatch.undo()
        other.finish_parts(CTX, key, 2)
        return chunks.read_chunks(*arguments)

    monkeypatch.setattr(part_uploads, "read_chunks", read_chunks)
    with pytest.raises(UploadInUse):
        store.finish_parts(CTX, key, 2)
    assert read(store, "/file") == b"".join(parts)


def test_finishing_again_answers_the_file_as_long_as_it_is_that_one(
    store: MongoStore, other: MongoStore
) -> None:
    content = pattern(2 * SIZE + 1)
    sha256 = digests_of(content, ("sha256",))
    key = uploaded(store, content)
    first = store.finish_parts(CTX, key, 3, expected_digests=sha256)
    again = other.finish_parts(CTX, begin(other), 3, expected_length=len(content))
    assert again.node == first.node
    assert not again.created
    assert other.find_parts(CTX, "/file", "mine").finished
    with pytest.raises(DigestMismatch):
        other.finish_parts(CTX, key, 3, expected_digests={"sha256": "0" * 64})
    with pytest.raises(LengthMismatch):
        other.finish_parts(CTX, key, 3, expected_length=1)
    with pytest.raises(UploadFinished):
        send(other, key, 0, cut(content))
    put(store, "/file", b"something else")
    with pytest.raises(NoSuchUpload):
        other.finish_parts(CTX, key, 3)
    assert read(store, "/file") == b"something else"


def test_a_name_can_be_used_again_once_the_finished_upload_is_forgotten(
    store: MongoStore,
) -> None:
    keys = []
    for number in range(10):
        content = pattern(SIZE + 1 + number)
        key = store.begin_parts(CTX, "/file", "mine", 0)
        parts = cut(content)
        for at in range(2):
            send(store, key, at, parts)
        store.finish_parts(CTX, key, 2)
        assert read(store, "/file") == content
        keys.append(key)
    assert len(set(keys)) == 10
    settle(store, time.time() + 100 * HOUR)
    settle(store, time.time() + 200 * HOUR)


@pytest.mark.parametrize("error", [Locked, PreconditionFailed])
def test_a_refused_finish_can_be_tried_again(
    store: MongoStore, other: MongoStore, error: type[StoreError]
) -> None:
    content = pattern(SIZE + 1)
    key = uploaded(store, content)
    with pytest.raises(error):
        store.finish_parts(CTX, key, 2, guard=Refusal(error=error))
    with pytest.raises(DigestMismatch):
        store.finish_parts(CTX, key, 2, expected_digests={"md5": "0" * 32})
    with pytest.raises(LengthMismatch):
        store.finish_parts(CTX, key, 2, expected_length=1)
    with pytest.raises(WrongPart):
        store.finish_parts(CTX, key, 1)
    assert names(store) == []
    assert send(other, key, 1, cut(content)).length == 1
    assert other.finish_parts(CTX, key, 2).created
    assert read(store, "/file") == content


def test_an_unfinished_upload_is_reclaimed_after_its_lease(store: MongoStore) -> None:
    keys = [begin(store, "/a"), uploaded(store, pattern(3 * SIZE), "/b")]
    send(store, keys[0], 2, cut(pattern(3 * SIZE)))
    settle(store, time.time() + HOUR - 60)
    assert store.find_parts(CTX, "/b", "mine").missing(3) == []
    settle(store, time.time() + HOUR + 60)
    for path in ("/a", "/b"):
        with pytest.raises(NoSuchUpload):
            store.find_parts(CTX, path, "mine")
    begin(store, "/b")
    assert store.find_parts(CTX, "/b", "mine").missing(1) == [0]
    settle(store, time.time() + 3 * HOUR)
    assert store.database["fs.chunks"].count_documents({}) == 0


def test_an_upload_can_be_given_up(store: MongoStore, other: MongoStore) -> None:
    content = pattern(2 * SIZE)
    key = uploaded(store, content)

    def slowly() -> Iterator[bytes]:
        yield b"x"
        for each in (store, other):
            with pytest.raises(UploadInUse):
                each.give_up_parts(CTX, begin(each, "/file", "second"))
        yield b"x" * (SIZE - 1)

    second = begin(store, "/file", "second")
    store.put_part(CTX, second, 0, 2, slowly(), length=SIZE)
    for each in (key, second):
        other.give_up_parts(CTX, each)
        for gone in (
            lambda each=each: store.give_up_parts(CTX, each),
            lambda each=each: store.finish_parts(CTX, each, 2),
            lambda each=each: send(store, each, 0, cut(content)),
        ):
            with pytest.raises(NoSuchUpload):
                gone()
    with pytest.raises(NoSuchUpload):
        store.find_parts(CTX, "/file", "mine")
    again = uploaded(other, content)
    assert again != key
    store.finish_parts(CTX, again, 2)
    with pytest.raises(UploadFinished):
        other.give_up_parts(CTX, again)
    assert read(store, "/file") == content
    settle(store, time.time() + HOUR)
    assert store.database["fs.files"].count_documents({}) == 1


def test_a_quota_holds(mongod: Mongod, mongo_database: str) -> None:
    store = MongoStore(
        mongod.uri, mongo_database, chunk_size=UNIT, inline_max=1 << 10, quota=4 * UNIT
    )
    key = begin(store)
    with pytest.raises(QuotaExceeded):
        store.put_part(CTX, key, 0, 2, [b"x" * UNIT] * 5, length=5 * UNIT)
    store.put_part(CTX, key, 0, 2, [b"x" * 3 * UNIT], length=3 * UNIT)
    with pytest.raises(QuotaExceeded):
        store.put_part(CTX, key, 1, 2, [b"x" * 2 * UNIT], length=2 * UNIT)
    store.put_part(CTX, key, 1, 2, [b"x" * UNIT], length=UNIT)
    put(store, "/other", b"x")
    wait_until(lambda: store._share.used() == 1, 5, "the count to be read again")
    with pytest.raises(QuotaExceeded):
        store.finish_parts(CTX, key, 2)
    assert names(store) == ["other"]
    store.delete(CTX, "/other")
    settle(store, time.time() + 1)
    wait_until(lambda: store._share.used() == 0, 5, "the count to be read again")
    store.finish_parts(CTX, key, 2)
    assert store.usage(CTX).used == 4 * UNIT
    store.finish_parts(CTX, key, 2)
    assert store.usage(CTX).used == 4 * UNIT
    store.delete(CTX, "/file")
    settle(store, time.time() + 1)
    assert store.usage(CTX).used == 0
    store.close()


def _send_and_wait_for_death(uri: str, database: str, key: str, sender: Connection) -> None:
    """The body of a process that is killed in the middle of a part."""
    store = MongoStore(uri, database, chunk_size=UNIT, inline_max=1 << 10)

    def blocks() -> Iterator[bytes]:
        yield b"x" * (4 << 20)
        yield b"x"
        sender.send(None)
        signal.pause()

    store.put_part(CTX, key, 1, 2, blocks(), length=8 << 20)


def test_after_a_killed_sender_the_part_can_be_sent_again(
    mongod: Mongod, mongo_database: str, store: MongoStore
) -> None:
    key = begin(store)
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(
        target=_send_and_wait_for_death, args=(mongod.uri, mongo_database, key, sender)
    )
    process.start()
    assert receiver.poll(30), "the process did not begin to send"
    parts = cut(pattern(SIZE + 1))
    with pytest.raises(UploadInUse):
        send(store, key, 1, parts)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    process.close()
    for number in (1, 0):
        send(store, key, number, parts)
    store.finish_parts(CTX, key, 2)
    assert read(store, "/file") == b"".join(parts)
    assert chunks_of(store, key) == list(range(4))


def test_chunks_that_come_too_late_replace_none_of_another(
    store: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender stands still between its sign of life and its chunks; another sends the part."""
    content = pattern(SIZE)
    key = begin(store)
    runner = store._share.runner
    runner.terms = replace(runner.terms, mark_lasts=0.0)
    real = chunks.ChunkWriter._insert

    def insert(writer: chunks.ChunkWriter, documents: list[dict[str, Any]]) -> None:
        monkeypatch.undo()
        send(other, key, 0, [content])
        other.finish_parts(CTX, key, 1)
        real(writer, documents)

    monkeypatch.setattr(chunks.ChunkWriter, "_insert", insert)
    with pytest.raises(UploadInUse):
        store.put_part(CTX, key, 0, 1, [b"x" * SIZE], length=SIZE)
    assert read(other, "/file") == content


def test_many_senders_at_once(opened: list[MongoStore]) -> None:
    """Each part comes from several at once, whole and broken; seeds are printed."""
    store = opened[0]
    content = pattern(12 * SIZE + 77)
    parts = cut(content)
    key = begin(store)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        print(f"seed {seed}")
        chance = random.Random(seed)
        node = chance.choice(opened)
        order = [*range(len(parts))] * 2
        chance.shuffle(order)
        for number in order:
            try:
                if chance.random() < 0.3:
                    node.put_part(CTX, key, number, len(parts), _breaking(parts[number]))
                else:
                    send(node, key, number, parts, announced=chance.random() < 0.5)
            except (UploadInUse, ConnectionResetError):
                pass
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in store.find_parts(CTX, "/file", "mine").missing(len(parts)):
        send(store, key, number, parts)
    store.finish_parts(CTX, key, len(parts), expected_digests=digests_of(content, ("sha256",)))
    assert read(store, "/file") == content
    assert chunks_of(store, key) == list(range(-(-len(content) // UNIT)))


def _breaking(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    raise ConnectionResetError


def test_a_node_is_found_by_its_id(store: MongoStore) -> None:
    store.create_folder(CTX, "/d")
    node = put(store, "/d/file", b"x").node
    assert store.path_of(CTX, node.id) == "/d/file"
    store.move(CTX, "/d", "/e", overwrite=False)
    assert store.path_of(CTX, node.id) == "/e/file"
    store.delete(CTX, "/e")
    for unknown in (node.id, "", "0" * 32, "x", "ä", "/"):
        with pytest.raises(NotFound):
            store.path_of(CTX, unknown)


def test_a_first_part_of_unknown_length_does_not_run_into_others(
    store: MongoStore, other: MongoStore
) -> None:
    content = pattern(3 * UNIT)
    parts = cut(content, UNIT)
    key = begin(store)

    def longer() -> Iterator[bytes]:
        yield b"x" * UNIT
        send(other, key, 1, parts)
        yield b"x" * UNIT

    with pytest.raises(WrongPart):
        store.put_part(CTX, key, 0, 3, longer())
    for number in (0, 2):
        send(store, key, number, parts)
    store.finish_parts(CTX, key, 3)
    assert read(store, "/file") == content
    assert chunks_of(store, key) == [0, 1, 2]
