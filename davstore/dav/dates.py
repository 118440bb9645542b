"""Dates as HTTP (RFC 9110, 5.6.7) and WebDAV (RFC 3339, in creationdate) write them."""

from __future__ import annotations

import calendar
import time
from datetime import datetime
from email.utils import parsedate_tz
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

#: What gmtime and four-digit years carry; times outside are shown as the nearest.
_EARLIEST = -62135596800  # 0001-01-01
_LATEST = 253402300799  # 9999-12-31

#: Nanoseconds in 64 bits reach so many seconds away from 1970, a second left for rounding.
_FARTHEST = 2**63 // 10**9 - 1


@lru_cache(maxsize=8192)
def http_date(seconds: int) -> str:
    """`seconds` since 1970 as "Sun, 06 Nov 1994 08:49:37 GMT"."""
    t = time.gmtime(min(max(seconds, _EARLIEST), _LATEST))
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


@lru_cache(maxsize=8192)
def iso_date(seconds: int) -> str:
    """`seconds` since 1970 as "1994-11-06T08:49:37Z"."""
    t = time.gmtime(min(max(seconds, _EARLIEST), _LATEST))
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}Z"
    )


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970, or None: an invalid date is ignored (RFC 9110, 13.1.3)."""
    parsed = parsedate_tz(text)
    if parsed is None or parsed[9] is None:
        return None
    try:
        return calendar.timegm((*parsed[:6], 0, 0, 0)) - parsed[9]
    except (ValueError, OverflowError):
        return None


def parse_client_seconds(text: str) -> float | None:
    """A client's seconds since 1970 (X-OC-Mtime, DAV:lastmodified); None when unusable.

    Clients send whole seconds or decimals; neither a sign of infinity nor a time that no
    file system keeps is taken.
    """
    try:
        seconds = float(text.strip())
    except ValueError:
        return None
    return seconds if can_be_kept(seconds) and "_" not in text else None


def parse_iso_date(text: str) -> float | None:
    """Seconds since 1970 of a time with its zone (RFC 3339, 5.6), or None when it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def can_be_kept(seconds: float) -> bool:
    """Whether a file can have this time: 64 bits of nanoseconds, from 1677 to 2262."""
    return abs(seconds) <= _FARTHEST
