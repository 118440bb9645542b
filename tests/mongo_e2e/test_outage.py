"""The database is away: 503 when it was waited for long enough, and all is well when it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Answer, Client
from tests.components.mongod import Mongod, ReplicaSet
from tests.components.processes import is_alive, wait_until

#: Seconds within which a 503 has to come: not before the driver could have found the database
#: again, and not long after the promised 5 and 15 s.
ALONE = (4.5, 8.0)
IN_A_SET = (14.0, 20.0)

_LOCK = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
_CHANGE = (
    '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>'
    '<x:color xmlns:x="urn:x">blue</x:color></D:prop></D:set></D:propertyupdate>'
)
#: One of each kind; each is sent at the same time as the others.
REQUESTS = (
    ("GET", "/small.txt", ""),
    ("GET", "/large.bin", ""),
    ("PUT", "/small.txt", "content"),
    ("PUT", "/large.bin", "x" * 100_000),
    ("PROPFIND", "/", ""),
    ("PROPPATCH", "/small.txt", _CHANGE),
    ("MKCOL", "/folder", ""),
    ("LOCK", "/large.bin", _LOCK),
    ("MOVE", "/moved.txt", ""),
)


class Timed(NamedTuple):
    what: str
    answer: Answer
    seconds: float


def _timed(client: Client, method: str, path: str, body: str) -> Timed:
    extra = {"Depth": "1"} if method == "PROPFIND" else {}
    if method == "MOVE":
        extra = {"Destination": f"http://127.0.0.1:{client.address[1]}/elsewhere.txt"}
    begun = time.monotonic()
    answer = client(method, path, body, **extra)
    return Timed(f"{method} {path}", answer, time.monotonic() - begun)


def _all_are_refused(server: DavServer, within: tuple[float, float]) -> None:
    """Each kind of request gets a 503 with Retry-After in the time that is promised."""
    client = Client(server.address, timeout=60)
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        asked = [pool.submit(_timed, client, *request) for request in REQUESTS]
        done = [one.result() for one in asked]
    for one in done:
        print(f"{one.what}: {one.answer.status} after {one.seconds:.1f} s")
    for one in done:
        assert one.answer.status == 503, one
        assert int(one.answer.header("Retry-After") or 0) > 0, one
        assert within[0] <= one.seconds <= within[1], one


def _recovers(server: DavServer, seconds: float = 15) -> None:
    """By itself; no process of it was started anew for that."""
    client = Client(server.address)
    wait_until(lambda: client("GET", "/small.txt").body == b"content", seconds, "recovery")
    assert client("PUT", "/again.txt", b"again").status in (201, 204)
    assert client("GET", "/again.txt").body == b"again"
    assert len(client("GET", "/large.bin").body) == 100_000
    assert "Traceback" not in server.said(), server.tail(20000)


def _fill(server: DavServer) -> None:
    client = Client(server.address)
    assert client("PUT", "/small.txt", b"content").status == 201
    assert client("PUT", "/moved.txt", b"content").status == 201
    assert client("PUT", "/large.bin", b"x" * 100_000).status == 201


@contextlib.contextmanager
def _stopped(mongod: Mongod) -> Iterator[None]:
    """It hangs: connections are taken, and nothing answers."""
    os.kill(mongod.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(mongod.pid, signal.SIGCONT)


@contextlib.contextmanager
def _dead(mongod: Mongod) -> Iterator[None]:
    """It was killed, and is started again."""
    mongod.kill9()
    try:
        yield
    finally:
        mongod.start()


@pytest.mark.slow
def test_a_standalone_that_hangs_is_given_up_after_5_seconds_and_taken_up_again(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    with DavServer.over_mongo(tmp_path / "home", mongod.uri, mongo_database) as server:
        _fill(server)
        with _stopped(mongod):
            _all_are_refused(server, ALONE)
        _recovers(server)


@pytest.mark.slow
def test_a_standalone_that_died_is_given_up_after_5_seconds_and_taken_up_again(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    with DavServer.over_mongo(tmp_path / "home", mongod.uri, mongo_database) as server:
        _fill(server)
        children = server.pids()[1:]
        with _dead(mongod):
            _all_are_refused(server, ALONE)
            assert server.pids()[1:] == children, "a child died of the outage"
            os.kill(children[0], signal.SIGKILL)
            wait_until(
                lambda: not is_alive(children[0]) and len(server.pids()) == len(children) + 1,
                15,
                "another worker in place of the killed one",
            )
        _recovers(server)


@pytest.mark.slow
def test_an_upload_under_way_ends_with_a_503_when_the_database_hangs(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    """Also when what has come so far waits to be thrown away: it is not waited for twice."""
    size, half = 24 << 20, 12 << 20
    with DavServer.over_mongo(tmp_path / "home", mongod.uri, mongo_database) as server:
        _fill(server)
        with Client(server.address).connection() as link, contextlib.ExitStack() as stack:
            link.putrequest("PUT", "/under-way.bin")
            link.putheader("Content-Length", str(size))
            link.endheaders()
            link.send(bytes(half))
            with mongod.client() as client:
                chunks = client[mongo_database]["fs.chunks"]
                wait_until(lambda: chunks.count_documents({}) > 4, 20, "the first chunks")
            stack.enter_context(_stopped(mongod))
            begun = time.monotonic()
            with contextlib.suppress(OSError):  # it may stop reading
                link.send(bytes(size - half))
            with link.getresponse() as response:
                seconds = time.monotonic() - begun
                print(f"{response.status} after {seconds:.1f} s")
                assert response.status == 503
                assert seconds <= ALONE[1]
        _recovers(server)
        assert Client(server.address)("GET", "/under-way.bin").status == 404


@pytest.mark.slow
def test_a_set_without_a_primary_is_given_up_after_15_seconds_and_taken_up_again(
    tmp_path: Path, replica_set: ReplicaSet, replica_database: str
) -> None:
    with DavServer.over_mongo(tmp_path / "home", replica_set.uri, replica_database) as server:
        _fill(server)
        primary = replica_set.wait_primary()
        other = next(member for member in replica_set.members if member is not primary)
        primary.kill9()
        other.kill9()
        _all_are_refused(server, IN_A_SET)
        replica_set.heal()
        _recovers(server)


def test_a_start_without_the_database_ends_with_status_2_and_one_sentence(tmp_path: Path) -> None:
    gone = Mongod(tmp_path / "mongod").start()
    gone.kill9()
    server = DavServer.over_mongo(tmp_path / "home", gone.uri, "away")
    argv = [sys.executable, "-m", "davstore", "serve", "--config", str(server.config)]
    begun = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    seconds = time.monotonic() - begun
    print(f"{seconds:.1f} s, {done.stderr!r}")
    assert done.returncode == 2
    assert done.stdout == ""
    told = done.stderr.splitlines()
    assert len(told) == 1, done.stderr
    assert told[0].startswith("davstore: cannot start: ")
    assert "database" in told[0]
    assert ALONE[0] <= seconds <= ALONE[1] + 3
