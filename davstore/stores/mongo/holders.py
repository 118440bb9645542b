"""Who is writing to an upload: a process, told apart from every other one.

On one host a process that has died is seen to be dead at once; of one on another host only the
end of its hold tells.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=4)
def _this_process(pid: int) -> dict[str, Any]:
    return {"host": f"{socket.gethostname()} {_boot()}", "pid": pid, "since": started(pid)}


def this_process() -> dict[str, Any]:
    """As it is kept in the upload's document."""
    return dict(_this_process(os.getpid()))


def is_dead(holder: dict[str, Any]) -> bool:
    """Whether that process was on this host, in this boot, and is not there any more."""
    if holder.get("host") != this_process()["host"]:
        return False
    return bool(started(holder["pid"]) != holder["since"])


def started(pid: int) -> str | None:
    """When the process was started, in ticks since the boot (proc(5)); None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in parentheses, which may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
