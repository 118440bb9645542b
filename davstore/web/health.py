"""Whether this node is to be given requests, and what keeps it from answering them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from davstore import __version__
from davstore.web.probes import Probe

_log = logging.getLogger(__name__)

#: Seconds between two looks while nobody asks, so that the log tells of each change.
_LOOK_EVERY: Final = 0.5

STOPPING: Final = "stopping"
NO_WORKER: Final = "no worker answers"


class Health:
    """`probes` by mount. `has_worker` says whether any worker takes requests; `leaving` is set when
    the node goes for good. Every method answers at once."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        has_worker: Callable[[], bool],
        leaving: threading.Event,
    ) -> None:
        self._probes = probes
        self._has_worker = has_worker
        self._leaving = leaving
        self._lock = threading.Lock()
        #: What was wrong at the last look, and since when it is as it is (time.time()).
        self._reasons: list[str] | None = None
        self._since = time.time()
        self.alive_since = time.time()

    def watch(self, stop: threading.Event) -> None:
        """Look again and again, in a thread of its own, until `stop` is set."""

        def run() -> None:
            while not stop.wait(_LOOK_EVERY):
                self.report()

        threading.Thread(target=run, name="health", daemon=True).start()

    def await_answers(self, seconds: float) -> None:
        """Until each share has answered once, but no longer than so many seconds."""
        until = time.monotonic() + seconds
        for probe in self._probes.values():
            probe.answered.wait(max(0.0, until - time.monotonic()))

    def report(self) -> dict[str, Any]:
        """What /readyz says, for JSON. `since` is when it became ready, or ceased to be; times are
        ISO 8601 in UTC."""
        states = {mount: probe.state() for mount, probe in self._probes.items()}
        reasons = [STOPPING] if self._leaving.is_set() else []
        if not self._has_worker():
            reasons.append(NO_WORKER)
        reasons += [
            f"the share at {mount}: {state.error}"
            for mount, state in states.items()
            if state.error is not None
        ]
        return {
            "ready": not reasons,
            "since": _iso(self._noted(reasons)),
            "reasons": reasons,
            "shares": {
                mount: {"ok": state.error is None, "error": state.error, "since": _iso(state.since)}
                for mount, state in states.items()
            },
            "version": __version__,
        }

    def _noted(self, reasons: list[str]) -> float:
        """Since when it is so."""
        with self._lock:
            before = self._reasons
            if before is None or bool(before) != bool(reasons):
                self._since = time.time()
            since, self._reasons = self._since, reasons
        if reasons and reasons != before:
            _log.warning("Not ready: %s", "; ".join(reasons))
        elif before and not reasons:
            _log.info("Ready")
        return since


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
