"""A davstore over a folder for each test file, and a folder in it for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from davstore.client import Client
from tests.components.davserver import DavServer

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    home = tmp_path_factory.mktemp("davstore")
    with DavServer(home, home / "root") as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


@pytest.fixture
def files(server: DavServer) -> Iterator[Client]:
    """The client that is tried."""
    with Client(server.url) as client:
        yield client


@pytest.fixture
def place(files: Client) -> str:
    """The path of a folder that only one test uses, without a slash at its end."""
    return files.mkdir(f"/place-{next(_numbers)}").path
