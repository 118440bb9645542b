"""A server as real processes: started, waited for, watched, stopped, killed."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

T = TypeVar("T")

#: Those that run now, so that a failed test can show what they said.
RUNNING: list[ServerProcess] = []


class NotReady(AssertionError):
    """A server did not do what was waited for in time; the message holds its output."""


def wait_until(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first true answer of `look`, asked every 10 ms. Raises NotReady."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise NotReady(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port on loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")


def descendants(pid: int) -> list[int]:
    """All living processes below `pid`, parents before children."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found: list[int] = []
    wanted = [pid]
    for above in wanted:
        below = sorted(child for child, parent in parents.items() if parent == above)
        found += below
        wanted += below
    return found


def started_at(pid: int) -> float:
    """When the process began, as time.time() has it; infinite when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return math.inf
    # Counted in whole ticks since the machine was started.
    ticks = int(stat.rpartition(")")[2].split()[19]) + 1
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def rss(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


class ServerProcess:
    """One server and all its children, in a session of its own.

    A context manager: entering starts it and waits until it is ready, leaving stops it.
    """

    name = "server"

    def __init__(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self.port = 0
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> Self:
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._env,
            start_new_session=True,
        )
        RUNNING.append(self)
        try:
            self.wait_ready()
        except BaseException:
            self.kill9()
            raise
        return self

    def wait_ready(self, seconds: float = 30) -> None:
        """Until it takes connections at its port."""
        self.wait_until(self._answers, seconds, f"port {self.port}")

    def wait_until(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """As the function of this name; ends early, with the output, when the server died."""

        def look_at_living() -> T | None:
            if self._process is not None and self._process.poll() is not None:
                raise NotReady(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")
            return look()

        try:
            return wait_until(look_at_living, seconds, what)
        except NotReady as failed:
            raise NotReady(f"{self.name}: {failed}\n{self.tail()}") from None

    def _answers(self) -> bool:
        try:
            socket.create_connection(self.address, timeout=5).close()
        except OSError:
            return False
        return True

    def await_refusal(self) -> None:
        """Until no connection is accepted any more."""
        wait_until(self._refuses, 10, "the end of accepting")

    def _refuses(self) -> bool:
        try:
            # Asked anew before the kernel would: what comes in the moment of the end is dropped.
            socket.create_connection(self.address, timeout=0.1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def pids(self) -> list[int]:
        """The server itself and all its descendants."""
        return [self.pid, *descendants(self.pid)]

    def rss(self) -> dict[int, int]:
        """Resident bytes by process id."""
        return {pid: rss(pid) for pid in self.pids()}

    def said(self) -> str:
        """All that it wrote to its output and error output so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self, characters: int = 8000) -> str:
        return f"--- output of {self.name} ---\n{self.said()[-characters:]}"

    def stop(self, seconds: float = 20) -> int:
        """Ask it to end (TERM); returns its exit status. Kills it when it does not obey."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotReady(f"{self.name} did not stop in {seconds} s\n{self.tail()}") from None
        finally:
            self.kill9()

    def kill9(self) -> list[int]:
        """End every process of it at once, without a chance to tidy up; returns their ids.

        The whole session's group gets the signal in one call, so no supervisor can replace
        a worker in between; descendants that left the group follow.
        """
        if self._process is None:
            return []
        pids = self.pids() if self._process.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in pids[1:]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not any(map(is_alive, pids)), 10, f"the end of {pids}")
        self._forget()
        return pids

    def _forget(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None
        if self in RUNNING:
            RUNNING.remove(self)
        self._process = None

    @property
    def is_started(self) -> bool:
        return self._process is not None

    def __enter__(self) -> Self:
        return self if self.is_started else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_started:
            self.stop()
