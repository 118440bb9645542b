"""A disk that fills up in the middle of an upload: 507, the old file stays, nothing is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.components.content import litter
from tests.components.davserver import DavServer
from tests.components.found import require
from tests.components.http import Answer, Client, properties
from tests.components.processes import wait_until

_SIZE = 8 << 20


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    assert os.geteuid() == 0, "mounting a small disk needs root"
    place.mkdir()
    options = f"size={_SIZE}"
    subprocess.run(
        [require("mount"), "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DavServer]:
    with _small_disk(tmp_path / "disk") as root, DavServer(tmp_path / "home", root) as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


def _too_much(client: Client, target: str, chunked: bool) -> Answer:
    """A PUT of twice what the disk holds."""
    block = b"z" * (1 << 18)
    blocks: Iterable[bytes] = (block for _ in range(2 * _SIZE // len(block)))
    length = None if chunked else str(2 * _SIZE)
    return client("PUT", target, blocks, Content_Length=length)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_an_upload_that_does_not_fit_on_the_disk_gets_507_and_the_old_file_stays(
    server: DavServer, tmp_path: Path, chunked: bool
) -> None:
    client = Client(server.address)
    disk = tmp_path / "disk"
    assert client("PUT", "/old.bin", b"old content").status == 201
    assert _too_much(client, "/old.bin", chunked).status == 507
    assert client("GET", "/old.bin").body == b"old content"
    assert _too_much(client, "/new.bin", chunked).status == 507
    assert client("GET", "/new.bin").status == 404
    wait_until(lambda: not litter(disk), 10, "the end of the temporary files")
    assert {path.name for path in disk.iterdir() if path.is_file()} == {"old.bin"}
    assert client("PUT", "/fits.bin", b"x" * 1_000_000).status == 201


def test_a_copy_that_does_not_fit_on_the_disk_gets_507_and_leaves_nothing(
    server: DavServer, tmp_path: Path
) -> None:
    client = Client(server.address)
    disk = tmp_path / "disk"
    assert client("MKCOL", "/tree").status == 201
    for name in ("a", "b"):
        assert client("PUT", f"/tree/{name}.bin", b"x" * 2_500_000).status == 201
    answer = client("COPY", "/tree/", Destination=f"{server.url}copy/")
    assert answer.status in (507, 207), answer
    assert "507" in f"{answer.status} {answer.text}"
    if answer.status == 507:
        assert not (disk / "copy").exists()
    assert client("DELETE", "/tree/").status == 204
    wait_until(lambda: not litter(disk), 10, "the end of what was left")


_USED = "{DAV:}quota-used-bytes"
_ASK_USED = '<D:propfind xmlns:D="DAV:"><D:prop><D:quota-used-bytes/></D:prop></D:propfind>'


def _used(client: Client) -> int | None:
    """Bytes that the share holds, or None while they have not been counted."""
    found = properties(client("PROPFIND", "/", _ASK_USED, Depth="0")).get(_USED)
    return None if found is None else int(found.text or "")


def test_a_quota_that_would_be_exceeded_gets_507_and_the_old_file_stays(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with DavServer(tmp_path / "home", root, share={"quota": 1_000_000}) as server:
        client = Client(server.address)
        wait_until(lambda: _used(client) is not None, 10, "the first count of what there is")
        assert client("PUT", "/old.bin", b"o" * 600_000).status == 201
        assert _used(client) == 600_000
        assert client("PUT", "/new.bin", b"n" * 600_000).status == 507
        assert client("PUT", "/old.bin", b"n" * 1_600_000).status == 507
        assert (root / "old.bin").read_bytes() == b"o" * 600_000
        assert not (root / "new.bin").exists()
        wait_until(lambda: not litter(root), 10, "the end of the temporary files")
        assert client("PUT", "/old.bin", b"n" * 900_000).status == 204
