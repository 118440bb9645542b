"""One file of a store into a local folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from davstore import paths
from davstore.errors import Corrupt, Unavailable
from davstore.stores.base import Context, Node, Reader, Store
from davstore.transfer.contents import best_digest
from davstore.transfer.local import LocalTree, look, pieces, split
from davstore.transfer.tally import LeftOut, Stopped, Tally

#: How the names of unfinished files begin.
PART = paths.RESERVED_PREFIX + "part-"

SAME_NAME = (
    "Another file came to be here meanwhile, or the local file system takes two names for one."
)

_PART_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE_BITS = 0o777


class _Part(NamedTuple):
    """An unfinished file: open, and held with flock(2), so that one process writes to it."""

    fd: int
    name: str
    folder: int


class Fetcher:
    """Fetches files; may be used by many threads. Memory does not grow with the file."""

    def __init__(self, store: Store, ctx: Context, target: LocalTree, tally: Tally) -> None:
        self._store = store
        self._ctx = ctx
        self._target = target
        self._tally = tally
        self._placing = threading.Lock()

    def fetch(self, source: str, target: str, *, is_new: bool) -> None:
        """Make the node's content and time those of the file at `target`.

        `is_new`: nothing was there. Raises StoreError, OSError, LeftOut, Stopped; the target
        is as it was then.
        """
        folder, name = split(target)
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(self._store.open(self._ctx, source))
            parent = stack.enter_context(self._target.folder(folder))
            part = stack.enter_context(_part(parent, name, reader.node))
            try:
                self._fill(part.fd, source, reader)
                self._put_in_place(part, name, reader.node, is_new)
            except (Stopped, Unavailable):
                raise  # the next run goes on with it
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part.name, dir_fd=parent)
                raise
        self._tally.transferred(reader.node.size)

    def _fill(self, fd: int, source: str, reader: Reader) -> None:
        """Write the content, beginning with what an earlier run has left, and verify it."""
        known = best_digest(reader.node)
        algorithm, expected = known or ("sha256", None)
        kept = os.fstat(fd).st_size
        # Without a digest nobody would see that power was lost since.
        may_go_on = expected is not None and 0 < kept <= reader.node.size
        if may_go_on and self._write(fd, reader, kept, algorithm) == expected:
            return
        os.ftruncate(fd, 0)
        if self._write(fd, reader, 0, algorithm) != expected and expected is not None:
            raise Corrupt(source, "The stored content does not have its digest.")

    def _write(self, fd: int, reader: Reader, at: int, algorithm: str) -> str:
        """Write the content from `at` on; the digest of all of it."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        if at > 0:
            for piece in self._watched(pieces(fd)):
                digest.update(piece)
        for piece in self._watched(reader.chunks(at, reader.node.size - at)):
            digest.update(piece)
            left = memoryview(piece)
            while left:
                written = os.pwrite(fd, left, at)
                at += written
                left = left[written:]
        return digest.hexdigest()

    def _watched(self, content: Iterable[bytes]) -> Iterator[bytes]:
        for piece in content:
            self._tally.must_go_on()
            yield piece
            self._tally.on_its_way(len(piece))

    def _put_in_place(self, part: _Part, name: str, node: Node, is_new: bool) -> None:
        set_time(part.fd, node)
        os.fsync(part.fd)
        # Two names that are one to the file system must not replace each other.
        with self._placing:
            replaced = look(name, part.folder)
            if replaced is not None:
                if is_new or not stat.S_ISREG(replaced.st_mode):
                    raise LeftOut(SAME_NAME)
                os.fchmod(part.fd, replaced.st_mode & _MODE_BITS)
            os.rename(part.name, name, src_dir_fd=part.folder, dst_dir_fd=part.folder)
        os.fsync(part.folder)


def set_time(fd: int, node: Node) -> None:
    """Give the open file the node's modification time, in whole seconds."""
    modified = math.floor(node.modified) * 1_000_000_000
    os.utime(fd, ns=(modified, modified))


@contextlib.contextmanager
def _part(folder: int, name: str, node: Node) -> Iterator[_Part]:
    """The unfinished file of this very version of the node; an earlier run's, if there is one."""
    key = hashlib.sha256(f"{name}\0{node.etag}\0{node.size}".encode()).hexdigest()[:32]
    part = _Part(_held(PART + key, folder), PART + key, folder)
    try:
        yield part
    finally:
        os.close(part.fd)


def _held(name: str, folder: int) -> int:
    """Open the unfinished file, made if need be, and hold it. Raises LeftOut."""
    while True:
        fd = os.open(name, _PART_FLAGS, 0o666, dir_fd=folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise LeftOut("Another export is writing this file.") from None
        except BaseException:
            os.close(fd)
            raise
        found = look(name, folder)
        if found is not None and os.path.samestat(found, os.fstat(fd)):
            return fd
        os.close(fd)  # who held it has just given it its name


def remove_parts(tree: LocalTree, parts: Iterable[str]) -> None:
    """Remove those of the unfinished files that are still there and that nobody holds."""
    for path in parts:
        folder, name = split(path)
        with contextlib.suppress(OSError, LeftOut), tree.folder(folder) as parent:
            with tree.file(path) as fd:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=parent)
