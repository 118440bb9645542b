"""A gibibyte up and down, ranges that read only what they need, chunks that are damaged."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Binary
from pymongo.collection import Collection

from davstore.stores.mongo.operations import CHUNKS
from tests.components.content import Stream
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.components.watching import MIB, MemoryWatch
from tests.mongo_e2e.commands import Commands
from tests.mongo_e2e.fsck import findings, store_on
from tests.stores.harness import CTX, pattern, put

SIZE = 1 << 30
#: Of the file whose chunks are damaged; not a whole number of chunks.
DAMAGED = 8 * MIB + 5

Chunks = Collection[dict[str, Any]]


@pytest.fixture
def server(tmp_path: Path, mongod: Mongod, mongo_database: str) -> Iterator[DavServer]:
    with DavServer.over_mongo(tmp_path / "home", mongod.uri, mongo_database) as running:
        yield running


@pytest.fixture
def chunks(mongod: Mongod, mongo_database: str) -> Iterator[Chunks]:
    with mongod.client() as client:
        yield client[mongo_database][CHUNKS]


def _is_downloaded_whole(server: DavServer, target: str, stream: Stream) -> bool:
    """Whether a GET gives exactly the stream, compared block by block as it comes."""
    with Client(server.address).connection() as connection:
        connection.request("GET", target)
        with connection.getresponse() as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(stream.length)
            return all(response.read(len(block)) == block for block in stream.blocks())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_gibibyte_goes_up_and_down_while_no_process_grows_by_32_mebibytes(
    server: DavServer,
) -> None:
    assert shutil.disk_usage(server.home).free > 3 * SIZE, "3 GiB of disk are needed"
    stream = Stream(SIZE)
    client = Client(server.address, timeout=120)
    for _ in range(8):  # every worker has met a large file
        client("PUT", "/warm.bin", bytes(100_000))
        client("GET", "/warm.bin")
    with MemoryWatch(server.rss_of_workers) as up:
        sent = client("PUT", "/large.bin", stream.blocks(), Content_Length=str(SIZE))
    assert sent.status == 201
    with MemoryWatch(server.rss_of_workers) as down:
        assert _is_downloaded_whole(server, "/large.bin", stream)
    print(f"growth: {up.growth / MIB:.1f} MiB up, {down.growth / MIB:.1f} MiB down")
    assert up.growth < 32 * MIB
    assert down.growth < 32 * MIB
    middle = SIZE // 2 - 3
    part = client("GET", "/large.bin", Range=f"bytes={middle}-{middle + 9}")
    assert part.status == 206
    assert len(part.body) == 10
    assert client("DELETE", "/large.bin").status == 204


@pytest.mark.parametrize(
    ("start", "length", "needed"),
    [
        (0, 1, 1),
        (MIB - 1, 1, 1),
        (MIB - 1, 2, 2),
        (3 * MIB, MIB, 1),
        (3 * MIB, MIB + 1, 2),
        (8 * MIB, 5, 1),
        (0, DAMAGED, 9),
    ],
)
def test_a_range_reads_only_the_chunks_that_it_needs(
    mongod: Mongod, mongo_database: str, commands: Commands, start: int, length: int, needed: int
) -> None:
    content = pattern(DAMAGED)
    with store_on(mongod.uri, mongo_database) as store:
        put(store, "/file.bin", content)
        commands.clear()
        with store.open(CTX, "/file.bin") as reader:
            assert b"".join(reader.chunks(start, length)) == content[start : start + length]
    assert commands.chunks_read == needed


def test_a_reader_that_goes_away_has_not_had_the_whole_file_fetched(
    mongod: Mongod, mongo_database: str, commands: Commands
) -> None:
    with store_on(mongod.uri, mongo_database) as store:
        put(store, "/file.bin", pattern(DAMAGED))
        commands.clear()
        with store.open(CTX, "/file.bin") as reader:
            next(iter(reader.chunks(0, DAMAGED)))
    assert commands.chunks_read <= 4  # two, and two that are read ahead


def _remove(chunks: Chunks, number: int) -> None:
    assert chunks.delete_one({"n": number}).deleted_count == 1


def _change_a_byte(chunks: Chunks, number: int) -> None:
    found = chunks.find_one({"n": number})
    assert found is not None
    data = bytearray(found["data"])
    data[1000] ^= 1
    chunks.update_one({"_id": found["_id"]}, {"$set": {"data": Binary(bytes(data))}})


def _shorten(chunks: Chunks, number: int) -> None:
    """As another GridFS tool would have left it, without our checksum."""
    found = chunks.find_one({"n": number})
    assert found is not None
    change = {"$set": {"data": Binary(found["data"][:-1])}, "$unset": {"crc": 1}}
    chunks.update_one({"_id": found["_id"]}, change)


@pytest.mark.parametrize("damage", [_remove, _change_a_byte, _shorten])
def test_a_download_of_a_damaged_file_is_cut_and_never_shortened_silently(
    server: DavServer,
    mongod: Mongod,
    mongo_database: str,
    chunks: Chunks,
    damage: Callable[[Chunks, int], None],
) -> None:
    content, client = pattern(DAMAGED), Client(server.address)
    assert client("PUT", "/damaged.bin", content).status == 201
    damage(chunks, 5)
    with pytest.raises(http.client.IncompleteRead) as cut:
        client("GET", "/damaged.bin")
    received = cut.value.partial
    assert len(received) <= 5 * MIB
    assert content.startswith(received)
    assert "/damaged.bin: The stored content is damaged." in server.said(), server.tail()
    before = client("GET", "/damaged.bin", Range=f"bytes=0-{5 * MIB - 1}")
    assert (before.status, before.body) == (206, content[: 5 * MIB])
    after = client("GET", "/damaged.bin", Range=f"bytes={6 * MIB}-")
    assert (after.status, after.body) == (206, content[6 * MIB :])
    if damage is not _change_a_byte:  # whose finding takes a look at every byte
        with store_on(mongod.uri, mongo_database) as store:
            assert [found.path for found in findings(store)] == ["/damaged.bin"]


@pytest.mark.parametrize("number", [0, 8])
def test_damage_at_either_end_never_looks_like_a_good_answer(
    server: DavServer, chunks: Chunks, number: int
) -> None:
    client = Client(server.address)
    assert client("PUT", "/damaged.bin", pattern(DAMAGED)).status == 201
    _remove(chunks, number)
    try:
        answer = client("GET", "/damaged.bin")
    except http.client.HTTPException as cut:
        print(repr(cut)[:100])
    else:
        assert answer.status == 500, answer.status
