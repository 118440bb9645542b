"""Size does not matter: moves and deletions of 100,000 nodes, listings of 10,000 and 100,000."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lxml import etree
from pymongo.collection import Collection

from davstore.stores.mongo.operations import NODES
from tests.components.davserver import DavServer
from tests.components.http import DAV, Client
from tests.components.mongod import Mongod
from tests.components.watching import MIB, MemoryWatch
from tests.mongo_e2e.commands import Commands
from tests.mongo_e2e.filling import file_name, make_files, make_folder, make_tree
from tests.mongo_e2e.fsck import findings, store_on
from tests.stores.harness import CTX

_TRIES = 5


class Filled(NamedTuple):
    """A database with /large (100 folders of 1,000 files), /small (2 of 4), /many-10000 and
    /many-100000."""

    mongod: Mongod
    name: str
    nodes: Collection[dict[str, Any]]


@pytest.fixture(scope="module")
def filled(_shared_mongod: Mongod) -> Iterator[Filled]:
    with _shared_mongod.database() as name, _shared_mongod.client() as client:
        with store_on(_shared_mongod.uri, name) as store:
            store.stat(CTX, "/")  # makes indexes and root
        nodes = client[name][NODES]
        make_tree(nodes, "large", 100, 999)
        make_tree(nodes, "small", 2, 4)
        for count in (10_000, 100_000):
            make_files(nodes, make_folder(nodes, f"many-{count}"), count)
        yield Filled(_shared_mongod, name, nodes)


@pytest.fixture
def server(tmp_path: Path, filled: Filled) -> Iterator[DavServer]:
    """A fresh one for each test: what a listing leaves behind must not hide what it takes."""
    with DavServer.over_mongo(tmp_path / "home", filled.mongod.uri, filled.name) as running:
        assert Client(running.address)("PROPFIND", "/", Depth="1").status == 207
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


def _milliseconds(begun: float) -> float:
    return (time.monotonic() - begun) * 1000


def test_trees_that_are_made_in_this_way_are_some_that_fsck_likes(
    mongod: Mongod, mongo_database: str
) -> None:
    with store_on(mongod.uri, mongo_database) as store, mongod.client() as client:
        store.stat(CTX, "/")
        nodes = client[mongo_database][NODES]
        make_tree(nodes, "tree", 3, 10)
        make_files(nodes, make_folder(nodes, "many"), 10)
        # Nobody has counted their bytes.
        assert [finding.kind for finding in findings(store)] == ["counter"]
        assert len(list(store.list(CTX, "/tree"))) == 3


def test_a_move_takes_as_many_operations_for_100_000_nodes_as_for_ten(
    filled: Filled, commands: Commands
) -> None:
    counted, taken = {}, {}
    with store_on(filled.mongod.uri, filled.name) as store:
        make_folder(filled.nodes, "elsewhere")
        for name in ("small", "large"):
            times = []
            for _ in range(_TRIES):
                commands.clear()
                begun = time.monotonic()
                store.move(CTX, f"/{name}", f"/elsewhere/{name}", overwrite=False)
                times.append(_milliseconds(begun))
                counted[name] = dict(commands.counts)
                store.move(CTX, f"/elsewhere/{name}", f"/{name}", overwrite=False)
            taken[name] = statistics.median(times)
    print(f"{sum(counted['large'].values())} operations, {taken['large']:.1f} ms")
    assert counted["large"] == counted["small"]
    assert taken["large"] < 50


def test_a_deletion_takes_as_many_operations_for_100_000_nodes_as_for_ten(
    filled: Filled, commands: Commands
) -> None:
    counted, taken = {}, {}
    with store_on(filled.mongod.uri, filled.name) as store:
        for name in ("small", "large"):
            folder = filled.nodes.find_one({"n": name})
            assert folder is not None
            times = []
            for _ in range(_TRIES):
                store.stat(CTX, f"/{name}")
                commands.clear()
                begun = time.monotonic()
                store.delete(CTX, f"/{name}")
                times.append(_milliseconds(begun))
                counted[name] = dict(commands.counts)
                # Nobody sweeps here: it can rise again for the next try.
                filled.nodes.replace_one({"_id": folder["_id"]}, folder)
            taken[name] = statistics.median(times)
    print(f"{sum(counted['large'].values())} operations, {taken['large']:.1f} ms")
    assert counted["large"] == counted["small"]
    assert taken["large"] < 50


def test_a_client_moves_100_000_nodes_within_50_milliseconds(
    filled: Filled, server: DavServer
) -> None:
    client, times = Client(server.address), []
    for number in range(_TRIES):
        here, there = ("large", "moved") if number % 2 == 0 else ("moved", "large")
        begun = time.monotonic()
        answer = client("MOVE", f"/{here}/", Destination=f"{server.url}{there}/")
        times.append(_milliseconds(begun))
        assert answer.status == 201, answer
    assert client("GET", f"/moved/folder%2099/{_quoted(998)}").body == b"x"
    assert client("MOVE", "/moved/", Destination=f"{server.url}large/").status == 201
    print(f"MOVE over HTTP: {statistics.median(times):.1f} ms")
    assert statistics.median(times) < 50


def _quoted(number: int) -> str:
    return file_name(number).replace(" ", "%20").replace("&", "%26")


def test_a_listing_of_10_000_files_is_one_query(filled: Filled, server: DavServer) -> None:
    folder = filled.nodes.find_one({"n": "many-10000"})
    assert folder is not None
    client, database = Client(server.address), filled.nodes.database
    times = []
    for _ in range(3):
        begun = time.monotonic()
        answer = client("PROPFIND", "/many-10000/", Depth="1")
        times.append(_milliseconds(begun))
    assert answer.body.count(b"<D:response>") == 10_001
    database.command("profile", 2)
    try:
        assert client("PROPFIND", "/many-10000/", Depth="1").status == 207
    finally:
        database.command("profile", 0)
    listings = {"op": "query", "command.find": NODES, "command.filter.p": folder["_id"]}
    assert database["system.profile"].count_documents(listings) == 1
    print(f"PROPFIND of 10,000 files: {statistics.median(times):.0f} ms")


def _first_byte(server: DavServer) -> float:
    """Milliseconds until the first byte of the multi-status, after all headers."""
    request = b"PROPFIND /many-100000/ HTTP/1.1\r\nHost: localhost\r\nDepth: 1\r\n\r\n"
    with socket.create_connection(server.address, timeout=30) as link:
        begun = time.monotonic()
        link.sendall(request)
        said = b""
        while b"<" not in said.partition(b"\r\n\r\n")[2]:
            data = link.recv(4096)
            assert data, said
            said += data
        return _milliseconds(begun)


@pytest.mark.slow
def test_a_listing_of_100_000_files_is_streamed_in_bounded_memory(server: DavServer) -> None:
    first = [_first_byte(server) for _ in range(_TRIES)]
    names = set()
    with MemoryWatch(server.rss_of_workers) as watch:
        with Client(server.address, timeout=120).connection() as connection:
            connection.request("PROPFIND", "/many-100000/", headers={"Depth": "1"})
            with connection.getresponse() as response:
                assert response.status == 207
                for _, element in etree.iterparse(response, tag=f"{DAV}response"):
                    names.add(element.findtext(f"{DAV}href"))
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
    print(f"first byte: {statistics.median(first):.0f} ms, growth: {watch.growth / MIB:.1f} MiB")
    assert len(names) == 100_001
    assert f"/many-100000/{_quoted(42)}" in names
    assert statistics.median(first) < 250
    assert watch.growth < 32 * MIB
