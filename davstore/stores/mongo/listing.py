"""The members of a folder: one query, streamed, in the order of its index."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import bson
from pymongo.errors import PyMongoError

from davstore import paths
from davstore.errors import Corrupt, Unavailable
from davstore.handoff import about_to_wait
from davstore.stores.base import Node
from davstore.stores.mongo.documents import DECODING, node_of
from davstore.stores.mongo.operations import NODES, Document
from davstore.stores.mongo.runner import Connection, store_error

_log = logging.getLogger(__name__)

#: Nodes that are fetched at once.
_BATCH: Final = 1000
#: What a listing needs. The server gives the fields that it is told in two thirds of the time that
#: it takes to leave others out.
_FIELDS: Final = dict.fromkeys(
    ("n", "t", "ct", "mt", "size", "etag", "type", "dg", "props", "del"), 1
)
#: Documents that a process remembers, and of how many bytes at most: about 15 MiB in all.
_KEPT: Final = 12_288
_SHORT: Final = 1024
_LENGTH: Final = struct.Struct("<i")
#: What decoding a document that somebody else wrote wrongly raises.
_MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError)


def members(
    connection: Connection,
    folder: Document,
    path: str,
    after: str | None,
    limit: int | None,
    *,
    now_at: Callable[[], Document | None],
) -> Iterator[Node]:
    """The listing, to its end: was the folder replaced meanwhile, it goes on in the other one.

    The members of a replaced folder become tombstones before long. `now_at` tells which folder
    is at the path; None: none.
    """
    left, last = limit, after
    while True:
        count = 0
        try:
            for node in _members(connection, folder, path, last, left):
                count += 1
                last = node.name
                yield node
        except Unavailable:
            # A failover in the middle: a cursor dies with its primary.
            if not count:
                raise
            left = None if left is None else left - count
            continue
        left = None if left is None else left - count
        if left == 0 or count <= _BATCH // 2:
            return
        there = now_at()
        if there is None or there["_id"] == folder["_id"]:
            return
        folder = there


def _members(
    connection: Connection, folder: Document, path: str, after: str | None, limit: int | None
) -> Iterator[Node]:
    """Of each name the top generation, then without tombstones: the other way round, what a
    tombstone covers would rise again. See `Store.list`. Raises Unavailable."""
    where: dict[str, Any] = {"p": folder["_id"]}
    if after is not None:
        where["n"] = {"$gt": after}
    batch = _BATCH if limit is None else min(limit + 10, _BATCH)
    cursor = (
        connection.collection(NODES)
        .find_raw_batches(where, _FIELDS)
        .sort([("p", 1), ("n", 1), ("g", -1)])
        .batch_size(batch)
    )
    last: object = None
    left = limit
    try:
        about_to_wait()
        with cursor:
            for raw in _documents(cursor):
                if left == 0:
                    return
                seen = _seen if len(raw) <= _SHORT else _seen.__wrapped__
                name, node, problem = seen(raw)
                if name == last and last is not None:
                    continue
                last = name
                if problem is not None:
                    # That entry alone fails.
                    _tell(bson.decode(raw, DECODING), paths.join(path, str(name)), problem)
                elif node is not None:
                    left = None if left is None else left - 1
                    yield node
    except PyMongoError as error:
        raise store_error(error, path) from error


def _documents(batches: Iterable[Any]) -> Iterator[bytes]:
    """Each document as it came, which begins with its length (bsonspec.org)."""
    length = _LENGTH.unpack_from
    for batch in batches:
        at = 0
        while at < len(batch):
            end = at + length(batch, at)[0]
            yield batch[at:end]
            at = end


@lru_cache(maxsize=_KEPT)
def _seen(raw: bytes) -> tuple[object, Node | None, Exception | None]:
    """The name, the node (None: a tombstone), and what is wrong with it.

    Whoever lists a folder again mostly gets what came before, byte by byte: 0.3 us in place of 6.
    """
    document = bson.decode(raw, DECODING)
    name = document.get("n")
    if "del" in document:
        return name, None, None
    try:
        return name, node_of(document), None
    except _MALFORMED as error:
        return name, None, error.with_traceback(None)


def shown(document: Document, path: str) -> Node:
    """The node at `path`. Raises Corrupt for a document that somebody else wrote wrongly."""
    try:
        return node_of(document)
    except _MALFORMED as error:
        _tell(document, path, error)
        raise Corrupt(path) from error


def _tell(document: Document, path: str, error: Exception) -> None:
    _log.error("the document %s of %r has a wrong form: %r", document.get("_id"), path, error)
