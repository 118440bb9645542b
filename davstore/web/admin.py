"""The application of the admin listener: /healthz, /readyz, /metrics. For programs of the same
operator: it asks nobody who they are, and tells nothing to pages of other origins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry

from davstore import __version__
from davstore.server.tallies import Tallies
from davstore.web.figures import Figures
from davstore.web.health import Health
from davstore.web.metrics import Metrics, storage_latency
from davstore.web.probes import Probe
from davstore.web.watching import Watched

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"

OK: Final = "200 OK"
UNAVAILABLE: Final = "503 Service Unavailable"

#: How long the first answers of the shares are waited for, in seconds: a housekeeper that takes
#: over is to say nothing that it does not know.
_FIRST_ANSWERS: Final = 1.0

#: Status, content type, body.
Page = tuple[str, str, bytes]


class AdminApp:
    """A WSGI application. No page waits for a share or a database."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._pages: dict[str, Callable[[WSGIEnvironment], Page]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics_page,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = self._pages.get(environ["PATH_INFO"])
        extra: list[tuple[str, str]] = []
        if page is None:
            names = ", ".join(self._pages)
            status, kind, body = "404 Not Found", _TEXT, f"There are {names}.\n".encode()
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, kind, body = "405 Method Not Allowed", _TEXT, b"Only GET and HEAD.\n"
            extra = [("Allow", "GET, HEAD")]
        else:
            status, kind, body = page(environ)
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *extra,
        ]
        start_response(status, headers)
        return [body]

    def _healthz(self, environ: WSGIEnvironment) -> Page:
        seconds = time.time() - self._health.alive_since
        return _json(OK, {"alive": True, "version": __version__, "seconds": round(seconds, 3)})

    def _readyz(self, environ: WSGIEnvironment) -> Page:
        report = self._health.report()
        return _json(OK if report["ready"] else UNAVAILABLE, report)

    def _metrics_page(self, environ: WSGIEnvironment) -> Page:
        kind, text = self._metrics.exposition(environ.get("HTTP_ACCEPT", ""))
        return OK, kind, text


def build_admin(
    shares: Mapping[str, Watched],
    tallies: Tallies,
    restarts: Callable[[], int],
    leaving: threading.Event,
    stop: threading.Event,
) -> AdminApp:
    """The application, with its threads, which end some time after `stop` is set. `leaving` means
    that the node is not ready any more; `restarts` tells how many workers were replaced."""
    registry = CollectorRegistry()
    latency = storage_latency(registry)
    probes = {
        mount: Probe(share.check, stop, latency.labels(mount).observe)
        for mount, share in shares.items()
    }
    health = Health(probes, tallies.is_any_ready, leaving)
    figures = {mount: Figures(share.sources) for mount, share in shares.items() if share.sources}
    metrics = Metrics(registry, tallies, restarts, figures, health)
    health.await_answers(_FIRST_ANSWERS)
    health.watch(stop)
    return AdminApp(health, metrics)


def _json(status: str, told: dict[str, Any]) -> Page:
    return status, _JSON, json.dumps(told, indent=1).encode() + b"\n"
