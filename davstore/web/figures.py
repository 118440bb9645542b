"""Numbers that have to be asked for, of a share: gathered when somebody wants them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from davstore.errors import StoreError

_log = logging.getLogger(__name__)

#: By metric name without its prefix.
Numbers = dict[str, float]


class Source:
    """`gather` asks, raising StoreError; what it said holds for `seconds`."""

    def __init__(self, gather: Callable[[], Numbers], seconds: float) -> None:
        self._gather = gather
        self._seconds = seconds
        self._numbers: Numbers = {}
        self._until = float("-inf")

    def numbers(self) -> Numbers:
        """None at all when they cannot be had."""
        if time.monotonic() >= self._until:
            try:
                self._numbers = self._gather()
            except StoreError:
                # That it does not work is told elsewhere.
                self._numbers = {}
            except Exception:
                _log.exception("a share's numbers cannot be had")
                self._numbers = {}
            self._until = time.monotonic() + self._seconds
        return self._numbers


class Figures:
    """The numbers of one share. A thread of its own asks the sources, when somebody wants to know
    and never in between, so a share that hangs keeps nobody waiting."""

    #: How long a reader waits for new numbers before it takes the last ones, in seconds.
    PATIENCE: Final = 0.5

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._turn = threading.Condition()
        self._wanted = self._served = 0
        self._numbers: Numbers = {}
        threading.Thread(target=self._run, name="figures", daemon=True).start()

    def want(self) -> int:
        """Have the numbers looked at; returns what to wait for."""
        with self._turn:
            self._wanted += 1
            self._turn.notify_all()
            return self._wanted

    def read(self, wanted: int, until: float) -> Numbers:
        """The numbers, those of `wanted` if they are there before time.monotonic() is `until`."""
        with self._turn:
            left = max(0.0, until - time.monotonic())
            self._turn.wait_for(lambda: self._served >= wanted, left)
            return self._numbers

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._wanted > self._served)
                wanted = self._wanted
            numbers: Numbers = {}
            for source in self._sources:
                numbers |= source.numbers()
            with self._turn:
                self._numbers, self._served = numbers, wanted
                self._turn.notify_all()
