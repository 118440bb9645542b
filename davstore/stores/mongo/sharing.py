"""Touches of one document by many threads at once, carried out with fewer writes.

Whoever uploads into a folder touches the folder and a counter of used bytes. Of twenty that do so
in the same moment the database would let one after the other pass; those that come while a
write is under way wait for one that they share.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Final

from davstore.stores.mongo.operations import Plus, Touch

#: A command that is away for longer than so many seconds holds nobody up any more: its connection
#: may be dead, which is known after 5 or 15.
STUCK: Final = 0.5
#: How often one that waits looks at that, in seconds.
_LOOK: Final = 0.05

#: A collection, and the _id of a document.
_Key = tuple[str, object]


@dataclass(slots=True, eq=False)
class _Turn:
    """A write that waits for the one before it; all that have joined get its result."""

    operation: Touch
    may_begin: threading.Event = field(default_factory=threading.Event)
    result: Future[bool] = field(default_factory=Future)
    began: float = 0.0


@dataclass(slots=True)
class _Line:
    """Of one document: the writes that are under way, and the one that waits. Used with the mutex
    of the `SharedTouches`."""

    under_way: list[_Turn] = field(default_factory=list)
    waiting: _Turn | None = None

    def go_on(self) -> None:
        """The one that waits begins, and nobody joins it any more, unless another is under way."""
        now = time.monotonic()
        if self.waiting is None or any(now - turn.began <= STUCK for turn in self.under_way):
            return
        turn, self.waiting = self.waiting, None
        turn.began = now
        self.under_way.append(turn)
        turn.may_begin.set()


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
        try:
            self._wait_turn(key, turn)
            found = self._carry_out(turn.operation)
        except BaseException as error:
            turn.result.set_exception(error)
            raise
        else:
            turn.result.set_result(found)
            return found
        finally:
            self._give_turn(key, turn)

    def _take_turn(self, key: _Key, operation: Touch) -> tuple[_Turn | None, bool]:
        """The turn that does it, and whether the caller is to carry it out; None: it goes alone."""
        line = self._lines.setdefault(key, _Line())
        waiting = line.waiting
        if waiting is None:
            line.waiting = turn = _Turn(operation)
            line.go_on()
            return turn, True
        joint = _joint(waiting.operation, operation)
        if joint is None:
            return None, True
        waiting.operation = joint
        return waiting, False

    def _wait_turn(self, key: _Key, turn: _Turn) -> None:
        while not turn.may_begin.wait(_LOOK):
            with self._mutex:
                self._lines[key].go_on()

    def _give_turn(self, key: _Key, turn: _Turn) -> None:
        """To the one that waits."""
        with self._mutex:
            line = self._lines[key]
            if line.waiting is turn:
                # Waiting itself has failed.
                line.waiting = None
            else:
                line.under_way.remove(turn)
            line.go_on()
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
