"""Every query of the hot paths is a scan of an index, without a sort in memory.

The queries are those that the store sends: they are listened to, and explained afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from pymongo import MongoClient, monitoring

from davstore.stores.base import Context
from davstore.stores.mongo import contents, copies, moves, reclaim
from davstore.stores.mongo.counting import Counting
from davstore.stores.mongo.database import connect, make_root
from davstore.stores.mongo.documents import ROOT, Terms, fixed_id
from davstore.stores.mongo.operations import CONTENTS, NODES, Algorithm, Document
from davstore.stores.mongo.resolving import FolderCache, resolve
from davstore.stores.mongo.runner import Connection, Runner
from davstore.stores.mongo.slots import Tree
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod
from tests.stores.mongo.calls import copy, delete, mkcol, move, proppatch, put, put_large

_MEMBERS: Final = 3000
_CTX: Final = Context("tester")
_DEEP: Final = "/d0/d1/d2/d3/d4/d5/d6/d7/d8"


class Listener(monitoring.CommandListener):
    """Keeps the commands that look for documents."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("find", "findAndModify", "update", "delete", "aggregate"):
            self.commands.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Of no interest."""


@dataclass
class Real:
    connection: Connection
    runner: Runner
    listener: Listener
    tree: Tree = field(default_factory=Tree)

    def run(self, algorithm: Algorithm[Any]) -> Any:
        return self.runner.run(algorithm)

    def plans(self) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """Each command that was sent, and the stages of its winning plan."""
        seen, self.listener.commands = self.listener.commands, []
        for command in seen:
            for one in _explainable(command):
                said = self.connection.database.command("explain", one, verbosity="queryPlanner")
                yield one, sorted(_stages(said))
        self.listener.commands = []


#: What the driver adds, and explain does not want.
_NOT_EXPLAINED: Final = ("lsid", "txnNumber", "$db", "$clusterTime", "writeConcern", "ordered")


def _explainable(command: dict[str, Any]) -> Iterator[dict[str, Any]]:
    plain = {name: value for name, value in command.items() if name not in _NOT_EXPLAINED}
    name = next(iter(plain))
    many = {"update": "updates", "delete": "deletes"}.get(name)
    if many is None:
        yield plain
    else:
        for part in plain[many]:
            yield {name: plain[name], many: [part]}


def _stages(said: Any) -> Iterator[str]:
    """All stages, wherever they are, but for plans that were not chosen."""
    if isinstance(said, dict):
        if isinstance(said.get("stage"), str):
            yield said["stage"]
        for name, part in said.items():
            if name != "rejectedPlans":
                yield from _stages(part)
    elif isinstance(said, list):
        for part in said:
            yield from _stages(part)


@pytest.fixture(scope="module")
def real(_shared_mongod: Mongod) -> Iterator[Real]:
    with _shared_mongod.database() as name:
        connection, runner = connect(_shared_mongod.uri, name, 1, 0.0)
        make_root(runner)
        listener = Listener()
        client: MongoClient[Document] = MongoClient(
            _shared_mongod.uri, tz_aware=True, event_listeners=[listener]
        )
        heard = Connection(client, name, write_concern=1)
        found = Real(heard, Runner(heard, Terms(grace=0.0), 5.0), listener)
        _fill(found)
        yield found
        client.close()
        connection.client.close()


def _fill(real: Real) -> None:
    """Some thousand documents, of every kind that the partial indexes hold."""
    path = ""
    for part in _DEEP.split("/")[1:]:
        path = f"{path}/{part}"
        real.run(mkcol(path)(real.tree))
    real.run(put(f"{_DEEP}/leaf", "leaf")(real.tree))
    folder = real.run(resolve(f"{_DEEP}/leaf", FolderCache())).parent
    now = datetime.now(UTC)
    nodes = [_node(number, folder if number % 3 else ROOT, now) for number in range(_MEMBERS)]
    real.connection.hasty(NODES).insert_many(nodes)
    files = [
        {"_id": fixed_id(10_000 + number), "filename": "", "uploadDate": now, "length": 0,
         "metadata": {"state": "live"} | ({"gc": now} if number % 7 == 0 else {})}
        for number in range(_MEMBERS)
    ]  # fmt: skip
    real.connection.hasty(CONTENTS).insert_many(files)
    real.listener.commands = []


def _node(number: int, parent: Any, now: datetime) -> Document:
    node: Document = {
        "_id": fixed_id(1000 + number), "p": parent, "n": f"n{number // 2}", "g": number % 2,
        "t": "f", "v": "v", "ops": [], "ct": now, "mt": now, "size": 0, "etag": "e",
    }  # fmt: skip
    node["c"] = fixed_id(10_000 + number)
    if number % 2 == 0:
        node |= {"del": now, "gc": now + timedelta(days=1), "slot": now}
    if number % 5 == 0:
        node["old"] = [{"c": fixed_id(10_000 + number // 2), "t": now}]
    return node


def _must_use_indexes(real: Real, allowed: Sequence[str] = ()) -> int:
    """Each query that was sent since the last time. How many these were."""
    count = 0
    for command, stages in real.plans():
        unwanted = {"COLLSCAN", "SORT"} & set(stages) - set(allowed)
        assert not unwanted, (command, stages)
        assert {"IXSCAN", "IDHACK", "COUNT_SCAN", "EOF"} & set(stages), (command, stages)
        count += 1
    return count


ALGORITHMS: Final[dict[str, Callable[[Real], Algorithm[Any]]]] = {
    "resolve, depth 1": lambda real: resolve("/n7", FolderCache()),
    "resolve, depth 10, step by step": lambda real: resolve(f"{_DEEP}/leaf", FolderCache()),
    "resolve, depth 10, at once": lambda real: resolve(f"{_DEEP}/leaf", real.tree.cache),
    "duties of nodes": lambda real: reclaim.due(NODES, datetime.now(UTC), 100),
    "duties of contents": lambda real: reclaim.due(CONTENTS, datetime.now(UTC), 100),
    "references": lambda real: contents.is_referred_to(fixed_id(5)),
    "members of a folder": lambda real: copies._members(ROOT, None),
    "members of a folder, from the middle": lambda real: copies._members(ROOT, "n500"),
    "live members of a folder": lambda real: reclaim._bury_members(
        real.tree, {"_id": fixed_id(77)}
    ),
    "removing a tombstone": lambda real: reclaim._remove(real.tree, _tombstone()),
    "moving back": lambda real: moves._move_back(
        real.tree, _tombstone(), {**_tombstone(), "v": "v"}
    ),
}


def _tombstone() -> Document:
    return {"_id": fixed_id(77), "p": ROOT, "n": "n500", "g": 3, "t": "f"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_uses_indexes(name: str, real: Real) -> None:
    real.run(ALGORITHMS[name](real))
    assert _must_use_indexes(real)


def test_all_calls_use_indexes(real: Real) -> None:
    calls = [
        mkcol("/x"), put("/x/f", "1"), put("/x/f", "2"), put_large("/x/l", "large one"),
        put_large("/x/l", "large two"), proppatch("/x/f", "p"), move("/x/f", "/x/g"),
        copy("/x", "/y"), move("/x", "/y"), move("/y", "/d0/y"), delete("/d0/y"),
    ]  # fmt: skip
    for call in calls:
        real.run(call(real.tree))
    assert _must_use_indexes(real) > 50
    later = datetime.now(UTC) + timedelta(hours=1)
    for node in real.run(reclaim.due(NODES, later, 20)):
        real.run(reclaim.reclaim_node(real.tree, node, later))
    for content in real.run(reclaim.due(CONTENTS, later, 20)):
        real.run(reclaim.reclaim_content(real.tree, content))
    assert _must_use_indexes(real) > 20


def test_listing_and_reading_use_indexes(real: Real, mongod: Mongod) -> None:
    store = MongoStore(mongod.uri, real.connection.database.name, chunk_size=1000, inline_max=1)
    share = store._share
    share.connection.client.close()
    share.connection, share.runner = real.connection, real.runner
    share.counting = Counting(real.runner)
    with_chunks = store.upload(_CTX, "/chunks")
    with_chunks.write(bytes(10_000))
    with_chunks.commit()
    real.listener.commands = []
    assert len(list(store.list(_CTX, "/"))) > 100
    assert len(list(store.list(_CTX, "/", after="n5", limit=20))) == 20
    store.stat(_CTX, f"{_DEEP}/leaf")
    with store.open(_CTX, "/chunks") as reader:
        assert len(b"".join(reader.chunks(2500, 3000))) == 3000
    assert _must_use_indexes(real) >= 6
