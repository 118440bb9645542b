"""The table of metrics in the manual has all there are, and no others."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from davstore.server.tallies import Tallies
from davstore.web.figures import Figures, Source
from davstore.web.health import Health
from davstore.web.metrics import Metrics, storage_latency

_MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"
_ROW = re.compile(r"^\| (`davstore_[a-z_`, ]+) \|", re.MULTILINE)
_NUMBERS = (
    *("locks", "used_bytes", "quota_bytes"),
    *("reclaim_backlog", "reclaim_due", "reclaim_oldest_due_seconds"),
)


def test_the_table_names_every_metric_and_no_other() -> None:
    health = Health({}, lambda: True, threading.Event())
    figures = {"/": Figures([Source(lambda: dict.fromkeys(_NUMBERS, 1.0), 1000.0)])}
    registry = CollectorRegistry()
    storage_latency(registry).labels("/").observe(0.1)
    _, text = Metrics(registry, Tallies(), lambda: 0, figures, health).exposition("")
    shown = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text.decode())
        if not family.name.endswith("_created")
    }
    told = {
        name
        for row in _ROW.findall(_MANUAL.read_text(encoding="utf-8"))
        for name in re.findall(r"`(\w+)`", row)
    }
    assert shown == told
