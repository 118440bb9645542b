"""A process that dies at a chosen step: right before a system call or an SQL statement."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from davstore.stores.base import Store
from tests.stores.harness import Opener

#: What changes something outside the process. `rename_with` stands for renameat2(2).
STEPS = frozenset(
    {
        "copy_file_range",
        "execute",
        "fchmod",
        "flock",
        "mkdir",
        "rename",
        "rename_with",
        "rmdir",
        "unlink",
        "utime",
        "write",
    }
)

_DIED = 9
_FAILED = 1


def dies_before(opener: Opener, change: Callable[[Store], object], step: int) -> bool:
    """Make `change` in a child process that dies right before its step number `step`.

    False when it had fewer steps and came to its end, after which it dies, too.
    """
    child = os.fork()
    if child == 0:
        try:
            _make_until(opener(), change, step)
            os._exit(0)
        except BaseException as error:
            print(f"the child failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(_FAILED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, _DIED), f"exit status {code}"
    return code == _DIED


def _make_until(store: Store, change: Callable[[Store], object], step: int) -> None:
    left = step

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        if event == "c_call":
            name = argument.__name__
        elif event == "call":
            name = frame.f_code.co_name
        else:
            return
        if name not in STEPS or "davstore" not in frame.f_code.co_filename:
            return
        if left == 0:
            os._exit(_DIED)
        left -= 1

    sys.setprofile(count)
    change(store)
    sys.setprofile(None)
