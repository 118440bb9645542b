"""Looking at a process's memory while something happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

MIB = 1 << 20


class MemoryWatch:
    """The largest growth in resident memory of any one process while the context is open."""

    def __init__(self, look: Callable[[], dict[int, int]], every: float = 0.02) -> None:
        self._look = look
        self._every = every
        self._before: dict[int, int] = {}
        self._largest: dict[int, int] = {}
        self._samples = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._before = self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            for pid, size in self._look().items():
                self._largest[pid] = max(size, self._largest.get(pid, 0))
            self._samples += 1
            self._over.wait(self._every)

    @property
    def growth(self) -> int:
        """Bytes; of a process that was not there before, all that it has."""
        assert self._samples > 0
        return max(largest - self._before.get(pid, 0) for pid, largest in self._largest.items())
