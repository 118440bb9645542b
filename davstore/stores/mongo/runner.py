"""Carries algorithms out on a real database, with PyMongo.

A write whose answer was lost may have happened or not. On a replica set the driver repeats it
under the same transaction number, so it happens once. On a standalone server it is repeated
here: every write is conditional on the state that it saw, and an own one is recognised by its `op`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import pymongo
from pymongo import MongoClient, ReadPreference, ReturnDocument, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern

from davstore.errors import DeadlineExceeded, Forbidden, QuotaExceeded, StoreError, Unavailable
from davstore.handoff import about_to_wait
from davstore.stores.mongo.clock import DatabaseClock
from davstore.stores.mongo.documents import DECODING, Terms
from davstore.stores.mongo.inserting import SharedInserts, insert_all
from davstore.stores.mongo.operations import (
    DUPLICATE,
    Algorithm,
    Begin,
    Delete,
    Document,
    Find,
    Insert,
    Measure,
    Now,
    Operation,
    Touch,
    Update,
)
from davstore.stores.mongo.sharing import SharedTouches
from davstore.stores.mongo.translation import filter_of, pipeline_of

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Of the hundred connections that the driver opens at most.
_STREAMS: Final = 32
_LONGEST_PAUSE: Final = 0.2
#: Seconds that an answer about the time is worth.
_CLOCK_PATIENCE: Final = 1.0
#: Fields of a written document that its writer does not need back.
_NOT_ANSWERED: Final = {"data": False}
#: Server errors that mean "no room" (OutOfDiskSpace) and "not allowed" (Unauthorized).
_OUT_OF_DISK: Final = 14031
_UNAUTHORIZED: Final = 13


class Connection:
    """A database, with the concerns that each kind of operation needs."""

    def __init__(
        self, client: MongoClient[Document], name: str, *, write_concern: str | int
    ) -> None:
        self.client = client
        hello = client.admin.command("hello", codec_options=DECODING)
        #: Whether the driver repeats writes whose answer was lost.
        self.is_replicated = "setName" in hello or hello.get("msg") == "isdbgrid"
        durable = (
            WriteConcern(w=write_concern, j=True) if self.is_replicated else WriteConcern(j=True)
        )
        self.database: Database[Document] = client.get_database(
            name,
            DECODING,
            read_preference=ReadPreference.PRIMARY,
            # The primary has all that was acknowledged. What the majority is known to have can
            # be older than that right after an election.
            read_concern=ReadConcern("local"),
            write_concern=durable,
        )
        #: Downloads that may have a connection for themselves; a router does not know how.
        is_routed = hello.get("msg") == "isdbgrid"
        self.streams = threading.Semaphore(0 if is_routed else _STREAMS)
        self.touches = SharedTouches(partial(_touch, self))
        self.clock = DatabaseClock(self._time, hello["localTime"])
        self._inserts: dict[str, SharedInserts] = {}
        self._collections: dict[str, Collection[Document]] = {}
        self._hasty: dict[str, Collection[Document]] = {}

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()

    def _time(self) -> datetime:
        with pymongo.timeout(_CLOCK_PATIENCE):
            said = self.client.admin.command("hello", codec_options=DECODING)
        time: datetime = said["localTime"]
        return time

    def inserts(self, name: str) -> SharedInserts:
        found = self._inserts.get(name)
        if found is None:
            made = SharedInserts(partial(insert_all, self.collection(name)))
            # Of two that come first at once, both use the same.
            found = self._inserts.setdefault(name, made)
        return found

    def collection(self, name: str) -> Collection[Document]:
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = self.database[name]
        return found

    def hasty(self, name: str) -> Collection[Document]:
        """The same for writes that nobody waits for to be durable."""
        found = self._hasty.get(name)
        if found is None:
            found = self.collection(name).with_options(write_concern=WriteConcern(w=1))
            self._hasty[name] = found
        return found


class _Thread(threading.local):
    runs = 0


class Runner:
    """Runs algorithms. Safe for many threads."""

    def __init__(self, connection: Connection, terms: Terms, patience: float) -> None:
        self._connection = connection
        self.terms = terms
        #: Seconds after which a database that does not answer is given up.
        self._patience = patience
        self._thread = _Thread()

    @property
    def runs(self) -> int:
        """How many algorithms this thread has run: none since, if it is the same number."""
        return self._thread.runs

    def run(self, algorithm: Algorithm[T], path: str = "/", deadline: float | None = None) -> T:
        """The algorithm's result. Raises what it raises, and Unavailable, DeadlineExceeded.

        `deadline` is on time.monotonic()'s clock: after it no try begins any more, and none has
        left anything. After Unavailable nobody knows; all of it may have happened.
        """
        about_to_wait()
        self._thread.runs += 1
        began = time.monotonic()
        try:
            operation = next(algorithm)
            while True:
                try:
                    if isinstance(operation, Begin):
                        _pause(operation.attempt, deadline, path)
                        began, result = time.monotonic(), None
                    elif isinstance(operation, Find | Measure):
                        result = self._carry_out(operation, path)
                    elif time.monotonic() - began > self.terms.commit_within:
                        # A write of this try may have been done, so it is no DeadlineExceeded.
                        raise Unavailable(path, "The database took too long to go on.")
                    else:
                        result = self._carry_out(operation, path)
                except StoreError as error:
                    operation = algorithm.throw(error)
                else:
                    operation = algorithm.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _carry_out(self, operation: Operation, path: str) -> Any:
        # All tries together: what of the time a lost connection has taken is not given again.
        with pymongo.timeout(self._patience):
            return self._tried(operation, path)

    def _tried(self, operation: Operation, path: str) -> Any:
        until = time.monotonic() + self._patience
        while True:
            try:
                return _CARRY_OUT[type(operation)](self._connection, operation)
            except ConnectionFailure as error:
                # The driver has tried for as long as it should where it repeats writes itself.
                if self._connection.is_replicated or time.monotonic() > until:
                    raise unavailable(error, path) from error
                done = self._recognised(operation, path)
                if done is not None:
                    return done
            except PyMongoError as error:
                raise store_error(error, path) from error

    def _recognised(self, operation: Operation, path: str) -> Any:
        """The result of a write whose answer was lost, when it happened; else None."""
        if not isinstance(operation, Insert | Update) or not operation.op:
            return None
        key = operation.document if isinstance(operation, Insert) else operation.where
        mine = {"_id": key["_id"], "ops": operation.op}
        try:
            found = self._connection.collection(operation.collection).find_one(mine, _NOT_ANSWERED)
        except PyMongoError as error:
            raise store_error(error, path) from error
        return found


def _pause(attempt: int, deadline: float | None, path: str) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded(path)
    if attempt:
        # Of two that are in each other's way one comes back first: no two threads pause alike.
        scatter = 0.5 + (time.monotonic_ns() // 1000 % 1000) / 1000
        time.sleep(min(_LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 8)) * scatter)


def unavailable(error: PyMongoError, path: str) -> Unavailable:
    """What becomes of an error of the connection."""
    _log.warning("the database does not answer: %s", error)
    return Unavailable(path, "The database does not answer at the moment.")


def store_error(error: PyMongoError, path: str) -> StoreError:
    """The error of ours for one of the driver's. Called once the driver has given up."""
    code = getattr(error, "code", None)
    if isinstance(error, ConnectionFailure | ExecutionTimeout | NotPrimaryError | WTimeoutError):
        return unavailable(error, path)
    if error.timeout:
        return unavailable(error, path)
    if isinstance(error, OperationFailure) and code == _OUT_OF_DISK:
        return QuotaExceeded(path, "The database has no space left.")
    if isinstance(error, OperationFailure) and code == _UNAUTHORIZED:
        return Forbidden(path, "The database does not allow this.")
    _log.error("the database refused an operation: %s", error)
    return Unavailable(path, "The database could not do this.")


def _find(connection: Connection, operation: Find) -> list[Document]:
    fields: dict[str, Any] | None = None
    if operation.only:
        fields = dict.fromkeys(operation.only, 1)
    elif operation.without:
        fields = dict.fromkeys(operation.without, 0)
    cursor = connection.collection(operation.collection).find(
        filter_of(operation.where, operation.either), fields, limit=operation.limit
    )
    return list(cursor.sort(list(operation.sort)) if operation.sort else cursor)


def _insert(connection: Connection, operation: Insert) -> Document | None:
    document = _dated(operation.document, connection.clock.now())
    if connection.inserts(operation.collection).insert(document):
        return {name: value for name, value in document.items() if name not in _NOT_ANSWERED}
    own = {"_id": document["_id"]}  # It may be there, from an earlier try.
    if operation.op:
        own["ops"] = operation.op
    return connection.collection(operation.collection).find_one(own, _NOT_ANSWERED)


def _dated(document: Mapping[str, Any], now: datetime) -> Document:
    """With dates in the place of each `Now`, also in mappings below."""
    found: Document = {}
    for name, value in document.items():
        match value:
            case Now(after):
                found[name] = now + timedelta(milliseconds=round(after * 1000))
            case Mapping():
                found[name] = _dated(value, now)
            case _:
                found[name] = value
    return found


def _update(connection: Connection, operation: Update) -> Any:
    collection = connection.collection(operation.collection)
    try:
        return collection.find_one_and_update(
            filter_of(operation.where, operation.either),
            pipeline_of(operation.put, operation.unset),
            projection=_NOT_ANSWERED,
            return_document=ReturnDocument.AFTER,
        )
    except DuplicateKeyError:
        return DUPLICATE


def _touch_shared(connection: Connection, operation: Touch) -> bool:
    return connection.touches.touch(operation)


def _touch(connection: Connection, operation: Touch) -> bool:
    collection = connection.hasty(operation.collection)
    where, stages = filter_of(operation.where), pipeline_of(operation.put, ())
    try:
        done = collection.update_one(where, stages, upsert=operation.insert)
    except DuplicateKeyError:
        # Somebody else inserted it at the same moment.
        done = collection.update_one(where, stages)
    return done.matched_count > 0 or operation.insert


def _delete(connection: Connection, operation: Delete) -> bool:
    collection = connection.collection(operation.collection)
    where = filter_of(operation.where)
    done = collection.delete_many(where) if operation.many else collection.delete_one(where)
    return done.deleted_count > 0


def _measure(connection: Connection, operation: Measure) -> list[tuple[Any, int, int]]:
    collection = connection.collection(operation.collection)
    if operation.content is None:
        owners = collection.aggregate([{"$group": {"_id": "$files_id"}}], allowDiskUse=True)
        return [(owner["_id"], 0, 0) for owner in owners]
    stages: list[dict[str, Any]] = [
        {"$match": {"files_id": operation.content}},
        {"$project": {"n": 1, "size": {"$binarySize": "$data"}}},
    ]
    return [
        (operation.content, chunk["n"], chunk["size"]) for chunk in collection.aggregate(stages)
    ]


_CARRY_OUT: Final[dict[type[Operation], Callable[[Connection, Any], Any]]] = {
    Find: _find,
    Insert: _insert,
    Update: _update,
    Touch: _touch_shared,
    Delete: _delete,
    Measure: _measure,
}
