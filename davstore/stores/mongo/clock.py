"""The database's clock, as this process knows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

#: Seconds after which it is asked again.
_TRUSTED: Final = 10.0


class DatabaseClock:
    """What time it is for the database, within half of the time that an answer takes.

    Only updates can have the database put its own time in ($$NOW), and an insert costs it a
    third less than an update that inserts. So it is asked for its time every ten seconds, and
    this process counts on. Who becomes primary with another clock is believed as late as that;
    nothing depends on it but times that people read, and ends of leases, which whoever
    publishes a content looks at by the database's own clock (`confirm_content`).
    """

    def __init__(self, ask: Callable[[], datetime]) -> None:
        """`ask` gives the database's time; what it raises, `now` raises."""
        self._ask = ask
        self._mutex = threading.Lock()
        #: On time.monotonic()'s clock: when it was asked, and what it said.
        self._known: tuple[float, datetime] | None = None

    def now(self) -> datetime:
        """In whole milliseconds, as the database keeps its dates."""
        known = self._known
        if known is None:
            with self._mutex:
                known = self._known or self._look()
        elif time.monotonic() - known[0] > _TRUSTED and self._mutex.acquire(blocking=False):
            # The others go on with what was said before.
            try:
                known = self._look()
            finally:
                self._mutex.release()
        return known[1] + timedelta(milliseconds=round((time.monotonic() - known[0]) * 1000))

    def _look(self) -> tuple[float, datetime]:
        before = time.monotonic()
        said = self._ask()
        # Between question and answer, most likely in the middle.
        self._known = ((before + time.monotonic()) / 2, said)
        return self._known
