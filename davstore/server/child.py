"""What every child of the supervisor begins and ends with."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Exit statuses of a child: it could not begin; it failed (as sysexits' EX_SOFTWARE).
CANNOT_START = 4
FAILED = 70

#: What the supervisor is told by. In the children these stay blocked and are waited for.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

#: What the supervisor tells children besides SIGTERM: the node is about to leave (to the
#: housekeeper); a successor is there, end without haste (to all).
LEAVE = signal.SIGUSR1
RETIRE = signal.SIGUSR2

#: All that children wait for, or ignore.
_BLOCKED = (*SIGNALS, LEAVE, RETIRE)

_PR_SET_PDEATHSIG = 1


def fork(run: Callable[[], int]) -> int:
    """Run `run` in a child, whose exit status it returns. Returns the child's process id.

    A signal cannot hit the child before it is ready for it: all are blocked meanwhile. Raises
    OSError when the system has no room for another process.
    """
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    if pid:
        return pid
    status = FAILED
    try:
        _settle(parent)
        status = run()
    except BaseException:
        _log.exception("Process %d failed", os.getpid())
    finally:
        # Not sys.exit: what the parent has on its stack is not the child's to unwind, also when
        # an output is closed or full.
        try:
            _flush()
        finally:
            os._exit(status)


def _flush() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as Python has it when the descriptor was closed at its start
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _settle(parent: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # An interrupt from the keyboard reaches the whole group; what follows is the supervisor's part.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies, however that happens.

    Stronger than a pipe whose end is watched: it needs no thread of ours to be alive and well.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It died before the kernel knew.
        os._exit(FAILED)
