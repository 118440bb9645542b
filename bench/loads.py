"""The loads: what is asked, and how a rate is read.

Each load is one column of the table. Small requests come from wrk with 16 connections; whole
large files go through curl. Before or after each, the answer itself is looked at.
"""

from __future__ import annotations

import mmap
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.checks import Refused, check_content, check_listing, check_size
from bench.layout import HUGE, MIB, SMALL
from tests.components.found import locate

CONNECTIONS = 16

#: Bytes of memory that are touched before a large upload.
_TOUCHED = 6 << 30

#: wrk tells the bytes it read with three or four digits.
_ROUNDED = 0.98
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

_PROPFIND = """
wrk.method = "PROPFIND"
wrk.headers["Depth"] = "{depth}"
"""

_PUT = """
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end
function init(arguments)
  count = 0
  local bytes = {}
  for at = 1, 4096 do bytes[at] = string.char(math.random(0, 255)) end
  content = table.concat(bytes)
end
function request()
  count = count + 1
  return wrk.format("PUT", "/put/" .. number .. "-" .. count, nil, content)
end
"""


@dataclass(frozen=True)
class Column:
    """`digits` are the decimals to print. `larger_is_better` tells how a ratio is made."""

    key: str
    title: str
    digits: int = 0
    larger_is_better: bool = True


@dataclass(frozen=True)
class Load:
    """`measure(url, scratch, seconds)` returns the figure or raises Refused.

    `scratch` is a folder for scripts, in which the file to upload lies.
    """

    column: Column
    measure: Callable[[str, Path, int], float]


def _wrk(url: str, seconds: int, script: Path | None = None, length: int = 0) -> float:
    """Requests per second.

    Raises Refused when any answer was not a success, or when the answers had less than `length`
    bytes each.
    """
    argv = [str(locate("wrk")), "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    argv += ["-s", str(script)] if script else []
    said = subprocess.run([*argv, url], capture_output=True, text=True, check=True).stdout
    wrong = re.search(r"Non-2xx or 3xx responses: \d+|Socket errors:.*", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    total = re.search(r"(\d+) requests in .*, ([\d.]+)([KMG]?B) read", said)
    if wrong or rate is None or total is None or total[1] == "0":
        raise Refused(wrong[0] if wrong else said)
    each = float(total[2]) * _UNITS[total[3]] / int(total[1])
    if each < length * _ROUNDED:
        raise Refused(f"{each:.0f} bytes in each answer instead of {length}")
    return float(rate[1])


def _get(path: str, length: int) -> Callable[[str, Path, int], float]:
    def measure(url: str, _scratch: Path, seconds: int) -> float:
        return _wrk(url + path, seconds, length=check_content(url + path, length))

    return measure


def _propfind(path: str, depth: int, count: int) -> Callable[[str, Path, int], float]:
    def measure(url: str, scratch: Path, seconds: int) -> float:
        file = scratch / f"propfind-{depth}.lua"
        file.write_text(_PROPFIND.format(depth=depth), encoding="utf-8")
        length = check_listing(url + path, depth, count)
        return _wrk(url + path, seconds, file, length)

    return measure


def _put(url: str, scratch: Path, seconds: int) -> float:
    file = scratch / "put.lua"
    file.write_text(_PUT, encoding="utf-8")
    rate = _wrk(url, seconds, file)
    _check_put(url)
    return rate


def _check_put(url: str) -> None:
    """One of the first files is read back.

    The name 0-1 is never sent: wrk tries the script once. And a server with few threads may
    serve the connections of one of wrk's threads only.
    """
    try:
        check_content(f"{url}put/0-2", SMALL)
    except Refused:
        check_content(f"{url}put/1-1", SMALL)


def curl(*arguments: str) -> float:
    """Seconds that the transfer took. Raises Refused."""
    argv = [str(locate("curl")), "-sS", "-o", "/dev/null", "-w", "%{http_code} %{time_total}"]
    argv += ["-H", "Expect:"]
    said = subprocess.run([*argv, *arguments], capture_output=True, text=True, check=False)
    status, _, seconds = said.stdout.partition(" ")
    if said.returncode or not status.startswith("2"):
        raise Refused(f"status {status} {said.stderr}")
    return float(seconds)


def _get_huge(url: str, _scratch: Path, _seconds: int) -> float:
    check_size(f"{url}huge.bin", HUGE)
    return statistics.median(HUGE / MIB / curl(f"{url}huge.bin") for _ in range(3))


def _touch_memory() -> None:
    """Have the host of a virtual machine give it some memory now.

    A host gives it page by page, at 500 MiB/s where this was measured, and takes back what is
    idle: who writes the most copies of a file would be measured by that.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    how = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, min(_TOUCHED, free // 2), flags=how).close()


def _put_huge(url: str, scratch: Path, _seconds: int) -> float:
    """From a file that nobody has to read from a disk, into a new name."""
    _touch_memory()
    target = f"{url}put/huge-{time.monotonic_ns()}.bin"
    rate = HUGE / MIB / curl("-T", str(scratch / "huge.bin"), target)
    check_size(target, HUGE)
    return rate


def _propfind_many(url: str, _scratch: Path, _seconds: int) -> float:
    target = f"{url}ten-thousand/"
    check_listing(target, 1, 10_001)
    return statistics.median(curl("-X", "PROPFIND", "-H", "Depth: 1", target) for _ in range(3))


LOADS = (
    Load(Column("get-4k", "GET 4 KiB /s"), _get("small.bin", SMALL)),
    Load(Column("get-1m", "GET 1 MiB /s"), _get("large.bin", MIB)),
    Load(Column("propfind-0", "PROPFIND 0 /s"), _propfind("small.bin", 0, 1)),
    Load(Column("propfind-100", "PROPFIND 1, 100 files /s"), _propfind("hundred/", 1, 101)),
    Load(Column("put-4k", "PUT 4 KiB /s"), _put),
    Load(Column("put-512m", "PUT 512 MiB MiB/s"), _put_huge),
    Load(Column("get-512m", "GET 512 MiB MiB/s"), _get_huge),
    Load(
        Column("propfind-10000", "PROPFIND 1 of 10,000 files, s", 2, larger_is_better=False),
        _propfind_many,
    ),
)

COLUMNS = tuple(load.column for load in LOADS)
