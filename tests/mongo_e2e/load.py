"""Writers and readers that know what they must read, whatever dies meanwhile.

Each content begins with the digest of its rest, so that one look tells whether it is whole.
Each name has one writer, so that the order of its writes is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.components.http import Answer, Client
from tests.components.processes import wait_until

_WRITERS = 6
_READERS = 2
_NAMES = 8  # of each writer
#: Inline, on the border, one chunk, more than one.
_SIZES = (100, 4000, 16_352, 16_353, 60_000, 300_000, (1 << 20) + 5)


def sealed(dice: random.Random) -> bytes:
    body = dice.randbytes(dice.choice(_SIZES))
    return hashlib.sha256(body).digest() + body


def is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[32:]).digest() == data[:32]


@dataclass
class Name:
    """What may be read under it: what was acknowledged last, or what had no answer since."""

    path: str
    acknowledged: bytes | None = None
    undecided: set[bytes] = field(default_factory=set)

    def allows(self, found: bytes | None) -> bool:
        return found == self.acknowledged or found in self.undecided


class Load:
    """`counts` has what came of the requests; `wrong` what must never be."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.names = [
            [Name(f"/load-{writer}-{number}.bin") for number in range(_NAMES)]
            for writer in range(_WRITERS)
        ]
        self.wrong: list[str] = []
        self.refused: list[str] = []
        self.acknowledged = self.unanswered = self.read = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    @contextlib.contextmanager
    def running(self, address: tuple[str, int]) -> Iterator[None]:
        """Requests one after the other from many threads while the context is open.

        A thread ends by itself when its server does not answer any more.
        """
        self._over.clear()
        client = Client(address, timeout=60)
        threads = [
            threading.Thread(target=self._write, args=(client, names, self._dice.random()))
            for names in self.names
        ]
        threads += [
            threading.Thread(target=self._read, args=(client, self._dice.random()))
            for _ in range(_READERS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def wait_acknowledged(self, more: int, seconds: float = 60) -> None:
        wanted = self.acknowledged + more
        wait_until(
            lambda: self.acknowledged >= wanted or self.refused, seconds, f"{more} more answers"
        )

    def check(self, client: Client) -> None:
        """Every name has one of the contents that it may have; from then on it is that one."""
        for name in (name for names in self.names for name in names):
            answer = client("GET", name.path)
            assert answer.status in (200, 404), (name.path, answer)
            found = answer.body[:32] if answer.status == 200 else None
            assert found is None or is_whole(answer.body), f"{name.path} is half written"
            assert name.allows(found), f"{name.path}: an acknowledged write is lost"
            name.acknowledged, name.undecided = found, set()

    def _write(self, client: Client, names: list[Name], seed: float) -> None:
        dice = random.Random(seed)
        while not self._over.is_set():
            name, content = dice.choice(names), sealed(dice)
            # Before it is sent: a reader may see it before we have the answer.
            name.undecided.add(content[:32])
            answer = _ask(client, "PUT", name.path, content)
            with self._lock:
                if answer is None:
                    self.unanswered += 1
                    return
                if answer.status in (201, 204):
                    self.acknowledged += 1
                    name.acknowledged, name.undecided = content[:32], set()
                else:
                    self.refused.append(f"PUT {name.path}: {answer.status} {answer.text}")

    def _read(self, client: Client, seed: float) -> None:
        dice = random.Random(seed)
        while not self._over.is_set():
            name = dice.choice(dice.choice(self.names))
            must_be_there = name.acknowledged is not None
            answer = _ask(client, "GET", name.path)
            if answer is None:
                return
            with self._lock:
                self.read += 1
                if answer.status == 200:
                    if not is_whole(answer.body):
                        self.wrong.append(f"GET {name.path}: half of a content")
                elif answer.status != 404:
                    self.refused.append(f"GET {name.path}: {answer.status} {answer.text}")
                elif must_be_there:
                    self.wrong.append(f"GET {name.path}: 404, though it was there")


def _ask(client: Client, method: str, path: str, body: bytes = b"") -> Answer | None:
    """None when the connection ended before the answer did."""
    try:
        return client(method, path, body)
    except (OSError, http.client.HTTPException):
        return None
