"""One table from the operating system's and SQLite's errors to the store's."""

from __future__ import annotations

import errno
import sqlite3
from types import TracebackType

from davstore.errors import (
    Corrupt,
    Exists,
    Forbidden,
    IntoItself,
    InvalidName,
    IsAFolder,
    NameTooLong,
    NotFound,
    QuotaExceeded,
    StoreError,
    Unavailable,
)

_MEANING: dict[int, type[StoreError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.ELOOP: NotFound,
    errno.EXDEV: NotFound,  # openat2: the path leads out of the share
    errno.ENXIO: NotFound,  # a socket, or a FIFO that nobody writes to
    errno.ENODEV: NotFound,
    errno.ESTALE: NotFound,
    errno.EEXIST: Exists,
    errno.ENOTEMPTY: Exists,
    errno.EISDIR: IsAFolder,
    errno.EACCES: Forbidden,
    errno.EPERM: Forbidden,
    errno.EROFS: Forbidden,
    errno.EBUSY: Forbidden,  # a mount point
    errno.ETXTBSY: Forbidden,
    errno.ENAMETOOLONG: NameTooLong,
    errno.EILSEQ: InvalidName,
    errno.EINVAL: IntoItself,  # rename(2): a folder into its own inside
    errno.ENOSPC: QuotaExceeded,
    errno.EDQUOT: QuotaExceeded,
    errno.EFBIG: QuotaExceeded,
    errno.EMLINK: QuotaExceeded,
    errno.EIO: Corrupt,
}


def store_error(error: OSError | sqlite3.Error, path: str) -> StoreError:
    """`error`, which came up while working on `path`, as the store says it.

    Details of the server's own machine (its paths) stay out of the message.
    """
    if isinstance(error, OSError):
        return _MEANING.get(error.errno or 0, Unavailable)(path)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return QuotaExceeded(path)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(path, "The state file is damaged.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return Forbidden(path)
    return Unavailable(path)


class reported:
    """Within it, errors of the system leave as StoreErrors about `path`."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError | sqlite3.Error):
            raise store_error(error, self._path) from error
