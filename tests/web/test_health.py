"""What the admin listener says while a share hangs, fails, or tells more than it should."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

from davstore.config import MemoryShare
from davstore.errors import ConfigError, Unavailable
from davstore.server.tallies import Tallies
from davstore.stores.memory import MemoryStore
from davstore.stores.mongo.store import MongoStore
from davstore.web.figures import Figures, Source
from davstore.web.health import NO_WORKER, STOPPING, Health
from davstore.web.metrics import Metrics
from davstore.web.probes import Probe, State
from davstore.web.watching import watched
from tests.components.processes import free_port, wait_until


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class Share:
    """The test decides what it answers: raises `error`; hangs while `gate` is closed."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0

    def check(self, seconds: float) -> None:
        self.asked += 1
        assert self.gate.wait(30), "the test has left it hanging"
        if self.error is not None:
            raise self.error

    def probe(self, stop: threading.Event) -> Probe:
        return Probe(self.check, stop, lambda _: None, hangs=0.2, pause=0.01)


def _until(look: Callable[[], object], what: str) -> None:
    wait_until(look, 5, what)


def test_a_share_that_hangs_fails_since_it_was_asked(stop: threading.Event) -> None:
    share = Share()
    probe = share.probe(stop)
    _until(lambda: probe.state().error is None, "a good answer")
    before = time.time()
    share.gate.clear()
    _until(lambda: probe.state().error is not None, "a failure")
    failed = probe.state()
    assert failed.error is not None
    assert "does not answer" in failed.error
    assert before - 0.1 <= failed.since <= time.time() - 0.2
    share.gate.set()
    _until(lambda: probe.state().error is None, "a good answer again")
    assert probe.state().since > failed.since


def test_since_is_that_of_the_change_and_not_of_the_last_look(stop: threading.Event) -> None:
    share = Share()
    probe = share.probe(stop)
    _until(lambda: probe.state().error is None, "a good answer")
    good = probe.state()
    asked = share.asked
    _until(lambda: share.asked > asked + 3, "more looks")
    assert probe.state() == good
    share.error = Unavailable("/", "First.")
    _until(lambda: probe.state().error == "First.", "the first error")
    since = probe.state().since
    share.error = Unavailable("/", "Second.")
    _until(lambda: probe.state().error == "Second.", "the second error")
    assert probe.state() == State("Second.", since)


@pytest.mark.parametrize("error", [ConfigError(["mongodb://ann:secret@db"]), ValueError("secret")])
def test_what_may_hold_an_address_stays_in_the_log(
    stop: threading.Event, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    share = Share()
    share.error = error
    with caplog.at_level(logging.ERROR):
        probe = share.probe(stop)
        probe.answered.wait(5)
    assert "secret" not in str(probe.state().error)
    assert "the log says why" in str(probe.state().error)
    assert "secret" in caplog.text


def test_a_database_that_is_not_there_is_told_without_its_address() -> None:
    store = MongoStore(f"mongodb://ann:secret@127.0.0.1:{free_port()}/tree")
    began = time.monotonic()
    with pytest.raises(Unavailable) as raised:
        store.probe(0.5)
    assert time.monotonic() - began < 2
    assert "does not answer" in raised.value.detail
    assert "secret" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)
    store.close()


def test_not_ready_without_a_worker_and_once_the_node_leaves(
    stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    share, leaving, workers = Share(), threading.Event(), [True]
    probe = share.probe(stop)
    health = Health({"/x": probe}, lambda: bool(workers), leaving)
    health.await_answers(5)
    with caplog.at_level(logging.INFO):
        assert health.report()["ready"] is True
        workers.clear()
        report = health.report()
        assert (report["ready"], report["reasons"]) == (False, [NO_WORKER])
        assert health.report()["since"] == report["since"]
        workers.append(True)
        assert health.report()["ready"] is True
        leaving.set()
        assert health.report()["reasons"] == [STOPPING]
    told = [record.message for record in caplog.records]
    assert told == [f"Not ready: {NO_WORKER}", "Ready", f"Not ready: {STOPPING}"]


def test_readiness_and_metrics_are_there_at_once_while_everything_hangs(
    stop: threading.Event,
) -> None:
    share, gate = Share(), threading.Event()
    share.gate.clear()
    probe = share.probe(stop)

    def hang() -> dict[str, float]:
        assert gate.wait(30), "the test has left it hanging"
        return {"locks": 7}

    health = Health({"/x": probe}, lambda: True, threading.Event())
    figures = {"/x": Figures([Source(hang, 0.0)]), "/y": Figures([Source(hang, 0.0)])}
    metrics = Metrics(CollectorRegistry(), Tallies(), lambda: 0, figures, health)
    began = time.monotonic()
    assert health.report()["ready"] is False
    assert time.monotonic() - began < 0.2
    began = time.monotonic()
    assert b"davstore_locks" not in metrics.exposition("")[1]
    assert time.monotonic() - began < 2 * Figures.PATIENCE
    gate.set()
    _until(lambda: b'davstore_locks{share="/x"} 7.0' in metrics.exposition("")[1], "the locks")
    share.gate.set()


def test_numbers_of_a_share_that_fails_are_not_those_of_before(stop: threading.Event) -> None:
    fails: list[Exception] = []

    def gather() -> dict[str, float]:
        for error in fails:
            raise error
        return {"locks": 7}

    source = Source(gather, 0.0)
    assert source.numbers() == {"locks": 7}
    for error in (Unavailable("/"), ValueError("unexpected")):
        fails[:] = [error]
        assert source.numbers() == {}
    fails.clear()
    assert source.numbers() == {"locks": 7}


def test_numbers_are_asked_for_no_oftener_than_they_change() -> None:
    numbers = itertools.count(1)
    source = Source(lambda: {"asked": float(next(numbers))}, 1000.0)
    assert [source.numbers() for _ in range(3)] == [{"asked": 1.0}] * 3


def test_a_share_in_memory_is_the_workers_and_has_no_numbers_here() -> None:
    share = watched(MemoryShare(store="memory"), MemoryStore, lambda _: 0)
    share.check(1.0)
    assert share.sources == []
