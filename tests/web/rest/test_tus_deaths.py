"""Resumable uploads through deaths, on several nodes, to the end of their lease."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from davstore.stores.base import Context
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.components.processes import wait_until
from tests.components.watching import MIB
from tests.mongo_e2e.fsck import findings, findings_after_a_crash, store_on
from tests.stores.harness import settle
from tests.web.rest.face import BASE, problem
from tests.web.rest.test_files import names
from tests.web.rest.tus import Tus, checksum

SIZE = 14 * MIB + 77
CONTENT = random.Random(9).randbytes(SIZE)

#: What is made safe at once.
STEP = 4 * MIB

Make = Callable[..., DavServer]


@pytest.fixture(params=["folder", "mongo"])
def make(request: pytest.FixtureRequest, tmp_path: Path, mongod: Mongod) -> Iterator[Make]:
    """Makes servers over one tree (of a folder there can be one at a time), with settings."""
    with ExitStack() as stack:
        database = stack.enter_context(mongod.database())

        def made(name: str = "one", **settings: Any) -> DavServer:
            if request.param == "folder":
                server = DavServer(tmp_path / name, tmp_path / "root", settings=settings)
            else:
                home = tmp_path / name
                uri = mongod.uri
                server = DavServer.over_mongo(home, uri, database, settings=settings)
            stack.callback(server.kill9)
            return server

        yield made
        if request.param == "mongo":
            with store_on(mongod.uri, database) as store:
                assert findings_after_a_crash(store) == []


def reserved(server: DavServer) -> list[str]:
    """What lies in the folder that clients do not see."""
    assert server.root is not None
    return [path.name for path in (server.root / ".davstore~").iterdir()]


@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_the_server_dies_in_the_middle_of_a_piece(make: Make, checked: bool) -> None:
    """What was safe is there, and the upload goes on from it; of a checked piece nothing is."""
    server = make()
    with server:
        tus = Tus(Client(server.address))
        upload = tus.begin("/a", SIZE)
        assert tus.patch(upload, 0, CONTENT[:1000]).status == 204
        piece = CONTENT[1000:]
        fields = {"Upload_Checksum": checksum(piece)} if checked else {}
        sent = 9 * MIB
        with tus.half(upload, 1000, len(piece), piece[:sent], **fields):
            if checked:
                wait_until(lambda: refused(tus, upload, 1000), 10, "the piece to be taken")
            else:
                wait_until(lambda: tus.offset(upload) >= 1000 + STEP, 10, "a step to be safe")
            server.kill9()
    with server:
        tus = Tus(Client(server.address))
        offset = tus.offset(upload)
        print(f"sent {sent}, safe {offset - 1000}")
        assert offset == 1000 if checked else 1000 + STEP <= offset <= 1000 + sent
        assert names(tus.client, "/") == []
        answer = tus.patch(upload, offset, CONTENT[offset:])
        assert answer.status == 204, answer
        assert tus.client("GET", "/a").body == CONTENT
        assert tus.offset(upload) == SIZE


def refused(tus: Tus, upload: str, offset: int) -> bool:
    """Whether another request has the upload."""
    return tus.patch(upload, offset, b"").status == 409


def test_three_nodes_take_turns(tmp_path: Path, mongod: Mongod) -> None:
    """Begun on one, gone on with on the second, while the first dies, finished on the third."""
    with mongod.database() as database, ExitStack() as stack:
        nodes = [
            stack.enter_context(DavServer.over_mongo(tmp_path / name, mongod.uri, database))
            for name in ("a", "b", "c")
        ]
        first, second, third = (Tus(Client(node.address)) for node in nodes)
        upload = first.begin("/a", SIZE)
        with first.half(upload, 0, SIZE, CONTENT[: 5 * MIB]):
            wait_until(lambda: second.offset(upload) >= STEP, 10, "a step to be safe")
            nodes[0].kill9()
        offset = second.offset(upload)
        assert STEP <= offset <= 5 * MIB
        piece = CONTENT[offset : 10 * MIB]
        assert second.patch(upload, offset, piece, Upload_Checksum=checksum(piece)).status == 204
        assert third.offset(upload) == 10 * MIB
        assert third.patch(upload, 10 * MIB, CONTENT[10 * MIB :]).status == 204
        assert second.offset(upload) == SIZE
        assert second.client("GET", "/a").body == CONTENT
        with store_on(mongod.uri, database) as store:
            assert findings_after_a_crash(store) == []


def test_the_lease_ends(make: Make, request: pytest.FixtureRequest) -> None:
    server = make(rest={"upload_lease": "1s"})
    with server:
        tus = Tus(Client(server.address))
        upload = tus.begin("/a", SIZE)
        tus.patch(upload, 0, CONTENT[: 3 * MIB])
        wait_until(lambda: tus("HEAD", upload).status == 404, 10, "the end of the lease")
        problem(tus.patch(upload, 3 * MIB, b"x"), 404, "no-such-upload")
        problem(tus("DELETE", upload), 404, "no-such-upload")
        if server.root is not None:
            wait_until(lambda: reserved(server) == [], 10, "what is left to be swept")


@pytest.mark.parametrize("how", ["given up", "expired"])
def test_the_space_is_given_back(tmp_path: Path, mongod: Mongod, how: str) -> None:
    """In the database: no chunk stays."""
    with mongod.database() as database, store_on(mongod.uri, database) as store:
        with DavServer.over_mongo(tmp_path / "a", mongod.uri, database) as server:
            tus = Tus(Client(server.address))
            upload = tus.begin("/a", SIZE)
            tus.patch(upload, 0, CONTENT[: 3 * MIB])
            if how == "given up":
                assert tus("DELETE", upload).status == 204
        with mongod.client() as client:
            chunks = client[database]["fs.chunks"]
            if how == "expired":
                assert chunks.count_documents({}) == 3
                settle(store, 4e9)  # its lease is over, ...
                settle(store, 5e9)  # and nobody can be writing to it any more
            assert chunks.count_documents({}) == 0
            assert client[database]["fs.files"].count_documents({}) == 0
        assert findings(store) == []
        assert store.usage(Context()).used == 0


def test_an_upload_belongs_to_who_began_it(make: Make) -> None:
    server = make()
    for name in ("ann", "bob"):
        server.add_user(name, "secret word")
    with server:
        ann, bob = (Tus(Client(server.address, name, "secret word")) for name in ("ann", "bob"))
        nobody = Tus(Client(server.address))
        upload = ann.begin("/a", 4)
        for _ in range(2):
            assert bob("HEAD", upload).status == 404
            problem(bob.patch(upload, 0, b"1234"), 404, "no-such-upload")
            problem(bob("DELETE", upload), 404, "no-such-upload")
            problem(nobody.patch(upload, 0, b"1234"), 401, "unauthenticated")
            assert ann.offset(upload) in (0, 4)
            if ann.offset(upload) == 0:
                assert ann.patch(upload, 0, b"1234").status == 204
        assert bob.client("GET", "/a").body == b"1234"


def test_addresses_begin_as_the_proxy_says(tmp_path: Path) -> None:
    settings = {"proxy": {"trusted": ["127.0.0.1"]}}
    with DavServer(tmp_path / "home", tmp_path / "root", settings=settings) as server:
        tus = Tus(Client(server.address))
        upload = tus.begin("/a", 1, X_Forwarded_Prefix="/outer", X_Forwarded_For="192.0.2.1")
        assert upload.startswith(f"/outer{BASE}/tus-uploads/")
        assert tus.patch(upload.removeprefix("/outer"), 0, b"1").status == 204


def test_shares_that_are_kept_in_memory_and_such_that_cannot_be_written_to(tmp_path: Path) -> None:
    shares = {
        "/twin": {"store": "memory"},
        "/fixed": {"store": "folder", "root": str(tmp_path / "fixed"), "read_only": True},
    }
    (tmp_path / "fixed").mkdir()
    settings = {"shares": shares, "workers": 1}
    with DavServer(tmp_path / "home", None, settings=settings) as server:
        tus = Tus(Client(server.address))
        upload = tus.begin("/twin/a", 4)
        assert tus.patch(upload, 0, b"12").status == 204
        assert tus.patch(upload, 2, b"34").status == 204
        assert tus.offset(upload) == 4
        assert tus.client("GET", "/twin/a").body == b"1234"
        problem(tus.create("/fixed/a", 4), 403, "read-only")
        problem(tus.create("/a", 4), 403, "read-only")
