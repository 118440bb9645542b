"""Everything that can be wrong with a database, written wrongly with PyMongo."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Binary, ObjectId
from pymongo.database import Database

from davstore.stores.base import Store
from davstore.stores.mongo.documents import ROOT
from tests.stores.harness import build, pattern

Documents = Database[dict[str, Any]]

SMALL = b"some small content"
LARGE = pattern(300_000)
CHUNK = 65536
TREE: Mapping[str, bytes | None] = {
    "/d": None,
    "/d/e": None,
    "/d/e/x": b"x",
    "/d/large": LARGE,
    "/d/small": SMALL,
    "/other": b"other",
}
LONG_AGO = datetime.now(UTC) - timedelta(days=9)


def fill(store: Store) -> None:
    build(store, TREE)


def fresh() -> Binary:
    return Binary.from_uuid(uuid.uuid4())


def node(database: Documents, path: str) -> dict[str, Any]:
    """The live document at `path`."""
    at: dict[str, Any] = {"_id": ROOT}
    for name in path.strip("/").split("/"):
        found = database.nodes.find({"p": at["_id"], "n": name}).sort("g", -1).limit(1)
        (at,) = found
    return at


def put(database: Documents, path: str, **fields: Any) -> None:
    database.nodes.update_one({"_id": node(database, path)["_id"]}, {"$set": fields})


def drop(database: Documents, path: str, *fields: str) -> None:
    key = {"_id": node(database, path)["_id"]}
    database.nodes.update_one(key, {"$unset": dict.fromkeys(fields, 1)})


@dataclasses.dataclass(frozen=True)
class Damage:
    """`make` writes what fsck has to tell as `kind`, of `path`.

    `saved`: paths that lead to files again after the repair, and their contents. `repaired`
    says whether all is well then. `verify`: only reading the bytes shows it.
    """

    kind: str
    make: Callable[[Documents], object]
    path: str = ""
    repaired: bool = True
    saved: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    verify: bool = False


def _no_parent(database: Documents) -> None:
    database.nodes.delete_one({"_id": node(database, "/d")["_id"]})


def _in_a_file(database: Documents) -> None:
    put(database, "/d/e", p=node(database, "/other")["_id"])


def _cycle(database: Documents) -> None:
    inner = node(database, "/d/e")["_id"]
    put(database, "/d", p=inner)


def _shadowed(database: Documents) -> None:
    above = {**node(database, "/d/small"), "_id": fresh(), "g": 1, "data": b"above", "size": 5}
    above.pop("dg")
    database.nodes.insert_one(above)
    database.counters.update_one({}, {"$inc": {"bytes": 5}})


def _shadowed_by_a_tombstone(database: Documents) -> None:
    above = {**node(database, "/d/small"), "_id": fresh(), "g": 1}
    above |= {"del": LONG_AGO, "slot": LONG_AGO, "gc": datetime.now(UTC), "counted": True}
    database.nodes.insert_one(above)


def _leaked(database: Documents) -> None:
    content = node(database, "/d/large")["c"]
    (document,) = database.fs.files.find({"_id": content})
    database.fs.files.insert_one({**document, "_id": fresh()})


def _stray_chunks(database: Documents) -> None:
    database.fs.chunks.insert_one({"files_id": fresh(), "n": 0, "data": b"nobody's"})


def _content_lost(database: Documents) -> None:
    """The document, not the chunks."""
    database.fs.files.delete_one({"_id": node(database, "/d/large")["c"]})


def _tombstone(database: Documents) -> None:
    put(database, "/other", **{"del": datetime.now(UTC), "slot": datetime.now(UTC)})


def _chunk(number: int, **fields: Any) -> Callable[[Documents], object]:
    def change(database: Documents) -> None:
        key = {"files_id": node(database, "/d/large")["c"], "n": number}
        if fields:
            database.fs.chunks.update_one(key, {"$set": fields})
        else:
            database.fs.chunks.delete_one(key)

    return change


def _one_chunk_more(database: Documents) -> None:
    content = node(database, "/d/large")["c"]
    database.fs.chunks.insert_one({"files_id": content, "n": 5, "data": b"more"})


def _content(**fields: Any) -> Callable[[Documents], object]:
    def change(database: Documents) -> None:
        key = {"_id": node(database, "/d/large")["c"]}
        database.fs.files.update_one(key, {"$set": fields})

    return change


def _node(path: str, **fields: Any) -> Callable[[Documents], object]:
    return lambda database: put(database, path, **fields)


def _without(path: str, *fields: str) -> Callable[[Documents], object]:
    return lambda database: drop(database, path, *fields)


_STALE: Mapping[str, Any] = {"op": "0123456789abcdef", "exp": LONG_AGO}
_FOUND_X = {"/lost+found/e/x": b"x"}

DAMAGES: Mapping[str, Damage] = {
    "no root": Damage(
        "no-root", lambda database: database.nodes.delete_one({"_id": ROOT}),
        saved={"/d/large": LARGE},
    ),
    "no parent": Damage(
        "no-parent", _no_parent,
        saved={**_FOUND_X, "/lost+found/large": LARGE, "/lost+found/small": SMALL},
    ),
    "in a file": Damage("not-in-a-folder", _in_a_file, saved=_FOUND_X),
    "cycle": Damage("cycle", _cycle),
    "shadowed": Damage(
        "shadowed", _shadowed, "/d/small",
        saved={"/lost+found/small": SMALL, "/d/small": b"above"},
    ),
    "shadowed by a tombstone": Damage(
        "shadowed", _shadowed_by_a_tombstone, "/d/small", saved={"/lost+found/small": SMALL}
    ),
    "no body": Damage("no-body", _without("/d/small", "data"), "/d/small", repaired=False),
    "two bodies": Damage("two-bodies", _node("/d/large", data=b"x"), "/d/large", repaired=False),
    "inline of another size": Damage(
        "wrong-size", _node("/d/small", data=b"short"), "/d/small", repaired=False
    ),
    "content of another size": Damage(
        "wrong-size", _content(length=7), "/d/large", repaired=False
    ),
    "no content": Damage("no-content", _node("/d/large", c=fresh()), "/d/large", repaired=False),
    "dead content": Damage(
        "no-content", _content(**{"metadata.state": "dead"}), "/d/large", repaired=False
    ),
    "content that is not known": Damage(
        "no-content", _content(**{"metadata": 7}), "/d/large", repaired=False
    ),
    "content document lost": Damage("no-content", _content_lost, "/d/large",
                                    saved={"/d/large": LARGE}),
    "chunk missing": Damage("chunks", _chunk(2), "/d/large", repaired=False),
    "first chunk missing": Damage("chunks", _chunk(0), "/d/large", repaired=False),
    "last chunk missing": Damage("chunks", _chunk(4), "/d/large", repaired=False),
    "chunk too short": Damage("chunks", _chunk(2, data=b"short"), "/d/large", repaired=False),
    "chunk without bytes": Damage("chunks", _chunk(2, data=None), "/d/large", repaired=False),
    "chunk too many": Damage("chunks", _one_chunk_more, "/d/large", repaired=False),
    "chunk changed": Damage(
        "damaged", _chunk(2, data=bytes(CHUNK)), "/d/large", repaired=False, verify=True
    ),
    "chunk and its sum changed": Damage(
        "damaged", _chunk(2, data=bytes(CHUNK), crc=0xD7978EEB), "/d/large",
        repaired=False, verify=True,
    ),
    "inline changed": Damage(
        "damaged", _node("/d/small", data=b"SOME SMALL CONTENT"), "/d/small",
        repaired=False, verify=True,
    ),
    "leaked": Damage("leaked", _leaked),
    "stray chunks": Damage("stray-chunks", _stray_chunks),
    "tombstone without duty": Damage("no-duty", _tombstone),
    "former content without duty": Damage(
        "no-duty", _node("/d/small", old=[{"c": fresh(), "t": LONG_AGO}]), "/d/small"
    ),
    "stale mark": Damage("stale-mark", _node("/d/e", mk=_STALE), "/d/e", saved={"/d/e/x": b"x"}),
    "node overdue": Damage("overdue", _node("/other", gc=LONG_AGO), "/other", repaired=False),
    "content overdue": Damage("overdue", _content(**{"metadata.gc": LONG_AGO}), repaired=False),
    "counter": Damage(
        "counter", lambda database: database.counters.update_one({}, {"$inc": {"bytes": 77}})
    ),
    "no counters": Damage("counter", lambda database: database.counters.delete_many({})),
    "counter of text": Damage(
        "counter", lambda database: database.counters.update_many({}, {"$set": {"bytes": "9"}})
    ),
    "no tag": Damage("malformed", _without("/d/small", "etag"), repaired=False),
    "no time": Damage("malformed", _without("/d/e", "mt"), repaired=False),
    "no kind": Damage("malformed", _without("/d/small", "t"), repaired=False),
    "no generation": Damage("malformed", _without("/d/small", "g"), repaired=False),
    "no version": Damage("malformed", _without("/other", "v"), repaired=False),
    "a number as name": Damage("malformed", _node("/other", n=7), repaired=False),
    "strange properties": Damage("malformed", _node("/other", props={"a": 1}), repaired=False),
    "somebody else's node": Damage(
        "malformed", lambda database: database.nodes.insert_one({"hello": "world"}), repaired=False
    ),
    "a node with a text as id": Damage(
        "malformed", lambda database: database.nodes.insert_one({"_id": "me"}), repaired=False
    ),
    "somebody else's content": Damage(
        "malformed", lambda database: database.fs.files.insert_one({"_id": ObjectId()}),
        repaired=False,
    ),
}  # fmt: skip
