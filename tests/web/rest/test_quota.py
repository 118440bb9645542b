"""A share that is full says so, in every way in which a file can come, and is as it was before."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from davstore.client import Client as Files
from davstore.client import QuotaExceeded, Refused
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.processes import wait_until
from tests.web.rest.face import Rest, problem
from tests.web.rest.test_files import names
from tests.web.rest.tus import Tus

MIB = 1 << 20

#: Bytes of the share, and of a file that fits once.
QUOTA = 12 * MIB
LARGE = bytes(9 * MIB)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """Over a folder, where each byte counts at once; a tree in MongoDB counts a moment later."""
    home = tmp_path_factory.mktemp("davstore")
    with DavServer(home, home / "root", share={"quota": QUOTA}) as running:
        yield running


@pytest.fixture
def rest(server: DavServer) -> Iterator[Rest]:
    """With one large file, `a`, and nothing else but, at the end, what the test has left."""
    rest = Rest(Client(server.address))
    wait_used(rest, 0)
    assert rest("PUT", "upload/a", LARGE).status == 201
    wait_used(rest, len(LARGE))
    yield rest
    for entry in json.loads(rest("GET", "list").body)["entries"]:
        assert rest("DELETE", f"delete/{entry['name']}").status == 204


def wait_used(rest: Rest, wanted: int) -> None:
    """Until as much is counted: the first time this is done in the background."""
    ask = '<D:propfind xmlns:D="DAV:"><D:prop><D:quota-used-bytes/></D:prop></D:propfind>'

    def used() -> str | None:
        return rest.client("PROPFIND", "/", ask, Depth="0").xml.findtext(".//{*}quota-used-bytes")

    wait_until(lambda: used() == str(wanted), 30, f"{wanted} bytes to be counted, not {used()}")


def test_an_upload(rest: Rest) -> None:
    chunks = [LARGE[: 5 * MIB], LARGE[5 * MIB :]]
    for answer in (
        rest("PUT", "upload/b", LARGE),
        rest("PUT", "upload/b", iter(chunks)),
        rest.form("upload/b", {}, LARGE),
        rest.post("copy/a", {"destination": "/b"}),
    ):
        problem(answer, 507, "quota-exceeded")
    assert names(rest.client, "") == ["a"]
    # What was thrown away takes no space.
    assert rest("PUT", "upload/b", LARGE[: 2 * MIB]).status == 201


def test_an_upload_over_tus(rest: Rest) -> None:
    tus = Tus(rest.client)
    problem(tus.create("/b", len(LARGE)), 413, "too-large", "Upload-Length")
    upload = tus.begin("/b", 3 * MIB)
    assert tus.patch(upload, 0, LARGE[:MIB]).status == 204
    assert rest("PUT", "upload/c", LARGE[: 2 * MIB]).status == 201  # somebody else was quicker
    problem(tus.patch(upload, MIB, LARGE[: 2 * MIB]), 507, "quota-exceeded")
    assert names(rest.client, "") == ["a", "c"]
    offset = tus.offset(upload)
    assert MIB <= offset < 3 * MIB
    assert rest("DELETE", "delete/c").status == 204
    assert tus.patch(upload, offset, LARGE[: 3 * MIB - offset]).status == 204
    assert rest("GET", "download/b").body == LARGE[: 3 * MIB]


def test_the_client_says_it(rest: Rest, server: DavServer) -> None:
    with Files(server.url) as files:
        with pytest.raises(QuotaExceeded, match="no space left"):
            files.upload(io.BytesIO(LARGE[: 4 * MIB]), "/b")
        with pytest.raises(Refused, match="There is room for"):
            files.upload(io.BytesIO(LARGE), "/b")
        with pytest.raises(QuotaExceeded):
            files.copy("/a", "/b")
    assert names(rest.client, "") == ["a"]
