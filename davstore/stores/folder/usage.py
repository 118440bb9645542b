"""How many bytes a share holds, by a counter; how many more it may."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from typing import Final

from davstore import paths
from davstore.errors import QuotaExceeded
from davstore.stores.base import Usage
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.share import Share
from davstore.stores.folder.staging import ASIDE, TRASH

#: Others may write into the folder too, so the counter is set right by a walk once a day.
RECOUNT_AFTER: Final = 86_400.0


def usage(share: Share) -> Usage:
    """One row and one statvfs(3)."""
    with reported(paths.ROOT):
        used = _used(share)
        disk = os.fstatvfs(share.root)
    available = disk.f_bavail * disk.f_frsize
    if share.settings.quota is not None:
        available = min(available, max(0, share.settings.quota - (used or 0)))
    return Usage(used, available)


def _used(share: Share) -> int | None:
    found = share.database.read("SELECT used FROM shares WHERE name = ?", (share.name,))
    used: int | None = found[0][0] if found else None
    return max(0, used) if used is not None else None


def room(share: Share) -> int | None:
    """Bytes that may still come under the quota; None without one."""
    if share.settings.quota is None:
        return None
    return share.settings.quota - (_used(share) or 0)


def must_have_room(share: Share, path: str, more: int) -> None:
    """Raises QuotaExceeded when `more` bytes (net) would go beyond the quota."""
    left = room(share) if more > 0 else None
    if left is not None and more > left:
        raise QuotaExceeded(path)


def add(db: sqlite3.Connection, share: Share, more: int) -> None:
    """Within a transaction: the share grew (or shrank) by `more` bytes.

    Unknown stays unknown: NULL + x is NULL.
    """
    if more:
        db.execute("UPDATE shares SET used = used + ? WHERE name = ?", (more, share.name))


class Count:
    """A walk over the share, in pieces, that sets the counter at its end.

    What is written while it walks may be counted once too often or not at all.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._walk: Iterator[int] | None = None
        self._sum = 0

    def go_on(self, now: float, until: float) -> bool:
        """Walk until time.monotonic() reaches `until`; whether there is still more to do."""
        if self._walk is None:
            if not self._is_due(now):
                return False
            self._sum, self._walk = 0, _sizes(self._share.root)
        for size in self._walk:
            self._sum += size
            if time.monotonic() >= until:
                return True
        self._walk = None
        with self._share.database.writing() as db:
            db.execute(
                "UPDATE shares SET used = ?, counted = ? WHERE name = ?",
                (self._sum, now, self._share.name),
            )
        return False

    def start_again(self) -> None:
        """The counter cannot be trusted any more."""
        self._walk = None
        with self._share.database.writing() as db:
            db.execute("UPDATE shares SET counted = NULL WHERE name = ?", (self._share.name,))

    def _is_due(self, now: float) -> bool:
        ((used, counted),) = self._share.database.read(
            "SELECT used, counted FROM shares WHERE name = ?", (self._share.name,)
        )
        return used is None or counted is None or now - counted > RECOUNT_AFTER


def _sizes(root: int) -> Iterator[int]:
    """The size of every file below `root`, links not followed; 0 for each folder.

    What is deleted and not yet taken apart counts, uploads and copies do not yet.
    """
    for path, folders, files, fd in os.fwalk(".", dir_fd=root, follow_symlinks=False):
        if path.endswith("/" + paths.RESERVED_PREFIX):
            folders[:] = [name for name in folders if name.startswith((TRASH, ASIDE))]
            files[:] = [name for name in files if name.startswith((TRASH, ASIDE))]
        yield 0
        for name in files:
            yield size_of(fd, name)


def size_of(folder: int, name: str) -> int:
    """What the file counts for; 0 for anything else, also for what is gone."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
