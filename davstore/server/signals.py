"""Signals of the supervisor: as bytes in a pipe, so that nothing happens in between."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Iterator

from davstore.server import child


@contextlib.contextmanager
def signals_to(fd: int) -> Iterator[None]:
    """Have each signal's number written to `fd`, and nothing else happen.

    Afterwards they are ignored: a request to stop that comes again while the process ends
    must not give it another exit status, or a traceback.
    """
    # In this order no signal can fall between the two.
    wakeup = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    for number in child.SIGNALS:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in child.SIGNALS:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.set_wakeup_fd(wakeup)


def ended(pid: int) -> int | None:
    """The wait status of a child of ours that has ended."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Somebody else in this process has waited for it.
        return 0
    return status if done else None


def reap_orphans(own: Collection[int]) -> None:
    """As process 1 of a container: reap what has ended there and is none of the `own` children.

    The kernel gives process 1 every process whose parent has ended, such as what a health
    check leaves that was killed.
    """
    if os.getpid() != 1:
        return
    with contextlib.suppress(ChildProcessError):
        # One of our own that is met here ended just now; its signal brings us back.
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid in own:
                return
            ended(found.si_pid)


def send(pid: int, number: signal.Signals) -> None:
    """To a child that is not reaped yet, so that the number is still its own."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
