"""Memory through which files are copied to their clients."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator

#: Half of what a core's second cache commonly holds: 256 KiB and 1 MiB were slower.
BLOCK = 512 * 1024


class Blocks:
    """Blocks that are lent while bytes move, and never while somebody is waited for: so there
    are as many as threads that run at once, not as many as downloads."""

    def __init__(self) -> None:
        self._free: deque[memoryview] = deque()

    @contextlib.contextmanager
    def lent(self) -> Iterator[memoryview]:
        """A block of BLOCK bytes, with rubbish in it."""
        try:
            block = self._free.pop()
        except IndexError:
            block = memoryview(bytearray(BLOCK))
        try:
            yield block
        finally:
            self._free.append(block)
