"""The reserved folders: where uploads, copies and deleted trees are while nobody sees them.

One folder, `.davstore~`, at the share's root, so that sweeping is one listing and every
rename into the share is atomic. Where another file system is mounted within the share, or a
part of the same one once more, the topmost folder of that mount has one as well, remembered in
the state file.

Names in it say what an entry is: `u` an upload, `c` a copy being built, `t` a deleted tree, `x`
one that never became visible, `a` a target put aside by a move that cannot exchange. Who works
on a `u` or `c` entry holds a flock on it; one that nobody holds and no lease protects is left
over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import threading
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from davstore import paths
from davstore.stores.folder import syscalls
from davstore.stores.folder.database import Database
from davstore.stores.folder.resolve import FOLDER, Tree

UPLOAD: Final = "u"
COPY: Final = "c"
TRASH: Final = "t"
DISCARDED: Final = "x"
ASIDE: Final = "a"

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Reserved(NamedTuple):
    """An open reserved folder; `folder` is the path of the folder that it lies in."""

    fd: int
    folder: str

    def names(self) -> list[str]:
        return os.listdir(self.fd)  # noqa: PTH208 - a descriptor, no path

    def new_name(self, kind: str) -> str:
        return kind + secrets.token_hex(12)

    def new_file(self, kind: str, mode: int = 0o666) -> tuple[str, int]:
        """A new empty file that this descriptor holds; name and fd. The umask applies.

        A sweeper may meet it between its making and its flock and take it for left over;
        then another one is made.
        """
        while True:
            name = self.new_name(kind)
            fd = os.open(name, _NEW_FILE, mode, dir_fd=self.fd)
            if held(fd):
                return name, fd
            os.close(fd)

    def new_folder(self, kind: str) -> tuple[str, int]:
        """The same with a folder."""
        while True:
            name = self.new_name(kind)
            os.mkdir(name, 0o777, dir_fd=self.fd)
            try:
                fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=self.fd)
            except FileNotFoundError:
                continue
            if held(fd) and self._is_here(name, fd):
                return name, fd
            os.close(fd)

    def _is_here(self, name: str, fd: int) -> bool:
        """A folder that a sweeper has thrown away is not gone: it has another name."""
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            return os.path.samestat(found, os.fstat(fd))
        return False


def held(fd: int) -> bool:
    """Take the flock of an entry; whether it could be had and the entry is still there."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(fd).st_nlink > 0


def is_thrown_away(folder: int) -> bool:
    """Whether the open folder lies in the trash, or is gone altogether."""
    if os.fstat(folder).st_nlink == 0:
        return True
    try:
        at = os.readlink(f"/proc/self/fd/{folder}")  # noqa: PTH115 - pathlib takes thrice as long
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        # With the way to the share it has more bytes than the kernel tells in one piece.
        above = os.open("..", FOLDER, dir_fd=folder)
        try:
            return is_thrown_away(above)
        finally:
            os.close(above)
    return f"/{paths.RESERVED_PREFIX}/" in at


class Staging:
    """The reserved folders of one share. All methods raise OSError."""

    def __init__(self, tree: Tree, database: Database, share: str) -> None:
        self._tree = tree
        self._database = database
        self._share = share
        self._mount = syscalls.mount_of(tree.root)
        self._open: dict[tuple[int, int], Reserved] = {}
        self._dead: list[int] = []
        self._mutex = threading.Lock()

    def beside(self, folder: int, path: str) -> Reserved:
        """The reserved folder in the mount of the open `folder`, which is at `path`."""
        mount = syscalls.mount_of(folder)
        found = self._open.get(mount)
        if found is not None and os.fstat(found.fd).st_nlink > 0:
            return found
        with self._mutex:
            found = self._open.get(mount)
            if found is not None:
                if os.fstat(found.fd).st_nlink > 0:
                    return found
                # Somebody removed it. Another thread may still be using the number.
                self._dead.append(found.fd)
            home = paths.ROOT if mount == self._mount else self._topmost(path, mount)
            reserved = self._made(home)
            self._open[mount] = reserved
            return reserved

    def at(self, folder: str) -> Reserved | None:
        """The reserved folder in `folder`, when there is one."""
        try:
            fd = self._tree.open(folder, FOLDER)
        except OSError:
            return None
        try:
            if not _has_reserved(fd):
                return None
            return self.beside(fd, folder)
        finally:
            os.close(fd)

    def all(self) -> list[Reserved]:
        """Every reserved folder of the share that can be reached."""
        known = self._database.read("SELECT folder FROM staging WHERE share = ?", (self._share,))
        folders = [paths.ROOT, *(folder for (folder,) in known)]
        return [reserved for folder in folders if (reserved := self.at(folder)) is not None]

    def _topmost(self, path: str, mount: tuple[int, int]) -> str:
        """The highest folder above or at `path` in the same mount."""
        for folder in (*paths.ancestors(path), path):
            fd = self._tree.open(folder, FOLDER)
            try:
                if syscalls.mount_of(fd) == mount:
                    return folder
            finally:
                os.close(fd)
        return path

    def _made(self, home: str) -> Reserved:
        if home != paths.ROOT:
            with self._database.writing() as db:
                db.execute("INSERT OR IGNORE INTO staging VALUES (?, ?)", (self._share, home))
        folder = self._tree.open(home, FOLDER)
        try:
            if not _has_reserved(folder):
                try:
                    os.mkdir(paths.RESERVED_PREFIX, 0o700, dir_fd=folder)
                    # Once per share: persistent uploads in it outlive a power loss.
                    with contextlib.suppress(OSError):
                        os.fsync(folder)
                except FileExistsError:
                    if not _has_reserved(folder):
                        raise
            flags = FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC
            return Reserved(os.open(paths.RESERVED_PREFIX, flags, dir_fd=folder), home)
        finally:
            os.close(folder)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1].fd)
        while self._dead:
            os.close(self._dead.pop())


def _has_reserved(folder: int) -> bool:
    try:
        found = os.stat(paths.RESERVED_PREFIX, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode)


def split_aside(aside: str) -> tuple[str, str]:
    """An intent's `aside`: the path of the folder that has the reserved one, and the name."""
    at = PurePosixPath(aside)
    return str(at.parent), at.name
