"""Locks in MongoDB, which all nodes share: the collection `locks`, one document per lock.

What if the process dies right here: a lock was granted, or a claim is left that is in nobody's
way after ten seconds (`mongo_grant`). `forget` and `sweep` remove lock after lock; what a death
leaves of them expires. What if somebody else does the same at this moment: every change is
conditional on what it has seen, within one document.

Every write is confirmed by a majority and its journal, so that no failover takes a granted lock
back, and reads are of the primary, which has them all. A primary that does not know yet that it
was replaced can answer a look with the past, but cannot have a claim confirmed that its successor
does not see.

Expiry is in every query. The TTL index only tidies up: it goes by `tidy`, a date on the
database's own clock, a day after the lock would expire.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import pymongo
from pymongo import ASCENDING, IndexModel, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from davstore import handoff, paths
from davstore.errors import Forbidden, QuotaExceeded, StoreError, Unavailable
from davstore.locks import mongo_grant
from davstore.locks.base import Lock, LockRequest, LockStore
from davstore.locks.mongo_grant import (
    CLAIM_LASTS,
    Algorithm,
    Change,
    Document,
    Filter,
    Look,
    Operation,
    Pause,
    Put,
    Remove,
    around,
    live,
    lock_of,
    within,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)

COLLECTION: Final = "locks"

#: `tidy` is so many seconds after the end, whatever the nodes' clocks say. One day.
_SLACK: Final = 86_400.0
#: No date is calculated for what lasts longer. About 100 years.
_LONGEST: Final = 3.2e9

_INDEXES: Final = (
    IndexModel([("root", ASCENDING)]),
    # With the token, so that several shared locks of one root have an order to go on from.
    IndexModel([("parent", ASCENDING), ("root", ASCENDING), ("_id", ASCENDING)]),
    IndexModel([("expires", ASCENDING)]),
    IndexModel([("tidy", ASCENDING)], expireAfterSeconds=0),
)

#: How long a database that does not answer is waited for: elections take about ten seconds,
#: and a server by itself has nobody who takes over.
PATIENCE_REPLICATED: Final = 15.0
PATIENCE_STANDALONE: Final = 5.0

_LONGEST_PAUSE: Final = 0.2
#: Seconds between two looks whether the last lock has gone.
_LOOK_EVERY: Final = 1.0
#: Locks that `members` holds in memory at once.
_PAGE: Final = 500
#: Server errors that mean "no room" (OutOfDiskSpace) and "not allowed" (Unauthorized).
_OUT_OF_DISK: Final = 14031
_UNAUTHORIZED: Final = 13


class Epoch(Protocol):
    """How many locks had been granted when this thread last looked at what they protect.

    None: it has not looked. Whoever is granted a lock is told so only after this was raised.
    """

    value: int | None


class MongoLocks(LockStore):
    """The lock store in `database`, whose client stays its maker's: `close` leaves it open.

    To be opened after a fork, by each process for itself. Raises Unavailable, here as in every
    call, when the database has not answered for `patience` seconds. The nodes' clocks should
    agree: where they differ by seconds, locks end that much sooner or later than they say.

    With an `epoch`, that there are no locks at all is remembered for as long as that stays the
    same: most databases have none most of the time, and each look is a query.
    """

    def __init__(
        self,
        database: Database[Document],
        *,
        epoch: Epoch | None = None,
        patience: float | None = None,
        claim_lasts: float = CLAIM_LASTS,
    ) -> None:
        self._epoch = epoch
        self._unlocked_at: int | None = None
        self._look_again = 0.0
        self._process = os.getpid()
        self._claim_lasts = claim_lasts
        self._patience = PATIENCE_STANDALONE if patience is None else patience
        hello = self._answer(lambda: database.client.admin.command("hello"), COLLECTION)
        is_replicated = "setName" in hello or hello.get("msg") == "isdbgrid"
        if is_replicated and patience is None:
            self._patience = PATIENCE_REPLICATED
        self._locks: Collection[Document] = database[COLLECTION].with_options(
            read_preference=ReadPreference.PRIMARY,
            # What the majority is known to have can be older than the last acknowledged lock
            # right after an election; the primary has them all.
            read_concern=ReadConcern("local"),
            write_concern=WriteConcern(w="majority" if is_replicated else 1, j=True),
        )
        self._answer(lambda: self._locks.create_indexes(list(_INDEXES)), COLLECTION)

    def grant(self, wanted: LockRequest, now: float) -> Lock:
        began = time.monotonic()

        def clock() -> float:
            return now + time.monotonic() - began

        algorithm = mongo_grant.grant(wanted, now, clock, claim_lasts=self._claim_lasts)
        return self._run(algorithm, wanted.root)

    def refresh(
        self, token: str, path: str, timeout: float, principal: str | None, now: float
    ) -> Lock:
        return self._run(mongo_grant.refresh(token, path, timeout, principal, now), path)

    def release(self, token: str, path: str, principal: str | None, now: float) -> None:
        self._run(mongo_grant.release(token, path, principal, now), path)

    def covering(self, path: str, now: float) -> list[Lock]:
        return [lock for lock in self.around(path, now, below=False) if lock.covers(path)]

    def find(self, token: str, now: float) -> Lock | None:
        found = self._look({"_id": token, **live(now)}, COLLECTION)
        return lock_of(found[0]) if found else None

    def around(self, path: str, now: float, *, below: bool) -> list[Lock]:
        if self._has_none():
            return []
        found = self._look({**around(path, below=below), **live(now)}, path)
        return sorted(map(lock_of, found), key=lambda lock: lock.token)

    def members(self, folder: str, now: float) -> Iterator[Lock]:
        last = ("", "")
        while not self._has_none():
            page = self._page(folder, now, last)
            yield from page
            if len(page) < _PAGE:
                return
            last = (page[-1].root, page[-1].token)

    def new_request(self) -> None:
        if self._epoch is not None:
            self._epoch.value = None

    def _has_none(self) -> bool:
        """Whether there was no lock, nor a claim to one, when the epoch was what it is now."""
        epoch = None if self._epoch is None else self._epoch.value
        if epoch is None:
            return False
        if epoch != self._unlocked_at and time.monotonic() > self._look_again:
            if self._look({}, COLLECTION, limit=1):
                self._look_again = time.monotonic() + _LOOK_EVERY
            else:
                self._unlocked_at = epoch
        return epoch == self._unlocked_at

    def forget(self, path: str) -> None:
        # Claims as well: whoever wants to lock what has just gone starts again.
        self._run(_removing(within(path)), path)

    def sweep(self, now: float) -> int:
        where = {"expires": {"$lte": now}}
        return self._answer(lambda: self._locks.delete_many(where).deleted_count, COLLECTION)

    def count(self, now: float, path: str = paths.ROOT) -> int:
        where = live(now) if path == paths.ROOT else {**within(path), **live(now)}
        return self._answer(lambda: self._locks.count_documents(where), COLLECTION)

    def close(self) -> None:
        """Nothing is held open here."""

    def _look(self, where: Filter, path: str, limit: int = 0) -> list[Document]:
        return self._answer(lambda: list(self._locks.find(where, limit=limit)), path)

    def _page(self, folder: str, now: float, last: tuple[str, str]) -> list[Lock]:
        root, token = last
        after = [{"root": {"$gt": root}}, {"_id": {"$gt": token}}]
        where = {"parent": folder, "root": {"$gte": root}, "$or": after, **live(now)}
        order = [("root", ASCENDING), ("_id", ASCENDING)]
        found = self._answer(lambda: list(self._locks.find(where, sort=order, limit=_PAGE)), folder)
        return [lock_of(document) for document in found]

    def _run(self, algorithm: Algorithm[T], path: str) -> T:
        """The algorithm's result. Raises what it raises, and Unavailable."""
        try:
            operation = next(algorithm)
            while True:
                operation = algorithm.send(self.carry_out(operation, path))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def carry_out(self, operation: Operation, path: str) -> Any:
        """The operation's result. Raises Unavailable."""
        match operation:
            case Look(where):
                return self._look(where, path)
            case Put(document, lasts):
                return self._put(document, lasts, path)
            case Change(where, put, lasts):
                stages = _stages(put, lasts)
                return self._answer(
                    lambda: self._locks.update_one(where, stages).matched_count > 0, path
                )
            case Remove(where, many):
                return self._remove(where, path, many=many)
            case Pause(attempt):
                return _pause(attempt)
        raise TypeError(f"no such operation: {operation}")

    def _put(self, document: Document, lasts: float, path: str) -> bool:
        """Insert it, by an update, because only an update knows the database's clock."""
        key = {"_id": document["_id"]}
        stages = _stages({name: document[name] for name in document if name != "_id"}, lasts)
        tries = 0

        def put() -> bool:
            nonlocal tries
            tries += 1
            if tries == 1:
                self._locks.update_one(key, stages, upsert=True)
            return tries == 1

        return self._answer(put, path)

    def _remove(self, where: Filter, path: str, *, many: bool) -> bool:
        tries = 0

        def remove() -> bool:
            nonlocal tries
            tries += 1
            done = self._locks.delete_many(where) if many else self._locks.delete_one(where)
            # A try whose answer was lost may have removed it.
            return done.deleted_count > 0 or tries > 1

        return self._answer(remove, path)

    def _answer(self, call: Callable[[], T], path: str) -> T:
        """What `call` answers, which is repeated when the connection is lost.

        Raises Unavailable when there is no answer within the patience.
        """
        if os.getpid() != self._process:
            raise RuntimeError("a MongoLocks is used by the process that opened it only")
        handoff.about_to_wait()
        until = time.monotonic() + self._patience
        while True:
            left = until - time.monotonic()
            try:
                with pymongo.timeout(max(left, 0.001)):
                    return call()
            except ConnectionFailure as error:
                if time.monotonic() >= until:
                    raise _meaning(error, path) from error
            except PyMongoError as error:
                raise _meaning(error, path) from error


def _removing(where: Filter) -> Algorithm[None]:
    # What is removed has seldom a lock, and looking is quicker than a write to be confirmed.
    if (yield Look(where)):
        yield Remove(where, many=True)


def _stages(put: Filter, lasts: float) -> list[Document]:
    """The pipeline that sets these fields and, by the database's clock, `tidy`."""
    # In a pipeline a string that begins with "$" would be an expression.
    values: Document = {name: {"$literal": value} for name, value in put.items()}
    tidy = round(min(lasts + _SLACK, _LONGEST) * 1000)
    values["tidy"] = {"$add": ["$$NOW", {"$literal": tidy}]}
    return [{"$set": values}]


def _pause(attempt: int) -> None:
    handoff.about_to_wait()
    # No two that were in each other's way come back at the same moment.
    scatter = 0.5 + (time.monotonic_ns() // 1000 % 1000) / 1000
    time.sleep(min(_LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 8)) * scatter)


def _meaning(error: PyMongoError, path: str) -> StoreError:
    """The error of ours for one of the driver's, which has given up."""
    code = error.code if isinstance(error, OperationFailure) else None
    if isinstance(error, ConnectionFailure) or error.timeout:
        _log.warning("the database does not answer: %s", error)
        return Unavailable(path, "The database does not answer at the moment.")
    if code == _OUT_OF_DISK:
        return QuotaExceeded(path, "The database has no space left.")
    if code == _UNAUTHORIZED:
        return Forbidden(path, "The database does not allow this.")
    _log.error("the database refused an operation: %s", error)
    return Unavailable(path, "The database could not do this.")
