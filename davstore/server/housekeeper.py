"""The housekeeper process: what has to run once per node, not once per worker.

How it is told to end: SIGUSR1, the node is about to leave, so that nobody is sent here any more;
SIGUSR2, end, another housekeeper follows; SIGTERM, both: leave, then end.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from davstore.server.child import LEAVE, RETIRE
from davstore.server.tallies import Tallies

_log = logging.getLogger(__name__)

#: How long, in seconds, the end waits for the farewells. The supervisor waits no longer either.
LEAVE_WITHIN = 3.0


@dataclass(eq=False)
class Duty:
    """What the housekeeper's work is given, and told by.

    `leaving` is set when the node goes for good: it is not ready from then on, though it still
    answers. `stop` is set later: return soon. `stop` without `leaving`: another housekeeper
    takes over at once (a reload), so the node stays registered. `admin` is the admin listener's
    socket, which listens already and outlives this process; it is not to be closed with
    shutdown(2). `port` is the one that files are served at. `worker_restarts` tells how many
    workers had to be replaced since the supervisor began. `tallies` is what the workers count.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    leaving: threading.Event = field(default_factory=threading.Event)
    admin: socket.socket | None = None
    port: int = 0
    worker_restarts: Callable[[], int] = lambda: 0
    tallies: Tallies | None = None
    _farewells: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on_leaving(self, farewell: Callable[[], None]) -> None:
        """Have `farewell` called once, in a thread of its own, when the node leaves.

        `leaving` is set then, and the supervisor waits for all farewells, 3 s at most, before
        it stops accepting. Called here and now when the node is leaving already.
        """
        with self._lock:
            if not self.leaving.is_set():
                self._farewells.append(farewell)
                return
        farewell()

    def leave(self) -> None:
        """Set `leaving` and call the farewells, one after the other; the second time nothing."""
        with self._lock:
            self.leaving.set()
            farewells, self._farewells = self._farewells, []
        for farewell in farewells:
            try:
                farewell()
            except Exception:
                _log.exception("Saying that this node leaves failed")


def keep_house(
    housekeeping: Callable[[Duty], None], duty: Duty, report_left: Callable[[], None]
) -> int:
    """Run `housekeeping` until it is told to end. See the module for the signals.

    `report_left` is called after the farewells. When `housekeeping` returns, or raises, without
    having been asked to, the supervisor starts it again.
    """

    def leave() -> None:
        duty.leave()
        report_left()

    # Not in the thread that waits for signals: it could not be told to end meanwhile.
    farewell = threading.Thread(target=leave, name="housekeeper-farewell", daemon=True)

    def await_signals() -> None:
        # Not signal handlers: these could interrupt Event.wait while it holds the event's lock.
        until = 0.0
        while True:
            number = signal.sigwait({signal.SIGTERM, LEAVE, RETIRE})
            if number != RETIRE and farewell.ident is None:
                until = time.monotonic() + LEAVE_WITHIN
                farewell.start()
            if number == signal.SIGTERM:
                farewell.join(max(0.0, until - time.monotonic()))
            if number != LEAVE:
                duty.stop.set()
                return

    threading.Thread(target=await_signals, name="housekeeper-signals", daemon=True).start()
    housekeeping(duty)
    return 0
