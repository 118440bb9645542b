"""The long-running check of `make soak`, for a few seconds."""

from __future__ import annotations

from pathlib import Path

from bench.soak import soak
from tests.components.davserver import DavServer


def test_clients_that_know_what_they_must_read_find_nothing_wrong(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        assert soak(server, seconds=6, clients=8, seed=1) > 50
