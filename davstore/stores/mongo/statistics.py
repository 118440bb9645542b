"""What a share holds, in numbers, and what waits to be reclaimed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError

from davstore.stores.mongo.contents import DUTY, STATE
from davstore.stores.mongo.documents import FOLDER, ROOT
from davstore.stores.mongo.operations import CHUNKS, CONTENTS, COUNTERS, NODES
from davstore.stores.mongo.runner import Connection, store_error

_SIZE: Final = {"$cond": [{"$isNumber": "$size"}, "$size", 0]}


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of documents, and bytes. As they were within some seconds, while others write.

    `files` and `folders` are alive, also those in a deleted folder that nobody has got round
    to; `deleted` are tombstones of both. `used` is the count that a quota is held against.
    """

    files: int
    folders: int
    deleted: int
    #: Files whose content lies in their own document; all others refer to one in GridFS.
    inline: int
    bytes: int
    deleted_bytes: int
    used: int
    quota: int | None
    #: By state: new, live, dying, dead.
    contents: dict[str, int]
    content_bytes: int
    chunks: int
    #: On the disk of the database, with its indexes.
    storage_bytes: int
    #: Background duties: how many there are, how many are due, and since when the oldest, in
    #: seconds.
    duties: int
    due: int
    oldest_due: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Background duties: all there are, those that are due, since when the oldest, in seconds."""

    duties: int
    due: int
    oldest_due: float


def backlog(connection: Connection, now: datetime, seconds: float) -> Backlog:
    """Counted in the indexes of the duties. Raises Unavailable, also after so many seconds."""
    try:
        with pymongo.timeout(seconds):
            return Backlog(*_duties(connection, now))
    except PyMongoError as error:
        raise store_error(error, "/") from error


def statistics(connection: Connection, quota: int | None, now: datetime) -> Statistics:
    """Raises Unavailable. Looks at every document, so it may take its time."""
    try:
        with pymongo.timeout(None):
            return _gathered(connection, quota, now)
    except PyMongoError as error:
        raise store_error(error, "/") from error


def _gathered(connection: Connection, quota: int | None, now: datetime) -> Statistics:
    nodes = _nodes(connection)
    contents = list(
        connection.collection(CONTENTS).aggregate(
            [{"$group": {"_id": f"${STATE}", "n": {"$sum": 1}, "bytes": {"$sum": "$length"}}}]
        )
    )
    duties, due, oldest = _duties(connection, now)
    counters = [each.get("bytes") for each in connection.collection(COUNTERS).find()]
    database = connection.database.command("dbStats")
    return Statistics(
        **nodes,
        used=max(0, sum(each for each in counters if isinstance(each, int))),
        quota=quota,
        contents={str(each["_id"]): each["n"] for each in contents},
        content_bytes=sum(each["bytes"] for each in contents),
        chunks=connection.collection(CHUNKS).estimated_document_count(),
        storage_bytes=int(database["storageSize"] + database["indexSize"]),
        duties=duties,
        due=due,
        oldest_due=oldest,
    )


def _nodes(connection: Connection) -> dict[str, int]:
    """The root is nobody's folder."""
    is_there = {"$eq": [{"$type": "$del"}, "missing"]}
    is_inline = {"$ne": [{"$type": "$data"}, "missing"]}
    key = {
        "alive": is_there,
        "folder": {"$eq": ["$t", FOLDER]},
        "inline": {"$and": [is_there, is_inline]},
    }
    stages: list[dict[str, Any]] = [
        {"$match": {"_id": {"$ne": ROOT}}},
        {"$group": {"_id": key, "n": {"$sum": 1}, "bytes": {"$sum": _SIZE}}},
    ]
    groups = list(connection.collection(NODES).aggregate(stages))

    def total(what: str, **wanted: bool) -> int:
        return sum(
            int(group[what])
            for group in groups
            if all(group["_id"][name] is value for name, value in wanted.items())
        )

    return {
        "files": total("n", alive=True, folder=False),
        "folders": total("n", alive=True, folder=True),
        "deleted": total("n", alive=False),
        "inline": total("n", inline=True),
        "bytes": total("bytes", alive=True),
        "deleted_bytes": total("bytes", alive=False),
    }


def _duties(connection: Connection, now: datetime) -> tuple[int, int, float]:
    every = due = 0
    oldest = now
    for collection, name in ((NODES, "gc"), (CONTENTS, DUTY)):
        found = connection.collection(collection)
        every += found.count_documents({name: {"$exists": True}})
        due += found.count_documents({name: {"$lte": now}})
        first = found.find_one({name: {"$lte": now}}, {name: 1}, sort=[(name, 1)])
        if first is not None:
            duty = first["metadata"]["gc"] if collection == CONTENTS else first["gc"]
            oldest = min(oldest, duty)
    return every, due, (now - oldest) / timedelta(seconds=1)
