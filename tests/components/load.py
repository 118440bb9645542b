"""Clients that ask all the time, and forgive nothing: no request is sent a second time."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.components.http import Client, ask

#: What is asked, in turn, of a server with /file.txt and a folder that may be written to.
REQUESTS: tuple[tuple[str, str, bytes, dict[str, str]], ...] = (
    ("GET", "/file.txt", b"", {}),
    ("PROPFIND", "/", b"", {"Depth": "1"}),
    ("PUT", "/new-{name}.txt", b"content of a new file", {}),
    ("GET", "/new-{name}.txt", b"", {}),
)


class Load:
    """`kept` clients that keep their connection, and `fresh` ones with one for each request, while
    the context is open. A connection is opened again only where the server has said that it
    closes it. `failures` says what went wrong, `count` how often it went well."""

    def __init__(self, address: tuple[str, int], kept: int = 3, fresh: int = 3) -> None:
        self._address = address
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.count = 0
        self.failures: list[str] = []
        runs: list[Callable[[str], None]] = [*[self._keep] * kept, *[self._renew] * fresh]
        self._threads = [
            threading.Thread(target=run, args=(str(number),)) for number, run in enumerate(runs)
        ]

    def _keep(self, name: str) -> None:
        with Client(self._address).connection() as connection:
            while not self._over.is_set():
                self._ask_all(connection, name)

    def _renew(self, name: str) -> None:
        at = 0
        while not self._over.is_set():
            with Client(self._address).connection() as connection:
                self._ask(connection, name, at)
            at += 1

    def _ask_all(self, connection: http.client.HTTPConnection, name: str) -> None:
        for at in range(len(REQUESTS)):
            self._ask(connection, name, at)

    def _ask(self, connection: http.client.HTTPConnection, name: str, at: int) -> None:
        method, target, body, headers = REQUESTS[at % len(REQUESTS)]
        what = f"{method} {target}"
        try:
            answer = ask(connection, method, target.format(name=name), body, headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._fail(f"{what}: {error!r}")
            # A server that is gone need not be asked thousands of times.
            self._over.wait(0.1)
            return
        if 200 <= answer.status < 300:
            with self._lock:
                self.count += 1
        else:
            self._fail(f"{what}: {answer.status} {answer.text[:200]}")

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
