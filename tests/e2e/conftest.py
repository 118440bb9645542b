"""A davstore over a folder for each test file, and a folder of its own in it for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client

_numbers = itertools.count(1)


class Place(NamedTuple):
    """A folder that only one test uses: its path on the server, and where it lies on disk."""

    path: str
    folder: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """Everything at its default: all workers, full durability, anonymous on loopback."""
    home = tmp_path_factory.mktemp("davstore")
    with DavServer(home, home / "root") as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


@pytest.fixture
def client(server: DavServer) -> Client:
    return Client(server.address)


@pytest.fixture
def place(server: DavServer, client: Client) -> Place:
    path = f"/place-{next(_numbers)}/"
    assert client("MKCOL", path).status == 201
    assert server.root is not None
    return Place(path, server.root / path.strip("/"))


@pytest.fixture
def file(place: Place, client: Client) -> str:
    """The path of a file in `place`, called file.txt, with the content "content"."""
    path = f"{place.path}file.txt"
    assert client("PUT", path, b"content").status == 201
    return path
