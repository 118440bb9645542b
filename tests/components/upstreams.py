"""Upstreams made by hand, for what a real node does only when it dies at the right moment."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self


class Upstream:
    """Takes connections at `port`, reads a request's head from each, and answers `answer`.

    With an empty answer the connection is closed after the head, as by a node that dies then.
    `heard` has the request line of each request.
    """

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:
                return
            with link:
                link.settimeout(30)
                head = b""
                while b"\r\n\r\n" not in head and (data := link.recv(65536)):
                    head += data
                if head:
                    self.heard.append(head.partition(b"\r\n")[0].decode())
                    link.sendall(self._answer)
