"""What is opened when it is first needed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from davstore.lazily import Lazily


def test_it_is_opened_once_however_many_ask() -> None:
    calls: list[int] = []

    def opener() -> str:
        calls.append(1)
        return "opened"

    lazily = Lazily(opener)
    assert lazily.opened is None
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: lazily.get(), range(50))) == {"opened"}
    assert len(calls) == 1
    assert lazily.opened == "opened"


def test_who_waits_for_an_attempt_that_fails_fails_with_it_and_later_ones_try_again() -> None:
    threads = 8
    entered, attempts = threading.Semaphore(0), []

    def opener() -> str:
        attempts.append(1)
        for _ in range(threads if len(attempts) == 1 else 0):
            assert entered.acquire(timeout=20)
        raise OSError("away")

    lazily = Lazily(opener)

    def ask() -> None:
        entered.release()
        with pytest.raises(OSError, match="away"):
            lazily.get()

    with ThreadPoolExecutor(threads) as pool:
        for each in [pool.submit(ask) for _ in range(threads)]:
            each.result(20)
    # One by one it would be eight; the last to enter may just miss the first attempt.
    assert len(attempts) <= 2
    with pytest.raises(OSError, match="away"):
        lazily.get()
    assert lazily.opened is None
