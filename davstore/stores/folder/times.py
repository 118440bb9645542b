"""Modification times that davstore itself gives to files."""

from __future__ import annotations

import math
import time

_SECOND = 1_000_000_000
#: What ext4 with 256-byte inodes can hold; others hold more.
_EARLIEST = -(2**31)
#: The year 2262: what the rows can hold, whose nanoseconds have 64 bits.
_LATEST = 2**63 // _SECOND - 1


def fresh_mtime(modified: float | None) -> int:
    """Nanoseconds since 1970 for a file that is about to become visible.

    Nobody's wish: now. A client's wish: its whole second, and below it the present
    nanosecond. Entity tags are made of inode, size, mtime and ctime; the kernel's ctime only
    moves on by ticks of some milliseconds, in which an inode number can come back. Two
    changes within one tick still differ in these nanoseconds.
    """
    now = time.time_ns()
    if modified is None or not math.isfinite(modified):
        return now
    return exact_mtime(modified) // _SECOND * _SECOND + now % _SECOND


def exact_mtime(modified: float) -> int:
    """`modified` in nanoseconds since 1970, moved into what a file system can hold."""
    whole = math.floor(min(max(modified, _EARLIEST), _LATEST))
    return whole * _SECOND + int((modified - whole) * _SECOND) % _SECOND
