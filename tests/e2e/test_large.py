"""Files larger than memory should ever see: 4 GiB up and down."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests.components.content import Stream
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.watching import MIB, MemoryWatch

SIZE = 4 << 30
ROOM = SIZE + (1 << 30)


def _upload(client: Client, target: str, stream: Stream) -> int:
    """The status of a PUT of the whole stream."""
    return client("PUT", target, stream.blocks(), Content_Length=str(stream.length)).status


def _is_downloaded_whole(server: DavServer, target: str, stream: Stream) -> bool:
    """Whether a GET gives exactly the stream, compared block by block as it comes."""
    with Client(server.address).connection() as connection:
        connection.request("GET", target)
        with connection.getresponse() as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(stream.length)
            buffer = bytearray(Stream.BLOCK)
            for block in stream.blocks():
                view = memoryview(buffer)[: len(block)]
                got = 0
                while got < len(block) and (count := response.readinto(view[got:])):
                    got += count
                if got != len(block) or view != block:
                    return False
            return response.read(1) == b""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_gibibytes_go_up_and_down_while_no_process_grows_by_32_mebibytes(
    tmp_path: Path,
) -> None:
    assert shutil.disk_usage(tmp_path).free > ROOM, f"{ROOM} bytes of disk are needed"
    stream = Stream(SIZE)
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        client = Client(server.address, timeout=120)
        client("PUT", "/warm.bin", b"x" * 1000)
        client("GET", "/warm.bin")
        try:
            with MemoryWatch(server.rss_of_workers) as up:
                assert _upload(client, "/large.bin", stream) == 201
            assert (tmp_path / "root" / "large.bin").stat().st_size == SIZE
            with MemoryWatch(server.rss_of_workers) as down:
                assert _is_downloaded_whole(server, "/large.bin", stream)
            print(f"growth: {up.growth / MIB:.1f} MiB up, {down.growth / MIB:.1f} MiB down")
            assert up.growth < 32 * MIB
            assert down.growth < 32 * MIB
        finally:
            (tmp_path / "root" / "large.bin").unlink(missing_ok=True)


def test_a_range_behind_four_gibibytes_is_found(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        with (tmp_path / "root" / "sparse.bin").open("wb") as file:
            file.truncate(5 << 30)
            file.seek((4 << 30) + 5)
            file.write(b"here")
        client = Client(server.address)
        answer = client("GET", "/sparse.bin", Range=f"bytes={(4 << 30) + 5}-{(4 << 30) + 8}")
        assert (answer.status, answer.body) == (206, b"here")
        assert client("HEAD", "/sparse.bin").header("Content-Length") == str(5 << 30)


def test_an_upload_of_many_small_pieces_without_a_length_does_not_grow_a_process(
    tmp_path: Path,
) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        client = Client(server.address)
        client("PUT", "/warm.bin", b"x" * 1000)
        with MemoryWatch(server.rss_of_workers) as watch:
            with socket.create_connection(server.address, timeout=60) as link:
                link.sendall(
                    b"PUT /chunked.bin HTTP/1.1\r\nHost: localhost\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                chunk = b"200\r\n" + b"y" * 512 + b"\r\n"
                for _ in range(200):
                    link.sendall(chunk * 1000)
                link.sendall(b"0\r\n\r\n")
                assert link.recv(65536).startswith(b"HTTP/1.1 201")
        assert (tmp_path / "root" / "chunked.bin").stat().st_size == 200 * 1000 * 512
        assert watch.growth < 32 * MIB
