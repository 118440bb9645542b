"""Something that is opened when it is first needed, by whichever thread comes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazily(Generic[T]):
    """`opener` is called until it succeeds once; `opened` is what it gave, None before.

    Who waits while another thread's attempt fails fails with it: a database that is away is
    waited for once, not by one thread after the other.
    """

    def __init__(self, opener: Callable[[], T]) -> None:
        self.opened: T | None = None
        self._opener = opener
        self._mutex = threading.Lock()
        self._failure: Exception | None = None
        self._failed_at = float("-inf")

    def get(self) -> T:
        """It, opened. Raises what `opener` raises."""
        if self.opened is not None:
            return self.opened
        began = time.monotonic()
        with self._mutex:
            if self.opened is None:
                if self._failure is not None and self._failed_at >= began:
                    raise self._failure
                self.opened = self._try()
            return self.opened

    def _try(self) -> T:
        try:
            return self._opener()
        except Exception as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise
