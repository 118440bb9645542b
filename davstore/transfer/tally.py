"""What a transfer has done so far, and whether it shall go on. Safe for many threads."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator
from typing import NamedTuple

from davstore.errors import QuotaExceeded, StoreError, Unavailable

#: So many files one after the other that failed for want of storage: the rest would as well.
_ENOUGH = 10

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Stopped(Exception):
    """The transfer shall not go on; `Tally.stopped` says why."""


class LeftOut(Exception):
    """This one file or folder is not transferred; the reason is a sentence."""


class Omission(NamedTuple):
    path: str
    reason: str


class Total(NamedTuple):
    files: int
    bytes: int


class Tally:
    """Counts.

    `files` and `bytes` were transferred, `there` were the same already, `folders` were made.
    `seen` is what progress is measured by: everything that is dealt with, and the bytes of
    what is on its way.
    """

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.there = 0
        self.folders = 0
        self.left_out: list[Omission] = []
        self.stopped: str | None = None
        self._seen_files = 0
        self._seen_bytes = 0
        self._hopeless = 0
        self._mutex = threading.Lock()

    @property
    def seen(self) -> Total:
        return Total(self._seen_files, self._seen_bytes)

    def stop(self, reason: str) -> None:
        """Have everybody end at the next occasion. May be called by a signal's handler."""
        self.stopped = self.stopped or reason

    def must_go_on(self) -> None:
        """Raises Stopped."""
        if self.stopped is not None:
            raise Stopped

    def on_its_way(self, length: int) -> None:
        with self._mutex:
            self._seen_bytes += length

    def transferred(self, size: int) -> None:
        """A whole file; its bytes were counted on their way."""
        with self._mutex:
            self.files += 1
            self.bytes += size
            self._seen_files += 1
            self._hopeless = 0

    def was_there(self, size: int) -> None:
        with self._mutex:
            self.there += 1
            self._seen_files += 1
            self._seen_bytes += size

    def folder_made(self) -> None:
        with self._mutex:
            self.folders += 1

    @contextlib.contextmanager
    def leaving_out(self, path: str) -> Iterator[None]:
        """Within it, what goes wrong leaves `path` out and nothing else."""
        try:
            yield
        except (StoreError, OSError, LeftOut) as error:
            self.leave_out(path, error)

    def leave_out(self, path: str, error: StoreError | OSError | LeftOut) -> None:
        """Remember that `path` was left out. Where nothing works any more, it is the end."""
        with self._mutex:
            self.left_out.append(Omission(path, _reason(error)))
            self._seen_files += 1
            self._hopeless = self._hopeless + 1 if _is_hopeless(error) else 0
            if self._hopeless >= _ENOUGH:
                self.stop(f"{_ENOUGH} files in a row failed: {_reason(error)}")


def _reason(error: StoreError | OSError | LeftOut) -> str:
    if isinstance(error, StoreError):
        return error.detail
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


def _is_hopeless(error: StoreError | OSError | LeftOut) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, Unavailable | QuotaExceeded)
