"""What children tell the supervisor, through one pipe that all of them share."""

from __future__ import annotations

import contextlib
import enum
import os
import struct
from collections.abc import Iterator

#: Process id and word. Far below PIPE_BUF, so that two of them never mix (pipe(7)).
_RECORD = struct.Struct("ic")


class Word(enum.Enum):
    #: A worker answers.
    READY = b"R"
    #: The housekeeper has said everywhere that this node leaves.
    LEFT = b"L"


class Words:
    """Made before the children; `fd` is readable when there is something to read."""

    def __init__(self, ends: tuple[int, int]) -> None:
        self.fd, self._out = ends

    def say(self, word: Word) -> None:
        """In a child. When nobody listens any more there is nothing to say."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._out, _RECORD.pack(os.getpid(), word.value))

    def read(self) -> Iterator[tuple[int, Word]]:
        """In the supervisor: who said what."""
        for pid, word in _RECORD.iter_unpack(os.read(self.fd, _RECORD.size * 64)):
            yield pid, Word(word)


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Reading end and writing end, both non-blocking."""
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
