"""Which thread of a worker runs: leader and followers.

Threads of one interpreter fight for it: on two cores a hello-world of 4 KiB came to 31,400
requests per second with one running thread and to 20,600 with two. So there is one *place*.
The thread that has it waits for events, and handles each itself: no queue, no handing over,
no lock. A thread that is about to wait for a client, a disk or a database gives its place up for
the rest of the request, and another thread (parked, or new) goes on in its stead. When a
request just computes for long, the monitor takes the place from it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Threads that are kept for later when there are more than can be used.
_MOST_PARKED = 32

#: How long a request may compute before another thread runs beside it, and how often the
#: monitor looks, in seconds. It sleeps after so many looks without a request.
_PATIENCE = 0.020
_TICK = 0.010
_QUIET_TICKS = 20


class Watched(Protocol):
    """What a thread with the place is busy with; nobody else may be woken for it meanwhile."""

    def disarm(self) -> None: ...


class Seat:
    """One thread's part in it.

    `claim` holds what the thread handles while it has the place. Whoever pops it (the thread
    at the end, the thread when it gives up, or the monitor) decides what becomes of the place:
    list.pop is atomic. `since` is when handling began (time.monotonic()), 0 while waiting.
    """

    __slots__ = ("_places", "claim", "gate", "since")

    def __init__(self, places: Places) -> None:
        self._places = places
        self.claim: list[Watched] = []
        self.gate = threading.Lock()
        self.gate.acquire()
        self.since = 0.0

    def give_up(self) -> None:
        """Let another thread run in this one's place, if it has it still."""
        self._places.take_from(self)

    def ends(self) -> bool:
        """End the handling; whether this thread still has the place."""
        try:
            self.claim.pop()
        except IndexError:
            # Whoever took the place is done with the disarming once the lock is free.
            with self._places.lock:
                return False
        return True


class Places:
    """The place, who has it, who waits for it.

    `work` is what a thread does with its seat from the moment it has the place, until it
    retires. `exhausted` is called (without the lock) when the place cannot be passed on
    because there are `most_threads`; the first that ends its request has it then.
    """

    def __init__(
        self, work: Callable[[Seat], None], most_threads: int, exhausted: Callable[[], None]
    ) -> None:
        self._work = work
        self._most_threads = most_threads
        self._exhausted = exhausted
        self.lock = threading.Lock()
        self._parked: list[Seat] = []
        self._threads = 0
        #: Nobody has the place, because all threads wait.
        self.is_free = True
        self.holder: Seat | None = None
        self.monitor = Monitor(self)

    def open(self) -> None:
        """Start the first thread and the monitor."""
        with self.lock:
            self._pass_on()
        self.monitor.start()

    def enter(self, seat: Seat) -> bool:
        """Wait for the place. False: there are more threads than needed, this one retires."""
        with self.lock:
            if self.is_free:
                self.is_free = False
                self.holder = seat
                return True
            if len(self._parked) >= _MOST_PARKED:
                self._threads -= 1
                return False
            self._parked.append(seat)
        seat.gate.acquire()
        return True

    def take_from(self, seat: Seat) -> None:
        """Pass the seat's place on, unless it is gone already."""
        with self.lock:
            try:
                busy = seat.claim.pop()
            except IndexError:
                return
            busy.disarm()
            passed = self._pass_on()
        if not passed:
            self._exhausted()

    def _pass_on(self) -> bool:
        if self._parked:
            # The one parked last: its stack is the likeliest to be in the caches.
            self.holder = self._parked.pop()
            self.holder.gate.release()
            return True
        if self._threads < self._most_threads and self._start_thread():
            return True
        self.holder = None
        self.is_free = True
        return False

    def _start_thread(self) -> bool:
        self._threads += 1
        seat = Seat(self)
        self.holder = seat
        self.is_free = False
        thread = threading.Thread(
            target=self._work, args=(seat,), name=f"server-{self._threads}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The operating system has no more threads for us; do with those that are there.
            _log.warning("No further thread could be started beyond %d", self._threads - 1)
            self._threads -= 1
            return False
        return True


class Monitor(threading.Thread):
    """Takes the place from a request that computes for long. Sleeps while nothing is asked."""

    def __init__(self, places: Places) -> None:
        super().__init__(name="server-monitor", daemon=True)
        self._places = places
        self._wake = threading.Event()
        self.asleep = False

    def wake(self) -> None:
        """To be called, when `asleep`, by a thread that has set its seat's `since`."""
        self._wake.set()

    def run(self) -> None:
        quiet = 0
        while True:
            time.sleep(_TICK)
            seat = self._places.holder
            since = seat.since if seat is not None else 0.0
            if seat is None or not since:
                quiet += 1
                if quiet > _QUIET_TICKS:
                    self._sleep()
                    quiet = 0
                continue
            quiet = 0
            if time.monotonic() - since > _PATIENCE:
                self._places.take_from(seat)

    def _sleep(self) -> None:
        # First say so, then look once more: a thread sets `since` before it looks at `asleep`.
        self._wake.clear()
        self.asleep = True
        seat = self._places.holder
        if seat is None or not seat.since:
            self._wake.wait()
        self.asleep = False
