"""What keeps davstore from starting on a MongoDB is told in one sentence, with status 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.components.processes import free_port
from tests.mongo_e2e.starting import refused_start

_PASSWORD = "a word that nobody is to see"
_SECRET = _PASSWORD.replace(" ", "%20")


@pytest.mark.parametrize(
    "uri",
    ["postgres://127.0.0.1/files", "127.0.0.1:27017", "mongodb://", "mongodb://h:port/files"],
)
def test_an_address_that_is_none(tmp_path: Path, uri: str) -> None:
    said = refused_start(tmp_path, "--mongo", uri)
    assert "mongodb://" in said or "MongoDB address" in said, said


def test_an_unknown_host(tmp_path: Path) -> None:
    said = refused_start(tmp_path, "--mongo", "mongodb://no-such-host.invalid:27017/files")
    assert "database does not answer" in said


def test_a_port_at_which_nobody_listens(tmp_path: Path) -> None:
    said = refused_start(tmp_path, "--mongo", f"mongodb://127.0.0.1:{free_port()}/files")
    assert "database does not answer" in said


def test_a_database_of_a_newer_davstore(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    with mongod.client() as client:
        client[mongo_database]["davstore"].insert_one({"_id": "format", "version": 99})
    said = refused_start(tmp_path, "--mongo", f"mongodb://{mongod.host}/{mongo_database}")
    assert "newer" in said
    assert mongo_database in said
    with mongod.client() as client:
        assert client[mongo_database].list_collection_names() == ["davstore"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod that asks for passwords: "reader" may only read, "owner" everything in `files`."""
    home = tmp_path_factory.mktemp("guarded")
    with Mongod(home, options=["--auth"]) as running:
        with running.client() as client:
            client.admin.command("createUser", "root", pwd=_PASSWORD, roles=["root"])
        whole: MongoClient[dict[str, object]] = MongoClient(
            running.uri, username="root", password=_PASSWORD
        )
        with whole as client:
            files = client["files"]
            files.command("createUser", "reader", pwd=_PASSWORD, roles=["read"])
            files.command("createUser", "owner", pwd=_PASSWORD, roles=["readWrite"])
        yield running


def test_no_password_where_one_is_asked_for(tmp_path: Path, guarded: Mongod) -> None:
    said = refused_start(tmp_path, "--mongo", f"mongodb://{guarded.host}/files")
    assert "refuses" in said
    assert "requires authentication" in said


def test_a_wrong_password(tmp_path: Path, guarded: Mongod) -> None:
    uri = f"mongodb://owner:wr0ng-one@{guarded.host}/files"
    said = refused_start(tmp_path, "--mongo", uri)
    assert "Authentication failed" in said
    assert "wr0ng-one" not in said


def test_a_user_who_may_only_read(tmp_path: Path, guarded: Mongod) -> None:
    uri = f"mongodb://reader:{_SECRET}@{guarded.host}/files"
    said = refused_start(tmp_path, "--mongo", uri)
    assert "not authorized on files" in said
    assert _PASSWORD not in said
    assert _SECRET not in said


def test_a_user_with_read_and_write_rights_is_enough(tmp_path: Path, guarded: Mongod) -> None:
    uri = f"mongodb://owner:{_SECRET}@{guarded.host}/files"
    server = DavServer(tmp_path / "home", None, arguments=["--mongo", uri])
    with server:
        client = Client(server.address)
        assert client("PUT", "/file.txt", b"content").status == 201
        assert client("GET", "/file.txt").body == b"content"
        said = server.said()
    assert _SECRET not in said
    assert _PASSWORD not in said
