"""New connections are spread over the workers, and never wait for one who does not come."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.components.processes import is_alive, wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire

_ASK = b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _connected(stack: contextlib.ExitStack, server: AppServer, count: int) -> list[Wire]:
    return [stack.enter_context(server.wire()) for _ in range(count)]


def _holders(wires: list[Wire]) -> Counter[int]:
    """How many of the connections each worker has."""
    return Counter(int(wire.ask("GET", "/pid").text) for wire in wires)


def _is_stopped(pid: int) -> bool:
    """Whether all its threads are, so that none of them accepts anything."""
    states = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state.rpartition(")")[2].split()[0] == "T" for state in states)


@pytest.mark.parametrize("workers", [2, 4])
def test_connections_that_come_at_once_are_spread(start_server: StartServer, workers: int) -> None:
    server = start_server(workers=workers)
    with contextlib.ExitStack() as stack:
        held = _holders(_connected(stack, server, 8 * workers))
        # Each worker looks at the others' numbers, and leaves it when there is one with two fewer.
        assert len(held) == workers
        assert min(held.values()) >= 6, held


def test_connections_that_come_with_a_request_are_spread(start_server: StartServer) -> None:
    server = start_server(workers=2)
    with contextlib.ExitStack() as stack:
        wires = []
        for _ in range(16):
            wires += _connected(stack, server, 1)
            wires[-1].send(_ASK)
        held = Counter(int(wire.reply().text) for wire in wires)
        assert min(held.values()) >= 6, held


def test_a_worker_that_stands_still_keeps_nobody_waiting(start_server: StartServer) -> None:
    """It has fewer connections, answers nothing, and is not known to be dead."""
    server = start_server(workers=2)
    with contextlib.ExitStack() as stack:
        held = _holders(_connected(stack, server, 8))
        still, _ = min(held.items(), key=lambda item: item[1])
        os.kill(still, signal.SIGSTOP)
        wait_until(lambda: _is_stopped(still), 10, "its stop")
        try:
            start = time.monotonic()
            more = _holders(_connected(stack, server, 20))
            seconds = time.monotonic() - start
        finally:
            os.kill(still, signal.SIGCONT)
        assert still not in more
        assert seconds < 5


def test_a_worker_that_was_killed_keeps_nobody_waiting(start_server: StartServer) -> None:
    server = start_server(workers=2)
    with contextlib.ExitStack() as stack:
        held = _holders(_connected(stack, server, 8))
        dead = min(held)
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: not is_alive(dead), 10, "its death")
        start = time.monotonic()
        _holders(_connected(stack, server, 20))
        assert time.monotonic() - start < 5
