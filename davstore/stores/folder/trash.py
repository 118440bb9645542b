"""Deleted trees: out of sight with one rename, taken apart afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from typing import Final

from davstore.stores.folder import usage
from davstore.stores.folder.resolve import FOLDER
from davstore.stores.folder.share import Share, log
from davstore.stores.folder.staging import TRASH, Reserved

#: Seconds that a DELETE itself spends on taking the tree apart; the rest is the sweeper's.
INLINE_BUDGET: Final = 0.05


def throw(reserved: Reserved, folder: int, name: str, kind: str = TRASH) -> str:
    """Make the entry `name` of `folder` disappear; its name in the trash. Raises OSError.

    `kind` DISCARDED is for what was not yet counted as in use, so that it gives nothing back.
    """
    thrown = reserved.new_name(kind)
    os.rename(name, thrown, src_dir_fd=folder, dst_dir_fd=reserved.fd)
    return thrown


def take_apart(share: Share, reserved: Reserved, name: str, until: float) -> int:
    """Remove the trash entry `name` until time.monotonic() is `until`; entries removed.

    Folders within are first renamed up into the trash, so that neither the depth of a tree
    nor the death of this process matters: every part is a trash entry of its own. Others
    may take the same entry apart at the same moment.
    """
    work = _Work(reserved, name[:1], until)
    try:
        work.run(name)
    finally:
        if work.freed and name.startswith(TRASH):
            _count(share, work.freed)
    return work.removed


def _count(share: Share, freed: int) -> None:
    """The tree was gone before; a state file that cannot be written makes no error of that."""
    try:
        with share.database.writing() as db:
            usage.add(db, share, -freed)
    except (sqlite3.Error, OSError) as error:
        log.error("%d bytes that were given back are not counted: %s", freed, error)


class _Work:
    def __init__(self, reserved: Reserved, kind: str, until: float) -> None:
        self._reserved = reserved
        self._until = until
        self._kind = kind
        self.freed = 0
        self.removed = 0

    def run(self, name: str) -> None:
        pending = [name]
        while pending and time.monotonic() < self._until:
            at = pending.pop()
            try:
                if not self._empty(at, pending):
                    pending.append(at)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("a deleted folder cannot be removed: %s", error.strerror)

    def _empty(self, name: str, pending: list[str]) -> bool:
        """Remove the entry with its files, put its folders onto `pending`; whether it is gone."""
        found = os.stat(name, dir_fd=self._reserved.fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            self._unlink(name, self._reserved.fd, found)
            return True
        fd = _open_writable(name, self._reserved.fd)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(self._take_out(fd, entry.name))
                    else:
                        self._unlink(entry.name, fd, entry.stat(follow_symlinks=False))
                    if time.monotonic() >= self._until:
                        return False
        finally:
            os.close(fd)
        try:
            os.rmdir(name, dir_fd=self._reserved.fd)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False  # reading it while it shrank missed some
        self.removed += 1
        return True

    def _take_out(self, folder: int, name: str) -> str:
        """A folder that gets another parent has to be writable itself."""
        try:
            return throw(self._reserved, folder, name, self._kind)
        except PermissionError:
            os.close(_open_writable(name, folder))
            return throw(self._reserved, folder, name, self._kind)

    def _unlink(self, name: str, folder: int, found: os.stat_result) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
            self.removed += 1
            if stat.S_ISREG(found.st_mode):
                self.freed += found.st_size


def _open_writable(name: str, folder: int) -> int:
    """Open a folder of the trash, which its former owner may have made read-only."""
    fd = -1
    try:
        fd = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        if os.fstat(fd).st_mode & 0o700 == 0o700:
            return fd
    except PermissionError:
        pass
    if fd < 0:
        os.chmod(name, 0o700, dir_fd=folder)
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, 0o700)
    return fd
