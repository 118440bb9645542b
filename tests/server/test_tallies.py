"""What workers count: exact with many threads and processes, and there after their death."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from davstore.server.tallies import KINDS, METHODS, STEPS, Tallies, Tally

_THREADS = 8
_EACH = 4000


@contextmanager
def _switching_often() -> Iterator[None]:
    """Threads change in the middle of whatever they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _in_a_worker(tallies: Tallies, count: Callable[[Tally], None], *, claims: int = 1) -> int:
    """The process id of a child that has counted, and waits to be killed."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            for _ in range(claims):
                count(tallies.claim())
            os.write(write, b".")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(read, 1) == b".", "the child failed"
    os.close(read)
    return pid


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _work(tally: Tally) -> None:
    tally.ready()
    tally.connections(lambda: 3)
    tally.begun()
    tally.done("GET", 200, 1, 10, 0.002)


def test_many_threads_of_one_worker_lose_nothing() -> None:
    tallies = Tallies()
    tally = tallies.claim()
    gate = threading.Barrier(_THREADS)

    def run() -> None:
        gate.wait()
        for _ in range(_EACH):
            tally.begun()
            tally.done("PUT", 201, 3, 5, 0.3)
            tally.ended()

    threads = [threading.Thread(target=run) for _ in range(_THREADS)]
    with _switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    totals, wanted = tallies.read(), _THREADS * _EACH
    assert totals.requests == {("PUT", 201): wanted}
    assert (totals.received, totals.sent, totals.running) == (3 * wanted, 5 * wanted, 0)
    assert sum(totals.times["write"].counts) == wanted
    assert abs(totals.times["write"].seconds - 0.3 * wanted) < 0.001 * wanted


def test_what_a_worker_counted_outlives_it_and_what_it_was_doing_does_not() -> None:
    tallies = Tallies()
    pid = _in_a_worker(tallies, _work)
    alive = tallies.read()
    assert (alive.ready, alive.running, alive.connections) == (1, 1, 3)
    assert tallies.is_any_ready()
    _kill(pid)
    dead = tallies.read()
    assert (dead.ready, dead.running, dead.connections) == (0, 0, 0)
    assert not tallies.is_any_ready()
    assert dead.requests == {("GET", 200): 1}
    assert (dead.received, dead.sent) == (1, 10)


def test_the_next_worker_goes_on_in_the_row_of_the_dead() -> None:
    tallies = Tallies()
    for _ in range(3):
        _kill(_in_a_worker(tallies, _work))
    pid = _in_a_worker(tallies, lambda tally: tally.done("GET", 200, 1, 10, 0.002))
    totals = tallies.read()
    _kill(pid)
    assert totals.requests == {("GET", 200): 4}
    assert (totals.ready, totals.running, totals.connections) == (0, 0, 0)
    assert len(tallies._used()) == 1


def test_workers_at_the_same_time_have_rows_of_their_own() -> None:
    tallies = Tallies()
    pids = [_in_a_worker(tallies, _work) for _ in range(5)]
    totals = tallies.read()
    for pid in pids:
        _kill(pid)
    assert totals.requests == {("GET", 200): 5}
    assert (totals.ready, totals.running, totals.connections) == (5, 5, 15)
    assert len(tallies._used()) == 5


def test_a_worker_that_reads_the_others_rows_keeps_its_own() -> None:
    """The locks of fcntl(2) would go with any descriptor of the file that is closed."""
    tallies = Tallies()

    def count(tally: Tally) -> None:
        _work(tally)
        tallies.read()
        gc.collect()

    pid = _in_a_worker(tallies, count)
    assert tallies.is_any_ready()
    _kill(pid)


@pytest.mark.parametrize(("connections", "has_fewer"), [(1, True), (2, True), (3, False)])
def test_a_worker_with_fewer_connections_is_found(connections: int, has_fewer: bool) -> None:
    tallies = Tallies()

    def count(tally: Tally) -> None:
        tally.connections(lambda: connections)
        tally.ready()

    mine = tallies.claim()
    mine.ready()
    pid = _in_a_worker(tallies, count)
    try:
        assert mine.another_has_fewer(3) is has_fewer
        assert not mine.another_has_fewer(0)
    finally:
        _kill(pid)
    # The counters of the dead are there still, but nobody is.
    assert not mine.another_has_fewer(3)


def test_who_answers_no_more_is_not_found_and_nobody_finds_himself() -> None:
    tallies = Tallies()
    others = [_in_a_worker(tallies, Tally.leaving), _in_a_worker(tallies, Tally.ready)]
    _kill(others[0])
    mine = tallies.claim()  # in the first row
    mine.ready()
    try:
        assert mine.another_has_fewer(1)
    finally:
        _kill(others[1])
    assert not mine.another_has_fewer(1)
    pid = _in_a_worker(tallies, Tally.leaving)
    try:
        assert not mine.another_has_fewer(1)
    finally:
        _kill(pid)


def test_a_worker_without_a_descriptor_left_sees_the_others() -> None:
    tallies = Tallies()
    mine = tallies.claim()
    pids = [_in_a_worker(tallies, Tally.ready) for _ in range(3)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        assert mine.another_has_fewer(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for pid in pids:
            _kill(pid)


def test_any_method_and_status_has_its_place() -> None:
    tallies = Tallies()
    tally = tallies.claim()
    for method in (*METHODS, "BREW", "", "-", "get"):
        for status in (100, 207, 599, 0, 600, -1):
            tally.done(method, status, 0, 0, 0.0)
    totals = tallies.read()
    assert totals.requests[("GET", 207)] == 1
    assert totals.requests[("GET", 500)] == 3
    assert totals.requests[("other", 599)] == 5
    assert sum(totals.requests.values()) == 6 * (len(METHODS) + 4)


def test_times_are_counted_in_the_step_that_they_end_in() -> None:
    tallies = Tallies()
    tally = tallies.claim()
    for seconds in (0.0, 0.001, 0.0011, 300.0, 301.0, 1e9):
        tally.done("LOCK", 200, 0, 0, seconds)
    counts = tallies.read().times["lock"].counts
    assert (counts[0], counts[1], counts[len(STEPS) - 1], counts[len(STEPS)]) == (2, 1, 1, 2)
    assert set(tallies.read().times) == set(KINDS)
