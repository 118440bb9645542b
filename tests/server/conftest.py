"""Servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.server.harness import AppServer
from tests.server.wire import Wire

StartServer = Callable[..., AppServer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """One for all tests of a module that change nothing about it."""
    with AppServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own, with the settings given."""
    with ExitStack() as stack:

        def start(**given: Any) -> AppServer:
            return stack.enter_context(AppServer(tmp_path, **given))

        yield start


@pytest.fixture
def wire(server: AppServer) -> Iterator[Wire]:
    with server.wire() as connected:
        yield connected
