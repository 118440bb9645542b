"""File spans: parts of files, which the server sends itself."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.components.processes import wait_until
from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire

SIZE = 3_000_017


@pytest.fixture(scope="module")
def content(server: AppServer) -> bytes:
    data = random.Random(7).randbytes(SIZE)
    (server.folder / "file").write_bytes(data)
    return data


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 0), (0, 1), (0, SIZE), (5, 65_536), (5, 65_537), (SIZE - 1, 1), (1000, 2_000_000)],
)
def test_a_span_is_sent_as_the_body(wire: Wire, content: bytes, start: int, length: int) -> None:
    for _ in range(2):
        reply = wire.ask("GET", f"/span?name=file&start={start}&length={length}")
        assert reply.status == 200
        assert reply.body == content[start : start + length]


def test_head_of_a_span_has_its_length_and_no_body(wire: Wire, content: bytes) -> None:
    reply = wire.ask("HEAD", "/span?name=file")
    assert reply.headers["content-length"] == str(len(content))
    assert wire.ask("GET", "/").status == 200


@pytest.mark.parametrize("less", [100, 1_000_000])
@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_file_that_became_shorter_cuts_the_connection(
    start_server: StartServer, size: int, less: int
) -> None:
    server = start_server()
    (server.folder / "file").write_bytes(b"f" * size)
    with server.wire() as wire:
        reply = wire.ask("GET", f"/span?name=file&less={less}")
        assert not reply.is_whole
        assert len(reply.body) <= size
    server.await_event("closed")


def test_a_slow_reader_gets_all_of_it_and_delays_nobody(start_server: StartServer) -> None:
    server = start_server()
    data = os.urandom(8_000_000)
    (server.folder / "file").write_bytes(data)
    with server.wire(receive_buffer=8192) as slow:
        slow.send(b"GET /span?name=file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with server.wire() as other:
            for _ in range(5):
                assert other.ask("GET", "/").status == 200
        assert slow.reply().body == data
    server.await_event("closed")


@pytest.mark.parametrize("size", [8_000_000])
def test_the_iterable_is_closed_and_the_file_with_it_when_the_client_goes_away(
    start_server: StartServer, size: int
) -> None:
    server = start_server()
    (server.folder / "file").write_bytes(b"f" * size)
    with server.wire(receive_buffer=8192) as wire:
        wire.send(b"GET /span?name=file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.socket.recv(1000)
    server.await_event("closed")
    (worker,) = server.workers()

    def held() -> list[str]:
        links = Path(f"/proc/{worker}/fd").iterdir()
        return [str(link.readlink()) for link in links if link.is_symlink()]

    wait_until(lambda: not [path for path in held() if path.endswith("/file")], 10, "its closing")


def test_the_access_record_counts_the_bytes_of_a_span(start_server: StartServer) -> None:
    server = start_server()
    (server.folder / "file").write_bytes(b"f" * 100_000)
    with server.wire() as wire:
        wire.ask("GET", "/span?name=file&length=70000")
        wire.ask("GET", "/span?name=file&length=70")
        wire.ask("HEAD", "/span?name=file&length=70")
    assert [record.sent for record in server.records(3)] == [70_000, 70, 0]
