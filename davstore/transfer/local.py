"""A folder of this machine as the source or target of a transfer.

Paths are relative to its top, as the system has them ("" is the top itself; bytes that are
not UTF-8 as lone surrogates). Below the top no symbolic link is ever followed, also when it
is put there at the last moment: whoever may write to the folder must not lead a transfer, which
root may run, out of it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from davstore.transfer.tally import LeftOut

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: what was a file a moment ago may be a FIFO now, and nobody may ever write to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: Bytes read at once.
PIECE = 1 << 20

_KINDS = {
    stat.S_IFLNK: "This is a symbolic link; links are not followed.",
    stat.S_IFIFO: "This is a FIFO.",
    stat.S_IFSOCK: "This is a socket.",
    stat.S_IFCHR: "This is a device.",
    stat.S_IFBLK: "This is a device.",
}


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def split(path: str) -> tuple[str, str]:
    """The folder and the name."""
    folder, _, name = path.rpartition("/")
    return folder, name


def seconds(found: os.stat_result) -> int:
    """The modification time as stores keep it."""
    return found.st_mtime_ns // 1_000_000_000


def must_be_plain(found: os.stat_result) -> None:
    """Raises LeftOut for what is neither a file nor a folder."""
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise LeftOut(_KINDS.get(stat.S_IFMT(found.st_mode), "This is not a file."))


class LocalTree:
    """All methods raise OSError."""

    def __init__(self, top: Path) -> None:
        self._fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """An open descriptor of the folder, whatever the length of its path."""
        fd = os.dup(self._fd)
        try:
            for name in path.split("/") if path else ():
                inner = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def file(self, path: str) -> Iterator[int]:
        """An open descriptor of the file, for reading. Raises LeftOut when it is none."""
        folder, name = split(path)
        with self.folder(folder) as parent:
            fd = os.open(name, _FILE, dir_fd=parent)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                must_be_plain(found)
                raise LeftOut("This is a folder now.")
            yield fd
        finally:
            os.close(fd)


def look(name: str, folder: int) -> os.stat_result | None:
    """What `name` is in the open `folder`, no link followed; None when it is not there."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def pieces(fd: int) -> Iterator[bytes]:
    """The file from its beginning."""
    at = 0
    while piece := os.pread(fd, PIECE, at):
        at += len(piece)
        yield piece
