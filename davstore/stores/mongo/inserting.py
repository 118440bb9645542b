"""Inserts by many threads at once, sent with fewer commands.

Twenty uploads of small files are twenty inserts, and most of what one of them costs is the
command and its way to the journal: of 4 KiB, alone 390 us of the database's time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo.collection import Collection
from pymongo.errors import (
    BulkWriteError,
    NotPrimaryError,
    OperationFailure,
    WriteConcernError,
)

from davstore.stores.mongo.operations import Document
from davstore.stores.mongo.sharing import STUCK

#: A command that is away for longer than so many seconds waits for other machines; the next
#: one is sent beside it, up to so many at once, beside those that are stuck.
_LONG: Final = 0.01
_MOST: Final = 4
#: The server's code for a key that is there already.
DUPLICATE_KEY: Final = 11000
#: Its codes for a member that is not, or not any more, the one that writes.
_NO_PRIMARY: Final = (91, 189, 10107, 11602, 13435)


@dataclass(slots=True, eq=False)
class _Batch:
    """Documents that wait for the insert before theirs; `refused` is by place in `documents`."""

    documents: list[Document] = field(default_factory=list)
    may_begin: threading.Event = field(default_factory=threading.Event)
    refused: Future[Mapping[int, Any]] = field(default_factory=Future)
    began: float = 0.0


class SharedInserts:
    """Inserts into one collection, one command at a time; who comes meanwhile shares the next.

    Each document is inserted or refused for itself, as with a command of its own. When a shared
    command raises, nobody knows of any of its documents, and each is sent once more alone: what
    then is refused as a duplicate may be the own one.
    """

    def __init__(self, insert: Callable[[Sequence[Document]], Mapping[int, Any]]) -> None:
        """`insert` inserts all and gives the server's errors, by place in the sequence."""
        self._insert: Final = insert
        self._mutex: Final = threading.Lock()
        self._under_way: Final[list[_Batch]] = []
        self._waiting: _Batch | None = None

    def insert(self, document: Document) -> bool:
        """False when one with such a unique key is there already. Raises PyMongoError."""
        with self._mutex:
            batch, place = self._join(document)
        if not place:
            self._carry_out(batch)
        try:
            error = batch.refused.result().get(place)
        except BaseException as raised:
            if not _is_repeated(raised, batch, place):
                raise
            error = self._insert([document]).get(0)
        if error is None:
            return True
        if error["code"] == DUPLICATE_KEY:
            return False
        # Without the server's details: they hold the document, and this may be logged.
        raise OperationFailure(error["errmsg"], error["code"])

    def _join(self, document: Document) -> tuple[_Batch, int]:
        """The batch that it is in, and its place there; who is the first carries the batch out."""
        if self._waiting is None:
            self._waiting = _Batch()
        batch = self._waiting
        batch.documents.append(document)
        place = len(batch.documents) - 1
        if self._may_begin():
            self._begin()
        return batch, place

    def _may_begin(self) -> bool:
        """Whether the batch that waits need not wait for the commands that are under way."""
        now = time.monotonic()
        away = [now - batch.began for batch in self._under_way if now - batch.began <= STUCK]
        return not away or (len(away) < _MOST and min(away) > _LONG)

    def _begin(self) -> None:
        """It is the turn of the batch that waits, which nobody joins any more."""
        batch, self._waiting = self._waiting, None
        assert batch is not None
        batch.began = time.monotonic()
        self._under_way.append(batch)
        batch.may_begin.set()

    def _carry_out(self, batch: _Batch) -> None:
        try:
            self._wait_turn(batch)
            batch.refused.set_result(self._insert(batch.documents))
        except BaseException as error:
            batch.refused.set_exception(error)
        finally:
            self._give_turn(batch)

    def _wait_turn(self, batch: _Batch) -> None:
        while not batch.may_begin.wait(_LONG):
            # Nobody comes who would see how long the others are away.
            with self._mutex:
                if batch is self._waiting and self._may_begin():
                    self._begin()

    def _give_turn(self, batch: _Batch) -> None:
        with self._mutex:
            if batch is self._waiting:
                # Waiting itself has failed.
                self._waiting = None
                return
            self._under_way.remove(batch)
            if self._waiting is not None:
                self._begin()


def _is_repeated(raised: BaseException, batch: _Batch, place: int) -> bool:
    """Whether who is at that place sends its document again, alone."""
    if isinstance(raised, NotPrimaryError):
        return True
    is_own_interruption = not place and not isinstance(raised, Exception)
    return len(batch.documents) > 1 and not is_own_interruption


def insert_all(
    collection: Collection[Document], documents: Sequence[Document]
) -> Mapping[int, Any]:
    """What `SharedInserts` asks for. Raises what insert_many raises, but for what is known."""
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        return _understood(error.details)
    return {}


def _understood(details: Mapping[str, Any]) -> Mapping[int, Any]:
    """The errors by place. Raises NotPrimaryError, WriteConcernError: nothing is known to last."""
    unsure = details["writeConcernErrors"]
    if unsure:
        raise WriteConcernError(unsure[-1]["errmsg"], unsure[-1]["code"])
    for each in details["writeErrors"]:
        if each["code"] in _NO_PRIMARY:
            # A primary that steps down between two documents says so of each that is left, where
            # the driver does not look.
            raise NotPrimaryError(each["errmsg"])
    return {each["index"]: each for each in details["writeErrors"]}
