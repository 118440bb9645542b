"""Readiness follows the database: within 5 s when it is lost, and when it is back.

Every time is printed; `since` in the answer is compared with it as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.components.admin import Admin
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod, ReplicaSet
from tests.components.processes import wait_until

#: Promised, in seconds.
_WITHIN = 5.0
#: An answer of /readyz comes from memory, however the database is; with room for a busy machine.
_AT_ONCE = 0.5


class Watch:
    """Readiness, asked without a pause; each answer has to come at once."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self.slowest = 0.0

    def is_ready(self) -> bool:
        began = time.monotonic()
        ready = self._admin.is_ready()
        self.slowest = max(self.slowest, time.monotonic() - began)
        return ready

    def turns(self, ready: bool, what: str, within: float = _WITHIN) -> None:
        """Wait until it is so, and print how long that took."""
        began = time.monotonic()
        wait_until(lambda: self.is_ready() is ready, within, f"{what}: ready is {ready}")
        seconds = time.monotonic() - began
        word = "ready" if ready else "not ready"
        print(f"{what}: {word} after {seconds:.2f} s, slowest answer {self.slowest * 1000:.0f} ms")
        assert self.slowest < _AT_ONCE


@contextlib.contextmanager
def _serving(home: Path, uri: str, database: str) -> Iterator[tuple[DavServer, Admin]]:
    settings = {"workers": 1, "admin": {"port": 0}}
    with DavServer.over_mongo(home, uri, database, settings=settings) as server:
        admin = Admin(server)
        wait_until(admin.is_ready, 10, "ready")
        yield server, admin
        assert "Traceback" not in server.said(), server.tail(20000)


@contextlib.contextmanager
def _stopped(*members: Mongod) -> Iterator[None]:
    for member in members:
        os.kill(member.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in members:
            os.kill(member.pid, signal.SIGCONT)


def test_a_standalone_that_hangs_or_dies_and_returns(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    with _serving(tmp_path / "home", mongod.uri, mongo_database) as (server, admin):
        watch = Watch(admin)
        with _stopped(mongod):
            watch.turns(False, "stopped")
            report = admin.report()
            assert "does not answer" in report["shares"]["/"]["error"]
            assert mongod.host not in str(report)
            assert admin.value("davstore_ready") == 0
            assert admin.get("/healthz").status == 200
        watch.turns(True, "continued")
        mongod.kill9()
        watch.turns(False, "killed")
        # Also a housekeeper that has never had a connection notices its return.
        killed = admin.housekeeper()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: admin.housekeeper() != killed, 10, "another housekeeper")
        assert not admin.is_ready()
        mongod.start()
        watch.turns(True, "started")
        assert Client(server.address)("PUT", "/x", b"x").status == 201


def test_a_replica_set_without_a_majority_is_not_ready_though_its_primary_answers(
    tmp_path: Path, replica_set: ReplicaSet, replica_database: str
) -> None:
    with _serving(tmp_path / "home", replica_set.uri, replica_database) as (server, admin):
        watch = Watch(admin)
        primary = replica_set.wait_primary()
        others = [member for member in replica_set.members if member is not primary]
        with _stopped(*others):
            watch.turns(False, "both secondaries stopped")
        watch.turns(True, "both continued", 15)
        killed = replica_set.kill_primary()
        # Whether it is noticed at all depends on how quick the others elect.
        wait_until(lambda: replica_set.primary() not in (None, killed), 15, "another primary")
        watch.turns(True, "another primary")
        assert Client(server.address)("PUT", "/x", b"x").status == 201


def test_numbers_of_the_database(tmp_path: Path, mongod: Mongod, mongo_database: str) -> None:
    with _serving(tmp_path / "home", mongod.uri, mongo_database) as (server, admin):
        client = Client(server.address)
        assert client("PUT", "/x", b"x" * 1000).status == 201
        assert client("PUT", "/y", b"y" * 1000).status == 201
        assert client("DELETE", "/y").status == 204

        def shows(name: str, value: float) -> Callable[[], bool]:
            return lambda: admin.value(f"davstore_{name}", share="/") == value

        # First, since its number holds for 15 s.
        assert admin.value("davstore_reclaim_backlog", share="/") >= 1
        assert admin.value("davstore_reclaim_due", share="/") <= 1
        wait_until(shows("used_bytes", 1000), 5, "the used bytes")
        assert shows("share_up", 1)()
        assert admin.value("davstore_storage_latency_seconds_count", share="/") >= 1


def test_each_share_is_told_by_itself(tmp_path: Path, mongod: Mongod, mongo_database: str) -> None:
    (tmp_path / "files").mkdir()
    folder = {"store": "folder", "root": str(tmp_path / "files")}
    tree = {"store": "mongo", "uri": mongod.uri, "database": mongo_database}
    settings = {"workers": 1, "admin": {"port": 0}, "shares": {"/": tree, "/files": folder}}
    with DavServer(tmp_path / "home", tmp_path / "files", settings=settings) as server:
        admin = Admin(server)
        wait_until(admin.is_ready, 10, "ready")
        with _stopped(mongod):
            wait_until(lambda: not admin.is_ready(), _WITHIN, "not ready")
            told = admin.report()["shares"]
            assert (told["/"]["ok"], told["/files"]["ok"]) == (False, True)
            assert admin.value("davstore_share_up", share="/files") == 1
        wait_until(admin.is_ready, _WITHIN, "ready")
