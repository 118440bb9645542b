"""Telling of one trouble that lasts, without filling the log with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

#: Seconds between two lines about one trouble.
_PAUSE = 60.0


class Occasionally:
    """At once when the trouble begins, then once a minute at most, also when it comes and goes."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._told: float | None = None
        self._is_open = False

    def warn(self, message: str, *args: object, exc_info: bool = False) -> None:
        now = self._clock()
        if self._told is None or now - self._told >= _PAUSE:
            self._log.warning(message, *args, exc_info=exc_info)
            self._told = now
            self._is_open = True

    def over(self, message: str = "", *args: object) -> None:
        """The trouble is over: `message` is told when the trouble was."""
        if self._is_open and message:
            self._log.info(message, *args)
        self._is_open = False
