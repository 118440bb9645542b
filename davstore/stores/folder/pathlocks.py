"""Locks on paths, between threads and processes, that the death of their owner frees.

A change of /a/b/c holds "/", "/a" and "/a/b" shared and "/a/b/c" exclusively. So changes of
different members pass each other, changes of one member follow one another, and whoever
holds a folder exclusively (a MOVE, a DELETE, a fence) has everything below it to itself.

Each path has two bytes of one lock file, found by a hash of the path, locked with Linux's
open-file-description locks (fcntl(2), F_OFD_SETLK): the owner is the descriptor, not the
process, and the kernel lets go of them when it is closed, kill -9 included. Two paths with
one hash only exclude each other needlessly. All locks of one operation are taken in
ascending order, so that no two operations wait for each other.

The first byte is a gate: whoever waits to have a path exclusively holds its gate, and who
comes later to share it waits outside. Without it, a stream of uploads into a folder would
keep that folder's DELETE or LOCK waiting for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from davstore import paths
from davstore.errors import DeadlineExceeded
from davstore.handoff import about_to_wait

#: struct flock with 64-bit offsets: type, whence, start, length, pid (0 for these locks).
_FLOCK = struct.Struct("hhqqi4x")
_GATE: Final = 1
_BOTH: Final = 2
_UNLOCK_ALL: Final = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
_SPARE_DESCRIPTORS: Final = 32
#: Seconds between two looks of somebody with a deadline: the first, the longest.
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.01


class PathLocks:
    """The locks of one share. Needs a local file system for `file`."""

    def __init__(self, file: Path, share: str) -> None:
        self._file = file
        self._prefix = share.encode() + b"\0"
        self._spare: list[int] = []

    @contextlib.contextmanager
    def hold(self, exclusive: Sequence[str], deadline: float | None = None) -> Iterator[None]:
        """Have every path of `exclusive`, and all below, to oneself; ancestors are shared.

        `deadline` is on time.monotonic()'s clock. Raises DeadlineExceeded, OSError. Not
        reentrant: a thread that asks for what it holds waits for itself.
        """
        fd = self._descriptor()
        try:
            for offset, kind in self._needed(exclusive):
                self._take(fd, offset, kind, deadline, exclusive[0])
            yield
        finally:
            self._release(fd)

    def close(self) -> None:
        """Close what is not in use."""
        while self._spare:
            os.close(self._spare.pop())

    def _descriptor(self) -> int:
        try:
            return self._spare.pop()
        except IndexError:
            return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _release(self, fd: int) -> None:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _UNLOCK_ALL)
        if len(self._spare) < _SPARE_DESCRIPTORS:
            self._spare.append(fd)
        else:
            os.close(fd)

    def _needed(self, exclusive: Sequence[str]) -> list[tuple[int, int]]:
        """Offset and kind of every lock, ascending; the stronger one where two meet."""
        needed = {
            self._offset(above): fcntl.F_RDLCK
            for path in exclusive
            for above in paths.ancestors(path)
        }
        needed.update((self._offset(path), fcntl.F_WRLCK) for path in exclusive)
        return sorted(needed.items())

    def _offset(self, path: str) -> int:
        """An even number below 2**62."""
        digest = hashlib.blake2b(self._prefix + path.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 3 << 1

    def _take(self, fd: int, offset: int, kind: int, deadline: float | None, path: str) -> None:
        if not _try(fd, kind, offset, _BOTH):
            about_to_wait()
            if kind == fcntl.F_WRLCK:
                _wait(fd, kind, offset, _GATE, deadline=deadline, path=path)
            _wait(fd, kind, offset, _BOTH, deadline=deadline, path=path)
        if kind == fcntl.F_RDLCK:
            _try(fd, fcntl.F_UNLCK, offset, _GATE)


def _try(fd: int, kind: int, start: int, length: int) -> bool:
    """Take or release without waiting; whether that was possible."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _wait(
    fd: int, kind: int, start: int, length: int, *, deadline: float | None, path: str
) -> None:
    """Take, however long it lasts, or until `deadline`."""
    if deadline is None:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        return
    pause = _FIRST_PAUSE
    while not _try(fd, kind, start, length):
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(path)
        time.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE)
