"""Byte ranges (RFC 9110, 14)."""

from __future__ import annotations

import itertools
import re

#: More ranges than this in one request, and it is answered whole (14.2 allows it): many tiny
#: ranges are an attack, not a download.
MAX_RANGES = 64

_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII)


class Unsatisfiable(Exception):
    """None of the ranges overlaps the content: 416."""


def parse(header: str, size: int) -> list[tuple[int, int]] | None:
    """The wanted (start, length) pairs of a content of `size` bytes, in the client's order.

    None when the header is to be ignored: an unknown unit, or not a list of ranges at all.
    Of several ranges those that cannot be satisfied are left out; overlapping ones are joined.
    Raises Unsatisfiable when none is left.
    """
    unit, separator, specs = header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    wanted = []
    for spec in specs.split(","):
        if not spec.strip():
            continue
        found = _parse_one(spec.strip(), size)
        if found is None:
            return None
        wanted.append(found)
    if not wanted or len(wanted) > MAX_RANGES:
        return None
    satisfiable = [(start, length) for start, length in wanted if length > 0]
    if not satisfiable:
        raise Unsatisfiable
    return satisfiable if len(satisfiable) == 1 else _joined(satisfiable)


def _parse_one(spec: str, size: int) -> tuple[int, int] | None:
    """(start, length); length 0 when it cannot be satisfied, None when it is malformed."""
    match = _SPEC.fullmatch(spec)
    if match is None or spec == "-":
        return None
    first, last = match.groups()
    if not first:
        length = min(_position(last), size)
        return size - length, length
    start = _position(first)
    end = _position(last) if last else max(start, size - 1)
    if end < start:
        return None
    return start, max(0, min(end, size - 1) - start + 1)


def _position(digits: str) -> int:
    """`digits` as a number; beyond any file's size when there are more than fit one."""
    return int(digits) if len(digits) <= 18 else 10**18


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`ranges` unless some overlap; then joined and in ascending order (14.2)."""
    ordered = sorted(ranges)
    if all(a + n <= b for (a, n), (b, _) in itertools.pairwise(ordered)):
        return ranges
    joined = [ordered[0]]
    for start, length in ordered[1:]:
        last_start, last_length = joined[-1]
        if start <= last_start + last_length:
            end = max(last_start + last_length, start + length)
            joined[-1] = (last_start, end - last_start)
        else:
            joined.append((start, length))
    return joined
