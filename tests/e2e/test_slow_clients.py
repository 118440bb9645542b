"""Slow and silent connections, many of them, beside one normal client."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client

SLOW = 200
SILENT = 50
_REQUESTS = 150


def _median_response(client: Client) -> float:
    """Seconds per request of a client that reads, lists and writes."""
    taken = []
    for number in range(_REQUESTS):
        for method, target, body in (
            ("GET", "/file.txt", b""),
            ("PROPFIND", "/", b""),
            ("PUT", f"/written-{number % 5}.txt", b"content"),
        ):
            begun = time.monotonic()
            answer = client(method, target, body, Depth="1" if method == "PROPFIND" else None)
            taken.append(time.monotonic() - begun)
            assert answer.status < 300, answer
    return statistics.median(taken)


@contextlib.contextmanager
def _crowd(server: DavServer) -> Iterator[threading.Event]:
    """The slow uploads and the silent connections; the event is set when one was cut off."""
    cut, over = threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        links = [
            stack.enter_context(socket.create_connection(server.address, timeout=20))
            for _ in range(SLOW + SILENT)
        ]
        slow = links[:SLOW]
        for number, link in enumerate(slow):
            head = f"PUT /slow-{number}.bin HTTP/1.1\r\nHost: localhost\r\n"
            link.sendall(f"{head}Content-Length: 10000000\r\n\r\n".encode() + b"x" * 4000)

        def trickle() -> None:
            while not over.wait(0.25):
                try:
                    for link in slow:
                        link.sendall(b"slowly " * 100)
                except OSError:
                    cut.set()
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield cut
        finally:
            over.set()
            thread.join()


@pytest.mark.slow
def test_200_slow_uploads_and_50_silent_connections_leave_a_normal_client_within_3_times_its_median(
    tmp_path: Path,
) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        client = Client(server.address)
        assert client("PUT", "/file.txt", b"content" * 100).status == 201
        _median_response(client)
        quiet = _median_response(client)
        with _crowd(server) as cut:
            crowded = _median_response(client)
            assert not cut.is_set()
        print(f"median {quiet * 1000:.2f} ms quiet, {crowded * 1000:.2f} ms in the crowd")
        assert crowded <= 3 * quiet
        assert client("GET", "/slow-0.bin").status == 404


@pytest.mark.slow
def test_slow_readers_of_a_large_file_do_not_keep_others_waiting(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        (tmp_path / "root" / "large.bin").write_bytes(bytes(50_000_000))
        client = Client(server.address)
        assert client("PUT", "/file.txt", b"content" * 100).status == 201
        _median_response(client)
        quiet = _median_response(client)
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                link = stack.enter_context(socket.create_connection(server.address, timeout=20))
                link.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert link.recv(1000).startswith(b"HTTP/1.1 200")
            crowded = _median_response(client)
        print(f"median {quiet * 1000:.2f} ms quiet, {crowded * 1000:.2f} ms in the crowd")
        assert crowded <= 3 * quiet
