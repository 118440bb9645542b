"""What the workers of a node have done, counted in memory that outlives each of them.

One anonymous file in memory, made before the fork: a row of 8-byte counters for each worker, who
adds to it with plain stores. So whatever it has counted is there for the housekeeper to read,
also after `kill -9`. A row goes on where the worker before it stopped.

Who has a row is known by a lock of fcntl(2) on the row's number in that file: the kernel takes it
at the process's death, and nobody has to give anything back.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_log = logging.getLogger(__name__)

#: What a method is counted as, and the class that its time is counted in; all others are OTHER.
CLASSES: Final = {
    "GET": "read",
    "HEAD": "read",
    "PUT": "write",
    "PATCH": "write",
    "POST": "write",
    "OPTIONS": "list",
    "PROPFIND": "list",
    "REPORT": "list",
    "MKCOL": "change",
    "COPY": "change",
    "MOVE": "change",
    "DELETE": "change",
    "PROPPATCH": "change",
    "LOCK": "lock",
    "UNLOCK": "lock",
}
OTHER: Final = "other"
METHODS: Final = (*CLASSES, OTHER)
KINDS: Final = (*dict.fromkeys(CLASSES.values()), OTHER)

#: The upper ends of the steps in which times are counted, in seconds; one more is for the rest.
STEPS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)

_STATUSES: Final = 500
_FIRST_STATUS: Final = 100
#: For a status that there is not.
_FAILED_STATUS: Final = 500

# A row: where each counter lies, in counters of 8 bytes. The first of them tell how things are
# and begin anew with each worker.
_READY: Final = 0
_RUNNING: Final = 1
_CONNECTIONS: Final = 2
_NOW: Final = slice(0, 3)
_RECEIVED: Final = 3
_SENT: Final = 4
_TIMES: Final = 8
#: Of one kind: a counter for each step, one for the rest, the sum in microseconds.
_TIMES_OF_ONE: Final = len(STEPS) + 2
_REQUESTS: Final = _TIMES + len(KINDS) * _TIMES_OF_ONE
_COUNTERS: Final = _REQUESTS + len(METHODS) * _STATUSES
_ROW_BYTES: Final = -(-_COUNTERS * 8 // mmap.PAGESIZE) * mmap.PAGESIZE
#: More than workers there can be, at a reload twice. Memory is taken only by rows in use.
_ROWS: Final = 4096

#: Before the rows: a byte for each that was ever used.
_HEAD_BYTES: Final = -(-_ROWS // mmap.PAGESIZE) * mmap.PAGESIZE

#: struct flock with 64-bit offsets: type, whence, start, length, pid.
_FLOCK: Final = struct.Struct("hhqqi4x")

#: By method: the first of its counters by status, and the first of its kind's times.
_PLACES: Final = {
    method: (
        _REQUESTS + number * _STATUSES - _FIRST_STATUS,
        _TIMES + KINDS.index(CLASSES.get(method, OTHER)) * _TIMES_OF_ONE,
    )
    for number, method in enumerate(METHODS)
}
_OTHERS: Final = _PLACES[OTHER]


class Tally:
    """The counters of one worker, which adds to them from many threads.

    `counters[i] += 1` is three steps, between which another thread may run, so each change is
    made under a lock that is held for less than a microsecond. Measured with timeit on Python
    3.11: 0.95 us for `begun`, `done` and `ended` together, which is what a request costs.
    """

    def __init__(
        self,
        row: memoryview | None = None,
        has_fewer: Callable[[int], bool] = lambda _connections: False,
    ) -> None:
        """Without a `row`, what is counted is this process's own, and there are no others."""
        self._counters = row or memoryview(bytearray(_ROW_BYTES)).cast("Q")
        self._lock = threading.Lock()
        #: Whether another worker who answers has fewer connections than so many.
        self.another_has_fewer = has_fewer

    def ready(self) -> None:
        """The worker answers."""
        self._counters[_READY] = 1

    def leaving(self) -> None:
        """It takes nothing more."""
        self._counters[_READY] = 0

    def connections(self, count: Callable[[], int]) -> None:
        """As many connections are open as `count` says, asked when nobody else does this."""
        with self._lock:
            self._counters[_CONNECTIONS] = count()

    def begun(self) -> None:
        """A request runs."""
        with self._lock:
            self._counters[_RUNNING] += 1

    def ended(self) -> None:
        """It does not any more."""
        with self._lock:
            self._counters[_RUNNING] -= 1

    def done(self, method: str, status: int, received: int, sent: int, seconds: float) -> None:
        """A request was answered; `received` and `sent` are bytes of bodies."""
        requests, times = _PLACES.get(method, _OTHERS)
        if not 100 <= status < 600:
            status = _FAILED_STATUS
        counters = self._counters
        with self._lock:
            counters[requests + status] += 1
            counters[times + bisect_left(STEPS, seconds)] += 1
            counters[times + _TIMES_OF_ONE - 1] += int(seconds * 1_000_000)
            if received:
                counters[_RECEIVED] += received
            if sent:
                counters[_SENT] += sent


@dataclass(slots=True)
class Times:
    """How many took how long: one count for each of STEPS and one for the rest; seconds in all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(STEPS) + 1))
    seconds: float = 0.0


@dataclass(slots=True)
class Totals:
    """Over all workers: `ready` to `connections` of those that live, the rest of all there were.

    `received` and `sent` are bytes of bodies; `requests` is by method and status, `times` by kind.
    """

    ready: int = 0
    running: int = 0
    connections: int = 0
    received: int = 0
    sent: int = 0
    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    times: dict[str, Times] = field(default_factory=lambda: {kind: Times() for kind in KINDS})


class Tallies:
    """The memory. Made before the fork, and open for as long as the process lives: closing any of
    its descriptors would give up the process's locks."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._fd = os.memfd_create("davstore-tallies", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, _HEAD_BYTES + _ROWS * _ROW_BYTES)
        #: All of it at once: whoever forks takes it along, and needs nothing more to look at a row.
        self._memory = mmap.mmap(self._fd, _HEAD_BYTES + _ROWS * _ROW_BYTES)
        self._rows: dict[int, memoryview] = {}

    def claim(self) -> Tally:
        """A row for this process, which keeps it until it ends.

        What if two take the same at once: one of them is refused the lock. What if it dies right
        here: the row is free again, with nothing in it.
        """
        for number in range(_ROWS):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                continue
            self._memory[number] = 1
            row = self._row(number)
            for counter in range(*_NOW.indices(_COUNTERS)):
                row[counter] = 0
            return Tally(row, self._has_fewer)
        _log.warning("There is no room to count what this worker does")
        return Tally()

    def is_any_ready(self) -> bool:
        """Whether a worker answers."""
        return any(self._row(number)[_READY] for number in self._used() if self._is_held(number))

    def read(self) -> Totals:
        """The sums now. Each counter is read at once; one request's may be there in part."""
        totals = Totals()
        for number in self._used():
            counters = self._row(number).tolist()
            if self._is_held(number):
                totals.ready += counters[_READY]
                totals.running += counters[_RUNNING]
                totals.connections += counters[_CONNECTIONS]
            _add(totals, counters)
        return totals

    def _has_fewer(self, connections: int) -> bool:
        """Whether another process's worker answers and has fewer than so many connections.

        Asked for each new connection: a microsecond for each worker.
        """
        if connections <= 0:
            return False
        for number in self._used():
            row = self._row(number)
            if row[_READY] and row[_CONNECTIONS] < connections and self._is_held(number):
                return True
        return False

    def _used(self) -> list[int]:
        end = self._memory.rfind(b"\1", 0, _ROWS) + 1
        return [number for number, byte in enumerate(self._memory[:end]) if byte]

    def _row(self, number: int) -> memoryview:
        row = self._rows.get(number)
        if row is None:
            at = _HEAD_BYTES + number * _ROW_BYTES
            row = memoryview(self._memory)[at : at + _ROW_BYTES].cast("Q")
            self._rows[number] = row
        return row

    def _is_held(self, number: int) -> bool:
        """Whether another process has that row."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        kind: int = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK


def _add(totals: Totals, counters: list[int]) -> None:
    totals.received += counters[_RECEIVED]
    totals.sent += counters[_SENT]
    for method, (requests, _) in _PLACES.items():
        first = requests + _FIRST_STATUS
        for status, count in enumerate(counters[first : first + _STATUSES], _FIRST_STATUS):
            if count:
                key = (method, status)
                totals.requests[key] = totals.requests.get(key, 0) + count
    for number, kind in enumerate(KINDS):
        first = _TIMES + number * _TIMES_OF_ONE
        *counts, microseconds = counters[first : first + _TIMES_OF_ONE]
        times = totals.times[kind]
        times.counts = [a + b for a, b in zip(times.counts, counts, strict=True)]
        times.seconds += microseconds / 1_000_000
