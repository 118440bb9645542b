"""What /metrics shows, for Prometheus. The table of all metrics is in docs/operations.md."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from davstore import __version__
from davstore.server.tallies import STEPS, Tallies, Times, Totals
from davstore.web.figures import Figures
from davstore.web.health import Health

_PLAIN: Final = "text/plain"

#: Of a share, by the names of its figures.
_OF_SHARES: Final = {
    "locks": "Locks that are held.",
    "used_bytes": "Bytes that the share's quota is held against.",
    "quota_bytes": "Bytes that the share may hold.",
    "reclaim_backlog": "Background duties of the database: all there are.",
    "reclaim_due": "Background duties of the database that are due.",
    "reclaim_oldest_due_seconds": "Since when the oldest of them has been due.",
}

#: Seconds; a database in the same rack answers in less than one millisecond.
_LATENCIES: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)


def storage_latency(registry: CollectorRegistry) -> Histogram:
    """By share: what is to be told how long each answer of a probe took."""
    return Histogram(
        "davstore_storage_latency_seconds",
        "How long the share took to answer when it was asked whether it works.",
        ["share"],
        registry=registry,
        buckets=_LATENCIES,
    )


class Metrics(Collector):
    """All of a node. `figures` by mount; `restarts` tells how many workers were replaced.
    `registry` may hold others, which are shown as well."""

    def __init__(
        self,
        registry: CollectorRegistry,
        tallies: Tallies,
        restarts: Callable[[], int],
        figures: Mapping[str, Figures],
        health: Health,
    ) -> None:
        self._tallies = tallies
        self._restarts = restarts
        self._figures = figures
        self._health = health
        self._registry = registry
        registry.register(self)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """Content type and text, in the format that the Accept header asks for."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # The header names a version that is none, which the library trips over.
            encode, content_type = choose_encoder(_PLAIN)
        return content_type, encode(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: to be registered it need not ask anybody."""
        return []

    def collect(self) -> Iterator[Metric]:
        wanted = {mount: figures.want() for mount, figures in self._figures.items()}
        totals = self._tallies.read()
        yield from _of_requests(totals)
        yield _counter("worker_restarts", "Workers that had to be replaced.", self._restarts())
        yield _gauge("workers_ready", "Workers that take requests.", totals.ready)
        yield from self._of_health()
        yield from self._of_shares(wanted)
        yield _build()

    def _of_health(self) -> Iterator[Metric]:
        report = self._health.report()
        yield _gauge("ready", "Whether this node is to be given requests.", report["ready"])
        up = GaugeMetricFamily("davstore_share_up", "Whether the share works.", labels=["share"])
        for mount, share in report["shares"].items():
            up.add_metric([mount], share["ok"])
        yield up

    def _of_shares(self, wanted: Mapping[str, int]) -> Iterator[Metric]:
        until = time.monotonic() + Figures.PATIENCE
        numbers = {mount: self._figures[mount].read(turn, until) for mount, turn in wanted.items()}
        for name, what in _OF_SHARES.items():
            family = GaugeMetricFamily(f"davstore_{name}", what, labels=["share"])
            for mount, found in numbers.items():
                if name in found:
                    family.add_metric([mount], found[name])
            if family.samples:
                yield family


def _of_requests(totals: Totals) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "davstore_requests", "Requests that were answered.", labels=["method", "status"]
    )
    for (method, status), count in sorted(totals.requests.items()):
        requests.add_metric([method, str(status)], count)
    yield requests
    durations = HistogramMetricFamily(
        "davstore_request_duration_seconds",
        "From the whole request head to the end of the response, by kind of method.",
        labels=["kind"],
    )
    for kind, times in totals.times.items():
        durations.add_metric([kind], _buckets(times), times.seconds)
    yield durations
    yield _counter("received_bytes", "Bytes of request bodies.", totals.received)
    yield _counter("sent_bytes", "Bytes of response bodies.", totals.sent)
    yield _gauge("running_requests", "Requests that are being answered.", totals.running)
    yield _gauge("open_connections", "Connections of clients.", totals.connections)


def _buckets(times: Times) -> list[tuple[str, float]]:
    """As Prometheus has them: each with all below it."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for end, count in zip((*map(str, STEPS), "+Inf"), times.counts, strict=True):
        total += count
        buckets.append((end, total))
    return buckets


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"davstore_{name}", what, value)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"davstore_{name}", what, value)


def _build() -> GaugeMetricFamily:
    build = GaugeMetricFamily(
        "davstore_build_info", "Always 1; what runs here.", labels=["version", "python"]
    )
    build.add_metric([__version__, platform.python_version()], 1)
    return build
