"""MongoDB: a mongod by itself, and a replica set whose members can be killed.

Both have `uri`, `client()` and `database()`. Only what tests do with them is set to be quick
and small; journal and write concerns are as they are for everybody.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from davstore.errors import ConfigError
from davstore.stores.mongo.mongod import dying_with_parent, find_mongod, free_port
from tests.components.found import MissingComponent
from tests.components.processes import NotReady, ServerProcess, is_alive, wait_until

Client = MongoClient[dict[str, Any]]

_numbers = itertools.count(1)

#: What mongod says when its port is taken.
_PORT_TAKEN = "Address already in use"


def locate_mongod() -> Path:
    """The program. Raises MissingComponent."""
    try:
        return find_mongod()
    except ConfigError as error:
        raise MissingComponent(f"mongod is missing: {error}") from None


def require_mongod() -> Path:
    """`locate_mongod` for tests: a missing component is a failure, never a skip."""
    try:
        return locate_mongod()
    except MissingComponent as missing:
        pytest.fail(str(missing), pytrace=False)


class _Deployment:
    """What a standalone and a replica set have in common."""

    @property
    def uri(self) -> str:
        raise NotImplementedError

    def client(self, **options: Any) -> Client:
        """To be closed by the caller, best as a context manager."""
        return MongoClient(self.uri, **{"serverSelectionTimeoutMS": 20_000, **options})

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The name of a database that nobody has used before; it is dropped at the end."""
        name = f"test-{os.getpid()}-{next(_numbers)}"
        try:
            yield name
        finally:
            with self.client() as client:
                client.drop_database(name)


class Mongod(ServerProcess, _Deployment):
    """One mongod over `home`; starting it again continues with its data, at the same port.

    `parameters` are server parameters (`--setParameter`), `options` further arguments.
    """

    name = "mongod"

    def __init__(
        self,
        home: Path,
        *,
        replica_set: str | None = None,
        parameters: Mapping[str, object] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__([], home / "mongod.log")
        self.home = home
        self._options = list(options)
        if replica_set is not None:
            self._options += ["--replSet", replica_set, "--oplogSize", "512"]
        self._parameters = {
            "enableTestCommands": 1,
            "diagnosticDataCollectionEnabled": "false",
            # Nobody takes over from a member that is stopped; waiting for that is no use.
            "shutdownTimeoutMillisForSignaledShutdown": 100,
        } | dict(parameters or {})

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self) -> str:
        return f"mongodb://{self.host}/?directConnection=true"

    def start(self) -> Self:
        """Start it and wait until it answers. Raises NotReady.

        The port of the first start is tried a few times, as somebody else may be quicker.
        """
        data = self.home / "data"
        data.mkdir(parents=True, exist_ok=True)
        is_port_chosen = bool(self.port)
        for attempts_left in (2, 1, 0):
            self.port = self.port or free_port()
            self.argv = self._command(data)
            try:
                return super().start()
            except NotReady as failed:
                if is_port_chosen or not attempts_left or _PORT_TAKEN not in str(failed):
                    raise
                self.port = 0
        raise AssertionError("not reached")

    def _command(self, data: Path) -> list[str]:
        argv = [str(require_mongod()), "--dbpath", str(data), "--port", str(self.port)]
        argv += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"]
        argv += ["--wiredTigerCacheSizeGB", "0.25", *self._options]
        for name, value in self._parameters.items():
            argv += ["--setParameter", f"{name}={value}"]
        # From another thread the kernel would kill it at the thread's end.
        is_main = threading.current_thread() is threading.main_thread()
        return dying_with_parent(argv) if is_main else argv

    def wait_ready(self, seconds: float = 30) -> None:
        """Until it answers commands."""
        super().wait_ready(seconds)
        with self.client() as client:
            client.admin.command("ping")

    @property
    def is_running(self) -> bool:
        """Whether its process lives (not whether it answers)."""
        return self.is_started and is_alive(self.pid)

    def hello(self) -> dict[str, Any]:
        """What it says of itself; nothing when it cannot be reached."""
        if not self.is_started:
            return {}
        try:
            with self.client(serverSelectionTimeoutMS=500) as client:
                return client.admin.command("hello")
        except ConnectionFailure:
            return {}


class ReplicaSet(_Deployment):
    """`size` members, of which each can be killed and restarted.

    After a kill of the primary another one is elected within about `election_ms`.
    """

    name = "davstore-test"

    def __init__(
        self, home: Path, size: int = 3, *, election_ms: int = 1000, heartbeat_ms: int = 250
    ) -> None:
        self.members = [
            Mongod(home / f"member-{number}", replica_set=self.name) for number in range(size)
        ]
        self._settings = {
            "electionTimeoutMillis": election_ms,
            "heartbeatIntervalMillis": heartbeat_ms,
        }

    @property
    def uri(self) -> str:
        hosts = ",".join(member.host for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}"

    def start(self) -> Self:
        """Start all members and wait until all are in sync. Raises NotReady."""
        try:
            for member in self.members:
                member.start()
            members = [
                {"_id": number, "host": member.host} for number, member in enumerate(self.members)
            ]
            config = {"_id": self.name, "members": members, "settings": self._settings}
            with self.members[0].client() as client:
                client.admin.command("replSetInitiate", config)
            self.wait_healthy()
        except BaseException:
            self.kill9()
            raise
        return self

    def primary(self) -> Mongod | None:
        """The member that takes writes now."""
        for member in self.members:
            if member.hello().get("isWritablePrimary"):
                return member
        return None

    def wait_primary(self, seconds: float = 30) -> Mongod:
        """Until there is a primary whose writes a majority confirms. Raises NotReady."""
        return wait_until(self._confirmed_primary, seconds, f"a primary{self._tails()}")

    def _confirmed_primary(self) -> Mongod | None:
        primary = self.primary()
        if primary is None:
            return None
        note = {"appendOplogNote": 1, "data": {"is": "a write that changes nothing"}}
        majority = {"w": "majority", "wtimeout": 1000}
        try:
            with primary.client(serverSelectionTimeoutMS=500) as client:
                client.admin.command({**note, "writeConcern": majority})
        except (ConnectionFailure, OperationFailure):
            return None
        return primary

    def wait_healthy(self, seconds: float = 60) -> None:
        """Until all members run and are primary or secondary. Raises NotReady."""

        def healthy() -> bool:
            said = [member.hello() for member in self.members]
            return all(one.get("isWritablePrimary") or one.get("secondary") for one in said)

        wait_until(healthy, seconds, f"all members in sync{self._tails()}")
        self.wait_primary(seconds)

    def kill_primary(self) -> Mongod:
        """`kill -9` of the primary; returns the member that was killed. Raises NotReady."""
        primary = self.wait_primary()
        primary.kill9()
        return primary

    def restart(self, member: Mongod) -> None:
        """Start a stopped or killed member and wait until it is in sync. Raises NotReady."""
        member.start()
        self.wait_healthy()

    def heal(self) -> None:
        """Start whatever does not run. Raises NotReady."""
        for member in self.members:
            if not member.is_running:
                member.kill9()
                member.start()
        self.wait_healthy()

    def stop(self) -> None:
        """Stop all, secondaries first, so that nobody elects anew. None is left over."""
        primary = self.primary()
        try:
            for member in sorted(self.members, key=lambda member: member is primary):
                if member.is_started:
                    member.stop()
        finally:
            self.kill9()

    def kill9(self) -> None:
        """End all members at once."""
        for member in self.members:
            member.kill9()

    def _tails(self) -> str:
        return "".join(f"\n{member.tail(1000)}" for member in self.members if member.is_started)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
