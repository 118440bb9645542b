"""A folder of 100,000 files: an early first byte, a whole answer, and memory that stays."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from tests.components.davserver import DavServer
from tests.components.http import DAV, Client, hrefs
from tests.components.watching import MIB, MemoryWatch

COUNT = 100_000
_TRIES = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many") / "root"
    (root / "many").mkdir(parents=True)
    for number in range(COUNT):
        (root / "many" / f"document number {number:06d} & more.txt").touch()
    return root


@pytest.fixture
def server(tmp_path: Path, root: Path) -> Iterator[DavServer]:
    """A fresh one for each test: what a listing leaves behind must not hide what it takes."""
    with DavServer(tmp_path / "home", root) as running:
        assert Client(running.address)("PROPFIND", "/", Depth="1").status == 207
        yield running


def _first_byte(server: DavServer) -> float:
    """Seconds until the first byte of the multi-status, after all headers."""
    request = b"PROPFIND /many/ HTTP/1.1\r\nHost: localhost\r\nDepth: 1\r\n\r\n"
    with socket.create_connection(server.address, timeout=30) as link:
        begun = time.monotonic()
        link.sendall(request)
        said = b""
        while b"<" not in said.partition(b"\r\n\r\n")[2]:
            data = link.recv(4096)
            assert data, said
            said += data
        return time.monotonic() - begun


def test_the_first_byte_of_a_listing_of_100_000_files_comes_within_100_milliseconds(
    server: DavServer,
) -> None:
    taken = [_first_byte(server) for _ in range(_TRIES)]
    print(f"first byte after {[f'{seconds * 1000:.0f} ms' for seconds in taken]}")
    # The quickest: whatever else the machine does only adds to it.
    assert min(taken) < 0.1


@pytest.mark.slow
def test_a_listing_of_100_000_files_is_whole_and_no_process_grows_by_32_mebibytes(
    server: DavServer,
) -> None:
    with MemoryWatch(server.rss_of_workers) as watch:
        with Client(server.address, timeout=120).connection() as connection:
            connection.request("PROPFIND", "/many/", headers={"Depth": "1"})
            with connection.getresponse() as response:
                assert response.status == 207
                names = set()
                for _, element in etree.iterparse(response, tag=f"{DAV}response"):
                    names.add(element.findtext(f"{DAV}href"))
                    element.clear()
                    while element.getprevious() is not None:
                        del element.getparent()[0]
    print(f"growth: {watch.growth / MIB:.1f} MiB")
    assert len(names) == COUNT + 1
    assert "/many/document%20number%20000042%20%26%20more.txt" in names
    assert watch.growth < 32 * MIB


def test_the_windows_explorer_sees_three_thousand_five_hundred_files_in_one_folder(
    tmp_path: Path,
) -> None:
    """It takes 1,000,000 bytes for a listing; beyond them the folder looks empty to it."""
    root = tmp_path / "root"
    root.mkdir()
    for number in range(3500):
        (root / f"Document {number}.txt").touch()
    with DavServer(tmp_path / "home", root) as running:
        agent = {"User-Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045", "translate": "f"}
        explorer = Client(running.address, headers=agent)
        listed = explorer("PROPFIND", "/", Depth="1")
    print(f"{len(listed.body) / 3501:.0f} bytes for each")
    assert len(hrefs(listed)) == 3501
    assert len(listed.body) < 1_000_000
