"""Locks as clients take them, and many clients that want the same one."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Sequence

from tests.components.http import Answer, Client

_LOCK = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)


def lock(client: Client, path: str, seconds: int = 600) -> Answer:
    """Ask for an exclusive lock."""
    return client("LOCK", path, _LOCK, Timeout=f"Second-{seconds}", Depth="0")


def refresh(client: Client, path: str, token: str, seconds: int) -> Answer:
    return client("LOCK", path, If=f"({token})", Timeout=f"Second-{seconds}")


def unlock(client: Client, path: str, token: str) -> Answer:
    return client("UNLOCK", path, Lock_Token=token)


class Fight:
    """`count` clients that all want the lock on `path`, each once, through any of `addresses`.

    Who has it writes with it and reads what he wrote, each time through an address chosen anew.
    `wrong` is what must never be.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], path: str, count: int) -> None:
        self._clients = [Client(address, timeout=60) for address in addresses]
        self._path = path
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(count)
        ]
        self._lock = threading.Lock()
        self._holders: set[int] = set()
        self._until = 0.0
        self.grants = self.refusals = 0
        self.wrong: list[str] = []

    def run(self, seconds: float) -> None:
        """Until each has had it, or `seconds` are over, or something is wrong."""
        self._until = time.monotonic() + seconds
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        try:
            while not self._had_it(number, dice):
                if time.monotonic() > self._until:
                    self._fail(number, "never got the lock")
                if self.wrong:
                    return
                # As a client would; all at once they would only wait for each other.
                time.sleep(dice.uniform(0.05, 0.3))
        except (OSError, http.client.HTTPException) as error:
            self._fail(number, repr(error))

    def _had_it(self, number: int, dice: random.Random) -> bool:
        """One try. False when somebody else has it."""
        answer = lock(dice.choice(self._clients), self._path)
        token = answer.header("Lock-Token")
        if answer.status == 423:
            with self._lock:
                self.refusals += 1
            return False
        if answer.status != 200 or token is None:
            self._fail(number, f"LOCK: {answer.status} {answer.text[:200]}")
            return True
        with self._lock:
            self.grants += 1
            self._holders.add(number)
            if self._holders != {number}:
                self.wrong.append(f"{self._holders} have it at once")
        self._use(number, dice, token)
        with self._lock:
            self._holders.discard(number)
        self._expect(number, unlock(dice.choice(self._clients), self._path, token), 204)
        return True

    def _use(self, number: int, dice: random.Random, token: str) -> None:
        """Write and read; between the two nobody else may have written."""
        content = str(number).encode()
        put = dice.choice(self._clients)("PUT", self._path, content, If=f"({token})")
        self._expect(number, put, 204)
        self._expect(number, dice.choice(self._clients)("PUT", self._path, b"stolen"), 423)
        found = dice.choice(self._clients)("GET", self._path)
        if found.body != content:
            self._fail(number, f"reads {found.text!r}")

    def _expect(self, number: int, answer: Answer, status: int) -> None:
        if answer.status != status:
            self._fail(number, f"{answer.status} and not {status}: {answer.text[:200]}")

    def _fail(self, number: int, what: str) -> None:
        with self._lock:
            self.wrong.append(f"client {number}: {what}")
