"""How the supervisor sees that a child goes on: one that is stuck does not die, so no signal
tells of it, and the kernel may go on giving it connections.
"""

from __future__ import annotations

import mmap
import threading
import time

#: So many looks in a row have to find that nothing has moved. Not the time since the last beat:
#: it passes as well while all processes are stopped (Ctrl-Z, a frozen container).
_LOOKS = 6

_BEATS_PER_LOOK = 2


class Pulse:
    """A byte in memory that a child, which a thread of its own keeps changing, shares with the
    supervisor. Made before the fork. It stands still when the process is stopped or its
    interpreter is taken and not given back, for `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._between = seconds / _LOOKS
        #: When the supervisor is to look again (time.monotonic()).
        self.due = time.monotonic() + self._between
        self._seen = 0
        self._misses = 0

    def begin(self) -> None:
        """In the child."""
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def _beat(self) -> None:
        while True:
            self._page[0] = (self._page[0] + 1) % 256
            time.sleep(self._between / _BEATS_PER_LOOK)

    def has_stopped(self, now: float) -> bool:
        """In the supervisor: have a look, if one is due."""
        if now < self.due:
            return False
        self.due = now + self._between
        seen = self._page[0]
        self._misses = self._misses + 1 if seen == self._seen else 0
        self._seen = seen
        return self._misses >= _LOOKS
