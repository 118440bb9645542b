"""A davstore over each kind of store for each test file, and a folder in it for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.web.rest.face import Rest

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["folder", "mongo"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _shared_mongod: Mongod,
) -> Iterator[DavServer]:
    """Everything at its default: all workers, full durability, anonymous on loopback."""
    home = tmp_path_factory.mktemp("davstore")
    if request.param == "folder":
        with DavServer(home, home / "root") as running:
            yield running
            assert "Traceback" not in running.said(), running.tail(20000)
        return
    with _shared_mongod.database() as database:
        with DavServer.over_mongo(home, _shared_mongod.uri, database) as running:
            yield running
            assert "Traceback" not in running.said(), running.tail(20000)


@pytest.fixture
def client(server: DavServer) -> Client:
    """Speaks WebDAV to it."""
    return Client(server.address)


@pytest.fixture
def rest(server: DavServer) -> Rest:
    """Speaks to its REST face."""
    return Rest(Client(server.address))


@pytest.fixture
def place(client: Client) -> str:
    """The path of a folder that only one test uses, without a slash at its end."""
    path = f"/place-{next(_numbers)}"
    assert client("MKCOL", path).status == 201
    return path
