"""The contents stay valid GridFS: PyMongo's own tools read them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gridfs import GridFSBucket

from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.harness import CTX, pattern, put

CHUNK = 1 << 20


@pytest.fixture
def store(mongod: Mongod, mongo_database: str) -> Iterator[MongoStore]:
    store = MongoStore(mongod.uri, mongo_database, chunk_size=CHUNK)
    yield store
    store.close()


@pytest.mark.parametrize("size", [16385, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, (7 << 20) + 13])
def test_gridfsbucket_reads_what_was_written(store: MongoStore, size: int) -> None:
    content = pattern(size)
    put(store, "/file", content)
    database = store.database
    (node,) = database.nodes.find({"n": "file"})
    bucket = GridFSBucket(database)
    with bucket.open_download_stream(node["c"]) as stream:
        assert (stream.length, stream.chunk_size) == (size, CHUNK)
        assert stream.read() == content
        stream.seek(size // 2)
        assert stream.read(1000) == content[size // 2 :][:1000]


def test_gridfsbucket_reads_a_resumed_upload(store: MongoStore) -> None:
    content = pattern(2 * CHUNK + 100)
    upload = store.upload(CTX, "/file")
    upload.write(content[:1000])
    key = upload.persist(60)
    upload.write(content[1000 : CHUNK + 5])
    upload.suspend()
    again = store.resume(CTX, key)
    again.write(content[again.offset :])
    again.commit(expected_length=len(content))
    (node,) = store.database.nodes.find({"n": "file"})
    assert GridFSBucket(store.database).open_download_stream(node["c"]).read() == content
