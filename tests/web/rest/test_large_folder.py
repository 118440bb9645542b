"""A folder of 100,000 files: the first page at once, the whole in little memory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.components.watching import MIB, MemoryWatch
from tests.mongo_e2e.filling import make_files, make_folder
from tests.web.rest.face import Rest

COUNT = 100_000
_TRIES = 5


@pytest.fixture(scope="module", params=["folder", "mongo"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _shared_mongod: Mongod,
) -> Iterator[DavServer]:
    home = tmp_path_factory.mktemp("davstore")
    one = {"workers": 1}
    if request.param == "folder":
        _fill(home / "root" / "many")
        with DavServer(home, home / "root", settings=one) as running:
            yield running
        return
    with _shared_mongod.database() as database:
        with DavServer.over_mongo(home, _shared_mongod.uri, database, settings=one) as running:
            with pymongo.MongoClient[dict[str, object]](_shared_mongod.uri) as client:
                nodes = client[database]["nodes"]
                make_files(nodes, make_folder(nodes, "many"), COUNT)
            yield running


def _fill(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(COUNT):
        os.close(os.open(f"{folder}/document number {number:06d} & more.txt", os.O_CREAT))


def test_the_whole_comes_as_a_stream_in_little_memory(server: DavServer) -> None:
    rest = Rest(Client(server.address, timeout=90))
    assert rest("GET", "list/many?limit=1").status == 200  # what it needs but once is there
    lines = 0
    with MemoryWatch(server.rss_of_workers) as watch:
        with rest.client.connection() as connection:
            path = f"{rest.base}/list/many"
            connection.request("GET", path, headers={"Accept": "application/x-ndjson"})
            with connection.getresponse() as answer:
                last = ""
                for line in answer:
                    lines += 1
                    name = json.loads(line)["name"]
                    assert name > last
                    last = name
    print(f"{lines} lines, {watch.growth / MIB:.1f} MiB more")
    assert lines == COUNT
    assert watch.growth < 32 * MIB


def test_the_first_page_comes_within_250_milliseconds(server: DavServer) -> None:
    rest = Rest(Client(server.address))
    taken = []
    for _ in range(_TRIES):
        begun = time.monotonic()
        page = json.loads(rest("GET", "list/many").body)
        taken.append(time.monotonic() - begun)
        assert len(page["entries"]) == 1000
        assert page["next"]
    print(f"first page after {[f'{seconds * 1000:.0f} ms' for seconds in taken]}")
    # The quickest: whatever else the machine does only adds to it.
    assert min(taken) < 0.25


def test_a_page_by_size_looks_at_all_and_holds_little(server: DavServer) -> None:
    rest = Rest(Client(server.address, timeout=90))
    with MemoryWatch(server.rss_of_workers) as watch:
        page = json.loads(rest("GET", "list/many?sort=-size&limit=10").body)
    assert len(page["entries"]) == 10
    print(f"{watch.growth / MIB:.1f} MiB more")
    assert watch.growth < 32 * MIB
