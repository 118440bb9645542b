"""How long trouble is borne, and the pauses between tries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from davstore.client.errors import ClientError

#: Seconds of the first pause, which doubles each time, and of the longest.
_FIRST: Final = 0.1
_LONGEST: Final = 5.0


class Patience:
    """At most `seconds()` without any progress; asked anew at each trouble."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """There was progress."""
        self._since = time.monotonic()
        self._pause = _FIRST

    def bear(self, trouble: ClientError) -> None:
        """Return when it is time for another try. Raises `trouble` when there is none left.

        Another node, if there is one, is asked at once; else there is a pause, and not less of
        it than the server wants.
        """
        left = self._since + self._seconds() - time.monotonic()
        pause = 0.0
        if not trouble.elsewhere:
            # Not all clients come back in the same instant.
            chance = random.uniform(0.5, 1.0)  # noqa: S311  # nothing secret
            pause = max(self._pause * chance, trouble.retry_after or 0.0)
            self._pause = min(2 * self._pause, _LONGEST)
        if pause > left:
            raise trouble
        time.sleep(pause)
