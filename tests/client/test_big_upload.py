"""A large upload through 20 broken connections and the death of a node: it ends whole, sends
again at most one piece per break, and nothing of it is stored twice.

DAVSTORE_UPLOAD_MIB says how large: 256 MiB, and 2 GiB under `make soak`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from davstore.client import Client, Entry
from davstore.discovery import Discovery
from tests.components.consul import ConsulAgent
from tests.components.content import Stream
from tests.components.cutting import Cuts, CuttingProxy, places
from tests.components.davserver import DavServer
from tests.components.mongod import Mongod
from tests.components.processes import free_port, wait_until

MIB = 1 << 20
PIECE = 8 * MIB
SIZE = int(os.environ.pop("DAVSTORE_UPLOAD_MIB", "256")) * MIB + 4321
SEED = 5
BREAKS = 20

#: What heads of requests, and whatever else is asked, may add.
HEADS = MIB

#: What a database or a file system may need beside the content: less than a second copy.
BESIDE = 1.25

_numbers = itertools.count(1)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "source"
    with path.open("wb") as file:
        file.writelines(Stream(SIZE).blocks())
    yield path
    path.unlink()


class Watch:
    """The largest answer of `look` while it is open."""

    def __init__(self, look: Callable[[], int]) -> None:
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.largest = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self.largest = max(self.largest, self._look())
        self.largest = max(self.largest, self._look())


def on_disk(folder: Path) -> int:
    """Bytes that the files below take, hidden ones too."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def digest_of(url: str) -> str:
    digest = hashlib.sha256()
    with requests.get(url, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        for block in answer.iter_content(MIB):
            digest.update(block)
    return digest.hexdigest()


def upload(client: Client, source: Path, cuts: Cuts, when_half: Callable[[], None]) -> Entry:
    """`when_half` is called once, when half of it is there."""
    left = [when_half]
    began = time.monotonic()

    def progress(done: int, size: int) -> None:
        if left and done > size // 2:
            left.pop()()

    entry = client.upload(source, "/large.bin", progress=progress)
    seconds = time.monotonic() - began
    assert not left
    again = cuts.up - SIZE
    print(
        f"seed {SEED}: {SIZE} bytes in {seconds:.1f} s, {cuts.made} breaks and a kill;"
        f" {cuts.up} bytes sent, {again / MIB:.1f} MiB more than it has"
        f" ({again / (cuts.made + 1) / MIB:.2f} MiB per break, at most 8)"
    )
    return entry


def check(entry: Entry, cuts: Cuts, source: Path, urls: Sequence[str]) -> None:
    assert (cuts.made, cuts.left) == (BREAKS, 0)
    # The death of the node is a break as well.
    assert cuts.up <= SIZE + (BREAKS + 1) * PIECE + HEADS
    with source.open("rb") as file:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
    assert (entry.size, entry.digests["sha256"]) == (SIZE, expected)
    for url in urls:
        assert digest_of(url) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_over_three_nodes_of_one_database(
    tmp_path: Path, source: Path, consul: ConsulAgent, mongod: Mongod, mongo_database: str
) -> None:
    service = f"large-{os.getpid()}-{next(_numbers)}"
    cuts = Cuts(places(SEED, BREAKS, SIZE))
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            port = free_port()
            proxy = stack.enter_context(CuttingProxy(("127.0.0.1", port), cuts))
            settings = {
                "listen": {"port": port},
                "admin": {"port": 0},
                "consul": {
                    "url": consul.http,
                    "service": service,
                    "interval": 1,
                    "advertise": f"127.0.0.1:{proxy.port}",
                },
            }
            node = DavServer.over_mongo(
                tmp_path / f"node-{number}", mongod.uri, mongo_database, settings=settings
            )
            stack.callback(node.kill9)
            nodes.append((node.start(), proxy))
        consul.wait_statuses(service, *["passing"] * 3, seconds=30)
        database = stack.enter_context(mongod.client())[mongo_database]

        def stored() -> int:
            return int(database.command("collStats", "fs.chunks").get("size", 0))

        killed: list[DavServer] = []

        def kill() -> None:
            """The node that the client is talking to."""
            current = client._wire.places.current("/large.bin")
            killed.extend(node for node, proxy in nodes if proxy.url == current)
            assert [bool(node.kill9()) for node in killed] == [True]

        client = stack.enter_context(Client(Discovery(consul.http, service)))
        with Watch(stored) as watch:
            entry = upload(client, source, cuts, kill)
        living = [node for node, _ in nodes if node not in killed]
        assert len(living) == 2
        check(entry, cuts, source, [f"{node.url}large.bin" for node in living])
        print(f"{watch.largest / SIZE:.3f} of its size in fs.chunks at most")
        assert watch.largest <= SIZE * BESIDE
        assert database["fs.files"].count_documents({}) == 1
        for node, _ in nodes:
            assert "Traceback" not in node.said(), node.tail(20000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_over_a_folder_whose_node_dies_and_comes_back(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "root"
    cuts = Cuts(places(SEED, BREAKS, SIZE))
    port = free_port()
    server = DavServer(tmp_path / "home", root, settings={"listen": {"port": port}})
    with server, CuttingProxy(server.address, cuts) as proxy, Client(proxy.url) as client:

        def kill_and_start() -> None:
            assert server.kill9()
            server.start()

        with Watch(lambda: on_disk(root)) as watch:
            entry = upload(client, source, cuts, kill_and_start)
        check(entry, cuts, source, [f"{server.url}large.bin"])
        print(f"{watch.largest / SIZE:.3f} of its size on the disk at most")
        assert watch.largest <= SIZE * BESIDE
        wait_until(lambda: on_disk(root) <= SIZE * 1.01, 30, "the end of left-overs")
        assert "Traceback" not in server.said(), server.tail(20000)
