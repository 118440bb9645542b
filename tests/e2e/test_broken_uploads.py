"""Uploads that break off: no success, the old content stays, nothing is left lying about."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

import pytest

from tests.components.content import litter, names_on_disk
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.processes import wait_until
from tests.e2e.conftest import Place

_HALF = b"new " * 100_000


def _announced(path: str) -> bytes:
    """Twice as much is announced as will come."""
    return b"PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        2 * len(_HALF),
        _HALF,
    )


def _chunked(path: str) -> bytes:
    """A whole chunk, and then neither another one nor the end."""
    return (
        b"PUT %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n"
        % (path.encode(), len(_HALF), _HALF)
    )


def _within_a_chunk(path: str) -> bytes:
    return b"PUT %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (
        path.encode(),
        2 * len(_HALF),
        _HALF,
    )


def _stop_sending(link: socket.socket) -> None:
    link.shutdown(socket.SHUT_WR)


def _reset(link: socket.socket) -> None:
    """Closing with a reset, as a machine does whose program has died."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


@pytest.mark.parametrize("send", [_announced, _chunked, _within_a_chunk])
@pytest.mark.parametrize("end", [_stop_sending, socket.socket.close, _reset])
@pytest.mark.parametrize("exists", [True, False], ids=["replacing", "creating"])
def test_an_upload_that_breaks_off_gets_no_success_and_changes_nothing(
    server: DavServer,
    place: Place,
    client: Client,
    send: Callable[[str], bytes],
    end: Callable[[socket.socket], None],
    exists: bool,
) -> None:
    assert server.root is not None
    path = f"{place.path}file.txt"
    if exists:
        client("PUT", path, b"old content")
    before = names_on_disk(place.folder)

    with socket.create_connection(server.address, timeout=20) as link:
        link.sendall(send(path))
        wait_until(lambda: litter(server.root or place.folder), 10, "the upload's beginning")
        end(link)
        said = _rest(link)
    assert not said or said.startswith(b"HTTP/1.1 4"), said

    wait_until(lambda: not litter(server.root or place.folder), 10, "the end of the temporary file")
    assert names_on_disk(place.folder) == before
    answer = client("GET", path)
    assert (answer.status, answer.body) == (200, b"old content") if exists else answer.status == 404
    assert client("PUT", path, b"a whole one").status == (204 if exists else 201)


def _rest(link: socket.socket) -> bytes:
    """What the server still says, when we can hear it."""
    said = b""
    with contextlib.suppress(OSError):
        while data := link.recv(65536):
            said += data
    return said


def test_an_upload_longer_than_the_client_announced_by_its_own_header_is_refused(
    place: Place, client: Client
) -> None:
    path = f"{place.path}file.txt"
    client("PUT", path, b"old content")
    answer = client("PUT", path, [b"four"], X_Expected_Entity_Length="5")
    assert answer.status == 400
    assert (place.folder / "file.txt").read_bytes() == b"old content"
