"""Touches of one document by many threads at once, carried out with fewer writes.

Whoever uploads into a folder touches the folder and a counter of used bytes. Of twenty that do so
in the same moment the database would let one after the other pass; those that come while a
write is under way wait for one that they share.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Final

from davstore.stores.mongo.operations import Plus, Touch

#: So many seconds a write may go without an answer before the next one goes beside it: the
#: connection may be dead, which is known after 5 or 15.
_STUCK: Final = 0.5

#: A collection, and the _id of a document.
_Key = tuple[str, object]


@dataclass(slots=True)
class _Turn:
    """A write that waits for the one before it; all that have joined get its result."""

    operation: Touch
    may_begin: threading.Event = field(default_factory=threading.Event)
    result: Future[bool] = field(default_factory=Future)


@dataclass(slots=True)
class _Line:
    """Of one document: how many writes are under way, and the turn that waits."""

    under_way: int = 1
    waiting: _Turn | None = None


class SharedTouches:
    """Carries touches out, of each document one at a time; those that wait become one.

    None shares a write that had begun before it came. What a write raises all get that share
    it: they know as little then of whether it has happened as with a write of their own.
    """

    def __init__(self, carry_out: Callable[[Touch], bool]) -> None:
        self._carry_out: Final = carry_out
        self._mutex: Final = threading.Lock()
        #: Of the documents that are being touched.
        self._lines: Final[dict[_Key, _Line]] = {}

    def touch(self, operation: Touch) -> bool:
        """Whether there is such a document. Raises what `carry_out` raises."""
        key = operation.collection, operation.where["_id"]
        with self._mutex:
            turn, is_mine = self._take_turn(key, operation)
        if turn is None:
            return self._carry_out(operation)
        if not is_mine:
            return turn.result.result()
        self._wait_turn(key, turn)
        try:
            found = self._carry_out(turn.operation)
        except BaseException as error:
            turn.result.set_exception(error)
            raise
        else:
            turn.result.set_result(found)
            return found
        finally:
            self._give_turn(key)

    def _take_turn(self, key: _Key, operation: Touch) -> tuple[_Turn | None, bool]:
        """The turn that does it, and whether the caller is to carry it out; None: it goes alone."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = _Line()
            turn = _Turn(operation)
            turn.may_begin.set()
            return turn, True
        waiting = line.waiting
        if waiting is None:
            line.waiting = turn = _Turn(operation)
            return turn, True
        joint = _joint(waiting.operation, operation)
        if joint is None:
            return None, True
        waiting.operation = joint
        return waiting, False

    def _wait_turn(self, key: _Key, turn: _Turn) -> None:
        if turn.may_begin.wait(_STUCK):
            return
        with self._mutex:
            line = self._lines[key]
            # Else its turn has come right now.
            if line.waiting is turn:
                line.waiting = None
                line.under_way += 1

    def _give_turn(self, key: _Key) -> None:
        """To the one that waits, which nobody joins any more."""
        with self._mutex:
            line = self._lines[key]
            if line.waiting is not None:
                line.waiting.may_begin.set()
                line.waiting = None
                return
            line.under_way -= 1
            if not line.under_way:
                del self._lines[key]


def _joint(one: Touch, other: Touch) -> Touch | None:
    """One touch that does what both do, the amounts added; None when there is none."""
    if one.where != other.where or one.put.keys() != other.put.keys():
        return None
    put: dict[str, Any] = {}
    for name, value in one.put.items():
        added = other.put[name]
        if isinstance(value, Plus) and isinstance(added, Plus):
            put[name] = Plus(value.amount + added.amount)
        elif value == added:
            put[name] = value
        else:
            return None
    return replace(one, put=put, insert=one.insert or other.insert)
