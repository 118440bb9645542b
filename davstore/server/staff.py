"""The supervisor's list of who runs, and the rule by which the dead are replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from davstore.server.pulse import Pulse

#: A child that lived for less than this, in seconds, died at once.
_AT_ONCE = 1.0
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
#: Doubling ends here: the longest pause is reached, and no float can hold 2**1024.
_MOST_DOUBLINGS = 10


@dataclass(eq=False)
class Post:
    """What one child is for. `pid` is None while nobody fills it; then it is due at `due`.

    `patience` is how long, in seconds, its running work may take to end. `predecessor` is
    whose end has to come first. Times are time.monotonic()'s.
    """

    name: str
    run: Callable[[], int]
    patience: float = 0.0
    pid: int | None = None
    is_ready: bool = False
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    predecessor: int | None = None
    #: Who ended as if told to, though not by the supervisor; until it is replaced.
    deserter: int | None = None
    pulse: Pulse | None = None

    def vacate(self, now: float, least: float = 0.0) -> float:
        """The child has died; returns for how long the post stays empty, `least` at least.

        Not at all after a good life; twice as long each time when it dies at once or before it
        was ready, so that a fault that stays does not keep the machine busy with forking.
        """
        if self.is_ready and now - self.started >= _AT_ONCE:
            self.failures = 0
            pause = 0.0
        else:
            pause = min(_SHORTEST_PAUSE * 2 ** min(self.failures, _MOST_DOUBLINGS), _LONGEST_PAUSE)
            self.failures += 1
        pause = max(pause, least)
        self.pid = None
        self.is_ready = False
        self.due = now + pause
        return pause


def describe(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"
