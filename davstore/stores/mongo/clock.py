"""The database's clock, as this process knows it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pymongo.errors import PyMongoError

_log = logging.getLogger(__name__)

#: Seconds after which it is asked again, by one thread while the others go on; and after which
#: all wait for the answer.
_TRUSTED: Final = 10.0
_TOO_OLD: Final = 60.0


class DatabaseClock:
    """What time it is for the database, within half of the time that an answer takes.

    Only updates can have the database put its own time in ($$NOW), and an insert costs it a
    third less than an update that inserts. So it is asked for its time now and then, and this
    process counts on. A primary with another clock is believed ten seconds late; nothing
    depends on it but times that people read, and ends of leases, which are minutes long and are
    renewed, by the database's own clock, before anything refers to what they keep.
    """

    def __init__(self, ask: Callable[[], datetime], said: datetime) -> None:
        """`ask` gives the database's time; `said` is what it has said just now."""
        self._ask = ask
        self._mutex = threading.Lock()
        #: On this process's clock: when it was asked last; when it answered last, and what.
        self._asked = _elapsed()
        self._known = (self._asked, said)

    def now(self) -> datetime:
        """In whole milliseconds, as the database keeps its dates."""
        age = _elapsed() - self._asked
        if age > _TRUSTED and self._mutex.acquire(blocking=age > _TOO_OLD):
            try:
                # Those who waited for an answer have one.
                if _elapsed() - self._asked > _TRUSTED:
                    self._look()
            except PyMongoError as error:
                # Whoever asks wants to write, and will see for himself; then or in ten seconds.
                _log.info("the database was not to be asked for its time: %s", error)
            finally:
                self._mutex.release()
        answered, said = self._known
        return said + timedelta(milliseconds=round((_elapsed() - answered) * 1000))

    def _look(self) -> None:
        self._asked = before = _elapsed()
        said = self._ask()
        # Between question and answer, most likely in the middle.
        self._known = ((before + _elapsed()) / 2, said)


def _elapsed() -> float:
    """Seconds, those included in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
