"""A client that sends exactly what it is told to, and sees exactly what comes back."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from types import TracebackType
from typing import NamedTuple, Self


class Reply(NamedTuple):
    """`is_whole` is False when the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True

    @property
    def text(self) -> str:
        return self.body.decode()


class Wire:
    """One connection. Header names in replies are lower-case; repeated ones are joined."""

    def __init__(
        self,
        address: tuple[str, int],
        timeout: float = 20,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self._ahead = b""
        try:
            self.socket.connect(address)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except OSError:
            self.socket.close()
            raise

    def send(self, data: bytes | str) -> Self:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def ask(self, method: str, target: str, body: bytes | None = None, *headers: str) -> Reply:
        """One well-formed request and its reply."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        """The next reply, `method` being what it answers."""
        while b"\r\n\r\n" not in self._ahead:
            self._more()
        head, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        assert re.match(r"HTTP/1\.1 \d{3} ", first), first
        status = int(first[9:12])
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if method == "HEAD" or status in (204, 304) or status < 200:
            return Reply(status, headers, b"")
        body = bytearray()
        try:
            self._read_body(headers, body)
        except (EOFError, ConnectionError):
            return Reply(status, headers, bytes(body), is_whole=False)
        return Reply(status, headers, bytes(body))

    def _read_body(self, headers: dict[str, str], body: bytearray) -> None:
        if "content-length" in headers:
            self._take(int(headers["content-length"]), body)
        elif headers.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                self._take(size, body)
                assert self._line() == b""
            assert self._line() == b""
        else:
            with contextlib.suppress(EOFError):
                while True:
                    body += self._ahead
                    self._ahead = b""
                    self._more()

    def _take(self, size: int, body: bytearray) -> None:
        while size:
            if not self._ahead:
                self._more()
            part = self._ahead[:size]
            self._ahead = self._ahead[len(part) :]
            body += part
            size -= len(part)

    def _line(self) -> bytes:
        while b"\r\n" not in self._ahead:
            self._more()
        line, _, self._ahead = self._ahead.partition(b"\r\n")
        return line

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self._ahead += data

    def is_closed(self) -> bool:
        """Waits for the server to close; whether it did so without a further byte."""
        try:
            return not self._ahead and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
