"""davstore over MongoDB, and what only it is measured in: one file of 64 MiB beside the driver.

The driver's loop over the same chunks, in the same minute, is what reading them costs at least.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import davstore
from bench.checks import Refused, check_size
from bench.layout import MIB
from bench.loads import Column, curl
from tests.components.davserver import DavServer
from tests.components.mongod import Client, ReplicaSet, locate_mongod

#: Name of who is measured, and key of the load.
Key = tuple[str, str]

BARE = "bare PyMongo loop over the chunks"
GET_64M = Column("get-64m", "GET 64 MiB MiB/s")
FIRST_BYTE = Column("first-byte-64m", "first byte of 64 MiB, ms", 1, larger_is_better=False)

_DATABASE: Final = "bench"
_LARGE: Final = 64 * MIB
_REPEATED: Final = 9


class MongoTree:
    """davstore with all its workers, over a mongod that is a replica set of one."""

    name = "davstore over MongoDB"
    durability = "w: majority, j: true: what was acknowledged is in mongod's journal on the disk"

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._set = ReplicaSet(home / "mongo", size=1)
        self._home = home / "davstore"
        self._server: DavServer | None = None
        self._running = contextlib.ExitStack()

    @staticmethod
    def version() -> str:
        """Raises MissingComponent when there is no mongod."""
        said = subprocess.run(
            [locate_mongod(), "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"\d+(\.\d+)+", said)
        return f"{davstore.__version__}, MongoDB {found[0] if found else 'unknown'}"

    @property
    def url(self) -> str:
        assert self._server is not None, "not started"
        return self._server.url

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._set)
            with self._set.client() as client:
                _give_room(client, self._home.parent)
            server = DavServer.over_mongo(self._home, self._set.uri, _DATABASE)
            self._server = stack.enter_context(server)
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def large_reads(self, scratch: Path) -> dict[Key, float]:
        """Rates of GET and of the bare loop in turns, and the time to the first byte.

        Raises Refused.
        """
        url = f"{self.url}large-64.bin"
        source = scratch / "large-64.bin"
        with (scratch / "huge.bin").open("rb") as huge:
            source.write_bytes(huge.read(_LARGE))
        curl("-T", str(source), url)
        source.unlink()
        check_size(url, _LARGE)
        with self._set.client() as client:
            rounds = [(_read(url), _read_bare(client)) for _ in range(_REPEATED)]
        ours, bare = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        first = statistics.median(_first_byte(url) for _ in range(_REPEATED))
        return {
            (self.name, GET_64M.key): ours,
            (BARE, GET_64M.key): bare,
            (self.name, FIRST_BYTE.key): first,
        }


def default_cache_gib() -> float:
    """What mongod takes by itself for its cache: half of the memory but for one GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return max(0.25, (memory - 1) / 2)


def _give_room(client: Client, home: Path) -> None:
    """The tests' mongod is a small one: cache and oplog as MongoDB itself would choose them."""
    size = f"cache_size={default_cache_gib() * 1024:.0f}MB"
    client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=size)
    free = shutil.disk_usage(home).free / MIB
    client.admin.command("replSetResizeOplog", 1, size=min(max(990.0, free * 0.05), 51200.0))


def _read(url: str) -> float:
    """In pieces as large as the socket gives them: who reads costs as little as in the loop."""
    buffer = bytearray(MIB)
    length = 0
    with _connection(url) as (connection, path):
        start = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        while count := answer.readinto(buffer):
            length += count
        seconds = time.perf_counter() - start
    if answer.status != 200 or length != _LARGE:
        raise Refused(f"status {answer.status} and {length} bytes instead of {_LARGE}")
    return _LARGE / MIB / seconds


def _read_bare(client: Client) -> float:
    database = client[_DATABASE]
    node = database["nodes"].find_one({"n": "large-64.bin"})
    if node is None:
        raise Refused("the file of 64 MiB is not in the database")
    length = 0
    start = time.perf_counter()
    for chunk in database["fs.chunks"].find({"files_id": node["c"]}).sort("n", 1).batch_size(2):
        length += len(chunk["data"])
    seconds = time.perf_counter() - start
    if length != _LARGE:
        raise Refused(f"{length} bytes in the chunks instead of {_LARGE}")
    return _LARGE / MIB / seconds


def _first_byte(url: str) -> float:
    """Milliseconds from before the connection until the first byte of the content is there."""
    with _connection(url) as (connection, path):
        start = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read(1):
            raise Refused(f"first byte: status {answer.status}")
        return (time.perf_counter() - start) * 1000


@contextlib.contextmanager
def _connection(url: str) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A connection that is opened with the first request, and the path at it."""
    address, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        yield connection, f"/{path}"
    finally:
        connection.close()
