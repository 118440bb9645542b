"""Asking a share, again and again, whether it works; what it said last is there at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from davstore.errors import ConfigError, StoreError

_log = logging.getLogger(__name__)

#: Seconds from one answer to the next question, for an answer, and after which one that hangs
#: counts as a failure. A share that fails is known to within the sum of the first and the third.
_PAUSE: Final = 1.0
PATIENCE: Final = 2.0
HANGS: Final = 3.0


class State(NamedTuple):
    """`since` is time.time(). `error` is a sentence, None when all is well."""

    error: str | None
    since: float


class Probe:
    """Asks in a thread of its own, which it starts at once and which ends some time after `stop`.

    `check` is given the seconds for an answer, and raises StoreError or ConfigError when there
    is none, or no good one. `took` is told how many seconds each good answer took.
    """

    def __init__(
        self,
        check: Callable[[float], None],
        stop: threading.Event,
        took: Callable[[float], None],
        *,
        hangs: float = HANGS,
        pause: float = _PAUSE,
    ) -> None:
        self._check = check
        self._stop = stop
        self._took = took
        self._hangs = hangs
        self._pause = pause
        #: Replaced as wholes, so that any thread may look at them.
        self._last = State("It has not been asked yet.", time.time())
        #: When it was asked what it has not answered: time.monotonic(), time.time().
        self._asked: tuple[float, float] | None = None
        self.answered = threading.Event()
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def state(self) -> State:
        """At once, whatever the share does."""
        asked, last = self._asked, self._last
        if asked is None or time.monotonic() - asked[0] < self._hangs:
            return last
        sentence = "It has been asked and does not answer."
        return State(sentence, last.since if last.error is not None else asked[1])

    def _run(self) -> None:
        while True:
            self._asked = (time.monotonic(), time.time())
            error = self._ask()
            # Of an answer that was waited for too long the failure began with the question.
            last = self.state()
            if (error is None) != (last.error is None):
                last = State(error, time.time())
            self._last = last._replace(error=error)
            self._asked = None
            self.answered.set()
            if self._stop.wait(self._pause):
                return

    def _ask(self) -> str | None:
        began = time.monotonic()
        try:
            self._check(PATIENCE)
        except StoreError as error:
            return error.detail
        except ConfigError as error:
            # Its sentences are for the log: they hold addresses.
            _log.error("a share cannot be used: %s", error)
            return "Its settings cannot be used; the log says why."
        except Exception:
            _log.exception("a share cannot be asked whether it works")
            return "It could not be asked; the log says why."
        self._took(time.monotonic() - began)
        return None
