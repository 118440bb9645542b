"""Slow and silent clients beside a normal one."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator

from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire

SLOW = 200
SILENT = 50
REQUESTS = 1000

#: Below this a median says more about the machine than about the server.
FLOOR = 0.003


def _median(wire: Wire) -> float:
    taken = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        assert wire.ask("GET", "/").status == 200
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


@contextlib.contextmanager
def _crowd(server: AppServer) -> Iterator[None]:
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(server.wire())
        slow = [stack.enter_context(server.wire()) for _ in range(SLOW)]
        for wire in slow:
            wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")

        def trickle() -> None:
            while not over.wait(0.2):
                for wire in slow:
                    wire.send(b"x" * 1000)

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def test_200_slow_uploads_and_50_silent_connections_leave_the_median_within_3_times_of_quiet(
    start_server: StartServer,
) -> None:
    server = start_server(workers=2)
    with server.wire() as wire:
        _median(wire)
        quiet = _median(wire)
        with _crowd(server):
            crowded = _median(wire)
        again = _median(wire)
    allowed = max(3 * max(quiet, again), FLOOR)
    print(f"median: quiet {quiet * 1e6:.0f} us, in the crowd {crowded * 1e6:.0f} us")
    assert crowded < allowed
