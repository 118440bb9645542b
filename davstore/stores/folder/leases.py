"""Persistent uploads: which there are, and until when."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from typing import NamedTuple

from davstore.errors import NoSuchUpload, UploadInUse
from davstore.stores.base import Kept
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.share import Share
from davstore.stores.folder.staging import UPLOAD, Reserved

#: As `Reserved.new_name` makes them.
_ID = re.compile(UPLOAD + "[0-9a-f]{24}")


class Lease(NamedTuple):
    """`id` is the temporary's name, `folder` has the reserved folder in which it is."""

    id: str
    share: str
    path: str
    folder: str
    content_type: str | None
    modified: float | None
    end: float
    memo: str = ""


def extend(share: Share, lease: Lease) -> None:
    with share.database.writing() as db:
        db.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)", lease)


def end(share: Share, upload: str) -> None:
    with share.database.writing() as db:
        remove(db, upload)


def remove(db: sqlite3.Connection, upload: str) -> None:
    db.execute("DELETE FROM uploads WHERE id = ?", (upload,))


def find(share: Share, upload: str) -> Lease | None:
    found = share.database.read(
        "SELECT * FROM uploads WHERE id = ? AND share = ?", (upload, share.name)
    )
    return Lease._make(found[0]) if found else None


def _lasting(share: Share, upload: str) -> tuple[Lease, Reserved]:
    """A lease that is not over, and the reserved folder of its temporary. Raises NoSuchUpload."""
    if _ID.fullmatch(upload):
        lease = find(share, upload)
        reserved = share.staging.at(lease.folder) if lease and lease.end > time.time() else None
        if lease is not None and reserved is not None:
            return lease, reserved
    raise NoSuchUpload(upload)


def look_up(share: Share, upload: str) -> Kept:
    """See `davstore.stores.base.ResumableUploads`."""
    with reported(upload):
        lease, reserved = _lasting(share, upload)
        try:
            found = os.stat(upload, dir_fd=reserved.fd, follow_symlinks=False)
        except FileNotFoundError as error:
            # Whoever throws an upload away ends its lease first: only a commit leaves a lease.
            if not lease.memo:
                raise NoSuchUpload(upload) from error
            return Kept(lease.path, None, lease.memo, lease.end)
        return Kept(lease.path, found.st_size, lease.memo, lease.end)


def take_up(share: Share, upload: str) -> tuple[Lease, Reserved, int]:
    """The lease, the reserved folder, and the temporary, held and at its end.

    Raises NoSuchUpload, UploadInUse.
    """
    with reported(upload):
        lease, reserved = _lasting(share, upload)
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
        try:
            fd = os.open(upload, flags, dir_fd=reserved.fd)
        except FileNotFoundError as error:
            raise NoSuchUpload(upload) from error
        try:
            _hold(fd, upload)
        except BaseException:
            os.close(fd)
            raise
        return lease, reserved, fd


def _hold(fd: int, upload: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UploadInUse(upload) from error
    if os.fstat(fd).st_nlink == 0:
        raise NoSuchUpload(upload)
