"""Something at the agent's address that is no Consul agent, or a broken one: real sockets."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

Behaviour = Callable[[socket.socket], None]


def answering(status: str, body: bytes = b"", *, announced: int | None = None) -> Behaviour:
    """An answer whose Content-Length is `announced` when that is given."""
    length = len(body) if announced is None else announced
    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"

    def answer(connection: socket.socket) -> None:
        connection.sendall(head.encode() + body)

    return answer


def raw(data: bytes) -> Behaviour:
    def answer(connection: socket.socket) -> None:
        connection.sendall(data)

    return answer


def hang(connection: socket.socket) -> None:
    """Say nothing until the other side gives up."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def endless(connection: socket.socket) -> None:
    """A body that has no end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        connection.sendall(b'{"a": ' * 10_000)


#: What an agent can do to those who ask it, by a name for it.
HOSTILE: Mapping[str, Behaviour] = {
    "hangs": hang,
    "closes at once": raw(b""),
    "403": answering("403 Forbidden", b"Permission denied"),
    "500": answering("500 Internal Server Error", b"No cluster leader"),
    "404": answering("404 Not Found", b"not here"),
    "redirects": raw(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "no JSON": answering("200 OK", b"<html>hello</html>"),
    "other JSON": answering("200 OK", b"[1, 2]"),
    "deep JSON": answering("200 OK", b"[" * 200_000),
    "no HTTP": raw(b"\x00\x01 SSH-2.0-nonsense\r\n\r\n"),
    "closes in the middle": answering("200 OK", b'{"da', announced=1000),
    "endless": endless,
}


class FakeConsul:
    """Does `behaviour` to each request, once it was read; a context manager."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        #: Its address as davstore wants it.
        self.http = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        #: Request line and headers of all requests so far, and their bodies.
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # shutdown and not close alone: that would leave the other thread in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._meet, args=[connection], daemon=True).start()

    def _meet(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            with connection.makefile("rb") as reading:
                lines = list(iter(reading.readline, b"\r\n"))
                head = b"".join(lines).decode("latin-1").rstrip()
                length = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
                self.bodies.append(reading.read(int(length[1]) if length else 0))
            self.heads.append(head)
            self._behaviour(connection)
