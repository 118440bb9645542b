"""`python -m bench.soak`: many clients for a long time, each of which knows what it must read.

Every client works in a folder of its own and keeps a model of it: what it put, moved, copied and
deleted. Whatever it reads has to be what the model says. At the end nothing may be left over, no
worker may have grown or kept descriptors, and the log holds no traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from tests.components.content import DIFFICULT, litter
from tests.components.davserver import DavServer
from tests.components.http import Answer, ask, hrefs
from tests.components.processes import wait_until

MIB = 1 << 20

#: What a worker may have grown by since it was warm, and how many descriptors it may have more.
MOST_GROWTH = 32 * MIB
MOST_DESCRIPTORS = 32

_SIZES = (0, 1, 100, 4096, 4096, 65_536, 300_000, MIB + 1)


class Wrong(AssertionError):
    """The server did something that a client cannot live with."""


class Client:
    """One client with its folder, its model (name to content) and its dice."""

    def __init__(self, address: tuple[str, int], number: int, seed: int) -> None:
        self.folder = f"/client {number}/"
        self.requests = 0
        self._address = address
        self._dice = random.Random(f"{seed} {number}")
        self._model: dict[str, bytes] = {}
        self._connection = http.client.HTTPConnection(*address, timeout=60)
        self._steps: tuple[Callable[[], None], ...] = (
            self.put, self.put, self.get, self.get, self.get_range, self.listing, self.delete,
            self.move, self.copy, self.break_off, self.put_locked,
        )  # fmt: skip

    def run(self, is_over: Callable[[], bool]) -> None:
        """Take one step after the other until `is_over`, then look at everything once more."""
        self._expect("MKCOL", self.folder, 201)
        while not is_over():
            self._dice.choice(self._steps)()
        self.listing()
        for name in self._model:
            self._check(name)
        self._connection.close()

    def put(self) -> None:
        name = self._some_name()
        data = self._content()
        self._expect("PUT", self._path(name), 204 if name in self._model else 201, data)
        self._model[name] = data

    def get(self) -> None:
        name = self._some_name()
        if name in self._model:
            self._check(name)
        else:
            self._expect("GET", self._path(name), 404)

    def get_range(self) -> None:
        name, data = self._known()
        if data:
            start = self._dice.randrange(len(data))
            end = self._dice.randrange(start, len(data))
            asked = {"Range": f"bytes={start}-{end}"}
            answer = self._expect("GET", self._path(name), 206, headers=asked)
            self._equal(answer.body, data[start : end + 1], name)

    def listing(self) -> None:
        answer = self._expect("PROPFIND", self.folder, 207, headers={"Depth": "1"})
        found = {unquote(href).removeprefix(self.folder) for href in hrefs(answer)} - {""}
        if found != set(self._model):
            raise Wrong(f"{self.folder} lists {found}, not {set(self._model)}")

    def delete(self) -> None:
        name = self._some_name()
        self._expect("DELETE", self._path(name), 204 if name in self._model else 404)
        self._model.pop(name, None)

    def move(self) -> None:
        self._transfer("MOVE")

    def copy(self) -> None:
        self._transfer("COPY")

    def _transfer(self, method: str) -> None:
        (name, data), target = self._known(), self._some_name()
        if name not in self._model or target == name:
            return
        status = 204 if target in self._model else 201
        self._expect(method, self._path(name), status, headers={"Destination": self._path(target)})
        self._model[target] = data
        if method == "MOVE":
            del self._model[name]

    def break_off(self) -> None:
        """Half an upload, and then nobody. What was there is still there."""
        name = self._some_name()
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        connection.putrequest("PUT", self._path(name))
        connection.putheader("Content-Length", "200000")
        connection.endheaders(b"x" * self._dice.randrange(1, 100_000))
        connection.close()
        self.requests += 1
        if name in self._model:
            self._check(name)

    def put_locked(self) -> None:
        """As office programs save: with a lock, which keeps others out."""
        name, _ = self._known()
        if name not in self._model:
            return
        path = self._path(name)
        body = (
            b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
            b"<locktype><write/></locktype></lockinfo>"
        )
        answer = self._expect("LOCK", path, 200, body, {"Timeout": "Second-60"})
        token = answer.header("Lock-Token") or ""
        self._expect("PUT", path, 423, b"not this")
        data = self._content()
        self._expect("PUT", path, 204, data, {"If": f"({token})"})
        self._model[name] = data
        self._expect("UNLOCK", path, 204, headers={"Lock-Token": token})

    def _some_name(self) -> str:
        # Few names, so that they are met again; all of them awkward in some way.
        return self._dice.choice(DIFFICULT).strip() + str(self._dice.randrange(3))

    def _known(self) -> tuple[str, bytes]:
        """A file that is there; none is while the folder is empty."""
        return self._dice.choice(list(self._model.items())) if self._model else ("", b"")

    def _content(self) -> bytes:
        return self._dice.randbytes(self._dice.choice(_SIZES))

    def _path(self, name: str) -> str:
        return quote(self.folder + name)

    def _check(self, name: str) -> None:
        self._equal(self._expect("GET", self._path(name), 200).body, self._model[name], name)

    def _equal(self, found: bytes, expected: bytes, name: str) -> None:
        if found != expected:
            raise Wrong(f"{self.folder}{name}: {len(found)} bytes are not the {len(expected)} put")

    def _expect(
        self,
        method: str,
        target: str,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        self.requests += 1
        answer = ask(self._connection, method, quote(target, safe="/%"), body, headers)
        if answer.status != status:
            raise Wrong(f"{method} {target}: {answer.status} instead of {status}: {answer.text}")
        return answer


def soak(server: DavServer, seconds: int, clients: int, seed: int) -> int:
    """Run `clients` against `server`; returns the number of requests. Raises Wrong."""
    end = time.monotonic() + seconds
    errors: list[BaseException] = []
    crowd = [Client(server.address, number, seed) for number in range(clients)]

    def work(client: Client) -> None:
        try:
            client.run(lambda: bool(errors) or time.monotonic() > end)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in crowd]
    for thread in threads:
        thread.start()
    warm = time.monotonic() + seconds / 4
    while time.monotonic() < warm and not errors:
        threads[0].join(0.2)
    with _nothing_grows(server):
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
    _look_back(server)
    return sum(client.requests for client in crowd)


@contextlib.contextmanager
def _nothing_grows(server: DavServer) -> Iterator[None]:
    memory, descriptors = server.rss(), _descriptors(server)
    yield
    for pid, now in server.rss().items():
        if pid not in memory:
            raise Wrong(f"process {pid} was started meanwhile: another one has died")
        if now > memory[pid] + MOST_GROWTH:
            raise Wrong(f"process {pid} grew from {memory[pid] >> 20} to {now >> 20} MiB")
    wait_until(
        lambda: all(
            count <= descriptors[pid] + MOST_DESCRIPTORS
            for pid, count in _descriptors(server).items()
        ),
        30,
        "the closing of descriptors",
    )


def _descriptors(server: DavServer) -> dict[int, int]:
    return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in server.pids()}


def _look_back(server: DavServer) -> None:
    if "Traceback" in server.said():
        raise Wrong("there is a traceback in the log")
    assert server.root is not None
    root = server.root
    wait_until(lambda: not litter(root), 60, "the sweeping of left-overs")


def main() -> int:
    """Exit status 0: all was right; 1: something was wrong, which is told with the seed."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"{arguments.clients} clients, {arguments.minutes} minutes, seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as place:
        server = DavServer(Path(place) / "home", Path(place) / "root")
        with server:
            try:
                count = soak(server, arguments.minutes * 60, arguments.clients, arguments.seed)
            except AssertionError as wrong:
                print(f"seed {arguments.seed}: {wrong}\n{server.tail()}", file=sys.stderr)
                return 1
            sizes = ", ".join(f"{size >> 20} MiB" for size in server.rss().values())
            rate = count / (arguments.minutes * 60)
            print(f"{count} requests, {rate:.0f} per second, all right; resident: {sizes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
