"""A few threads, and never more than a few jobs that wait for them."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from davstore.transfer.tally import Tally

#: Jobs per thread that are handed out ahead, so that no thread waits for the walk.
_AHEAD = 4

#: Seconds between two looks at the progress while there is nothing else to do.
_TICK = 0.1


class Pool:
    """Runs jobs in `jobs` threads. `tick` is called again and again, in the caller's thread.

    As a context manager: leaving it waits for the jobs; with an exception it has them stop.
    """

    def __init__(self, jobs: int, tally: Tally, tick: Callable[[], None]) -> None:
        self._executor = ThreadPoolExecutor(jobs)
        self._most = jobs * _AHEAD
        self._tally = tally
        self._tick = tick
        self._waiting: set[Future[None]] = set()

    def submit(self, job: Callable[[], None]) -> None:
        """Wait until there is room for `job`. Raises Stopped, and what an earlier job raised."""
        self.look_up()
        while len(self._waiting) >= self._most:
            self._wait()
        self._waiting.add(self._executor.submit(job))

    def _wait(self) -> None:
        done, self._waiting = concurrent.futures.wait(
            self._waiting, _TICK, concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            future.result()
        self.look_up()

    def look_up(self) -> None:
        """To be called between two pieces of work. Raises Stopped."""
        self._tick()
        self._tally.must_go_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                while self._waiting:
                    self._wait()
        except BaseException:
            self._end()
            raise
        if error is not None:
            self._end()
        self._executor.shutdown()

    def _end(self) -> None:
        """Have the running jobs stop at their next piece, and the waiting ones not begin."""
        self._tally.stop("an error")
        self._executor.shutdown(cancel_futures=True)
