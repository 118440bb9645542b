"""Nodes out of what the file system says and what the rows remember."""

from __future__ import annotations

import os
import stat

from davstore.stores.base import Node
from davstore.stores.folder.rows import Row, decode_props
from davstore.stores.folder.syscalls import Found

Stat = os.stat_result | Found


_SHOWN = (stat.S_IFREG, stat.S_IFDIR)


def is_shown(found: Stat) -> bool:
    """Files and folders are; FIFOs, sockets, devices and links that lead nowhere are not."""
    return stat.S_IFMT(found.st_mode) in _SHOWN


def etag_of(found: Stat, ctime: int | None = None) -> str:
    """Inode, size, mtime and ctime. See `times.fresh_mtime` for why it never repeats.

    `ctime` (ns) stands in for a file whose ctime has changed while its content has not.
    """
    # The percent form takes a third of an f-string's time, and listings make many of these.
    return "%x-%x-%x-%x" % (  # noqa: UP031
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        ctime or found.st_ctime_ns,
    )


def node_of(name: str, found: Stat, row: Row | None, born: float | None) -> Node:
    """The node that clients see.

    A file's creation time is in its row since davstore first wrote it, as its inode changes
    with each replacement; a folder's and an unknown file's is `born`, the inode's birth,
    or where the file system has none, the earlier of its two other times.
    """
    if stat.S_ISDIR(found.st_mode):
        return _folder(name, found, row, born)
    # The part below the second is davstore's own, see `times`.
    modified = float(found.st_mtime_ns // 1_000_000_000)
    if row is None:
        return Node(
            "i%x-%x" % (found.st_dev, found.st_ino),  # noqa: UP031
            name,
            False,
            found.st_size,
            born if born is not None else min(modified, found.st_ctime),
            modified,
            etag_of(found),
        )
    holds = row.holds_for(found)
    created = row.created if row.created is not None else born
    return Node(
        "f%x" % row.id,  # noqa: UP031
        name,
        False,
        found.st_size,
        created if created is not None else min(modified, found.st_ctime),
        modified,
        row.etag if holds and row.etag else etag_of(found),
        row.content_type if holds else None,
        _digests(row) if holds else {},
        decode_props(row.props) if row.props else {},
    )


def _folder(name: str, found: Stat, row: Row | None, born: float | None) -> Node:
    return Node(
        f"d{found.st_dev:x}-{found.st_ino:x}",
        name,
        True,
        0,
        born if born is not None else min(found.st_mtime, found.st_ctime),
        found.st_mtime,
        f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}",
        None,
        {},
        decode_props(row.props) if row and row.props else {},
    )


def needs_birth(found: Stat, row: Row | None) -> bool:
    """Whether `node_of` asks for the inode's birth."""
    return row is None or row.created is None or stat.S_ISDIR(found.st_mode)


def _digests(row: Row) -> dict[str, str]:
    digests = {}
    if row.md5 is not None:
        digests["md5"] = row.md5.hex()
    if row.sha1 is not None:
        digests["sha1"] = row.sha1.hex()
    if row.sha256 is not None:
        digests["sha256"] = row.sha256.hex()
    return digests
