"""A private MongoDB: `--mongo embedded:DIR`.

A mongod with its data in DIR, as a replica set of one (which has retryable writes and a majority
to confirm them), on loopback. Only who can read DIR can log in: loopback is open to all users
of the machine, and a port that was ours may be another's after a restart.

What if this process dies right here: the kernel kills the mongod with it, and its journal has
all that was acknowledged. Each step of a start looks at what it finds and can be repeated. What
if somebody else starts at the same moment: mongod's own lock on DIR lets one of them have it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from davstore.errors import ConfigError, Unavailable
from davstore.stores.mongo.mongod import dying_with_parent, find_mongod, free_port, is_free

_SET = "davstore"
_HOST = "127.0.0.1"

#: What mongod itself knows the holders of its key as: no user has to be made or kept in step.
_USER = "__system"

#: What lies in the folder beside mongod's own files.
_KEY, _PORT, _LOG = "davstore.key", "davstore.port", "mongod.log"

#: What an early death may leave in a folder in which there is no database yet.
_HARMLESS = {_KEY, _PORT, _LOG, f"{_LOG}.1", "mongod.lock", "journal", "lost+found"}

_LOG_BYTES = 16 << 20

#: How long a mongod that is just ending, or that the kernel is clearing away, may hold the folder.
_CLEARING = 3.0

#: mongod's error codes.
_NOT_YET_INITIALIZED = 94
_NOT_A_MEMBER = 93
_ALREADY_INITIALIZED = 23


class _Ended(Exception):
    """The mongod ended during the start; the message is what it said."""


class EmbeddedMongod:
    """The mongod over `folder`. Only one process at a time can have it.

    A context manager: entering starts it, leaving stops it. Use it from the main thread, before
    forking; forked processes use `uri` and nothing else of this (`stop` does nothing there).
    It is in a session of its own, so Ctrl-C in a terminal leaves it to whoever started it.
    """

    def __init__(self, folder: Path, *, cache_gb: float = 0.5) -> None:
        self.folder = folder
        self.port = 0
        self._cache_gb = cache_gb
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._key = ""
        self._log_start = 0

    @property
    def uri(self) -> str:
        """Its connection string, with the key to it: not for logs. Valid after `start`."""
        options = f"authSource=local&authMechanism=SCRAM-SHA-256&replicaSet={_SET}"
        return f"mongodb://{_USER}:{self._key}@{_HOST}:{self.port}/?{options}"

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def is_running(self) -> bool:
        return self.pid is not None

    def start(self, timeout: float = 90) -> str:
        """Start it, wait until it takes writes, and return `uri`. Does nothing when it runs.

        One that has died is started again at the same address: clients find it again. Raises
        ConfigError when there is no mongod or when the folder cannot be used, and Unavailable
        when mongod ends or is not ready in `timeout` seconds; then nothing of it is left over.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel would kill it at the end of the thread.
            raise RuntimeError("an embedded mongod has to be started by the main thread")
        if self.is_running:
            return self.uri
        now = time.monotonic()
        program = find_mongod()
        self._wait_for_folder(now + min(timeout, _CLEARING))
        self._prepare_folder()
        try:
            self._launch_until_it_answers(program, now + timeout)
            _write_private(self.folder / _PORT, str(self.port))
            self._become_primary(now + timeout)
        except (_Ended, OSError, PyMongoError) as error:
            self._kill()
            raise Unavailable(str(self.folder), f"mongod does not start. {error}") from None
        except BaseException:
            self._kill()
            raise
        return self.uri

    def stop(self, timeout: float = 30) -> None:
        """End it cleanly; after `timeout` seconds, by force. Nothing of it is left over."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    # The folder.

    def _wait_for_folder(self, deadline: float) -> None:
        while (holder := self._holder()) is not None:
            if time.monotonic() > deadline:
                raise _in_use(self.folder, holder)
            time.sleep(0.05)

    def _holder(self) -> str | None:
        """Which mongod uses the folder, as a part of a sentence."""
        try:
            with (self.folder / "mongod.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.suppress(OSError):
                return f"process {(self.folder / 'mongod.lock').read_text().strip()}"
            return "another process"
        except OSError:
            # None there yet; whatever else is wrong with the folder shows in the next step.
            return None
        return None

    def _prepare_folder(self) -> None:
        """Make what has to be there. Raises ConfigError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = {entry.name for entry in self.folder.iterdir()}
            if "WiredTiger" not in names and names - _HARMLESS:
                raise ConfigError([f"{self.folder} has files in it and is no database of MongoDB"])
            self._key = _read(self.folder / _KEY)
            if not self._key:
                self._key = secrets.token_hex(32)
                _write_private(self.folder / _KEY, self._key)
            log = self.folder / _LOG
            if log.exists() and log.stat().st_size > _LOG_BYTES:
                log.replace(self.folder / f"{_LOG}.1")
        except OSError as error:
            raise ConfigError(
                [f"{self.folder} cannot be used for a database: {error.strerror}"]
            ) from None

    # The process.

    def _launch_until_it_answers(self, program: Path, deadline: float) -> None:
        is_port_fixed = bool(self.port)
        if not is_port_fixed:
            last = _read(self.folder / _PORT)
            self.port = int(last) if last.isdecimal() and is_free(int(last)) else free_port()
        while True:
            self._launch(program)
            try:
                self._wait_for_answer(deadline)
                return
            except _Ended as ended:
                # Somebody else was quicker.
                if "DBPathInUse" in str(ended):
                    raise _in_use(self.folder, self._holder() or "another process") from None
                if "Address already in use" not in str(ended) or is_port_fixed:
                    raise
                self.port = free_port()

    def _launch(self, program: Path) -> None:
        argv = [str(program), "--dbpath", str(self.folder), "--replSet", _SET, "--quiet"]
        argv += ["--bind_ip", _HOST, "--port", str(self.port), "--nounixsocket"]
        argv += ["--keyFile", str(self.folder / _KEY)]
        # Nobody reads the oplog but mongod itself, after a crash.
        argv += ["--oplogSize", "256", "--wiredTigerCacheSizeGB", str(self._cache_gb)]
        argv += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # At its end there is no other member to wait for.
        argv += ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
        descriptor = os.open(
            self.folder / _LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "ab") as log:
            self._log_start = os.fstat(descriptor).st_size
            self._process = subprocess.Popen(
                dying_with_parent(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._owner = os.getpid()

    def _wait_for_answer(self, deadline: float) -> None:
        while True:
            self._check(deadline)
            try:
                socket.create_connection((_HOST, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)

    def _check(self, deadline: float) -> None:
        """Raises _Ended when there is nothing to wait for any longer."""
        if not self.is_running:
            raise _Ended(f"It says: {self._said()}")
        if time.monotonic() > deadline:
            raise _Ended(f"It is not ready in time; it says last: {self._said()}")

    def _said(self) -> str:
        """What in its log of this start explains its end."""
        with (self.folder / _LOG).open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        told = [_readable(line) for line in lines]
        grave = [text for is_grave, text in told if is_grave]
        return "; ".join((grave or [text for _, text in told] or ["nothing"])[-4:])

    # The replica set of one.

    def _become_primary(self, deadline: float) -> None:
        with self._client() as client:
            while True:
                self._check(deadline)
                with contextlib.suppress(ConnectionFailure):
                    self._correct_membership(client)
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return
                time.sleep(0.02)

    def _correct_membership(self, client: MongoClient[dict[str, Any]]) -> None:
        """Make it a member of its own set, under its present address."""
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code == _NOT_YET_INITIALIZED:
                self._initiate(client)
            elif error.code == _NOT_A_MEMBER:
                # The configuration in the folder names the port of an earlier start. (When
                # somebody listens there now and never answers, mongod finds out after 30 s.)
                config = client.admin.command("replSetGetConfig")["config"]
                config["members"] = [self._member()]
                config["version"] += 1
                client.admin.command("replSetReconfig", config, force=True)
            else:
                raise

    def _initiate(self, client: MongoClient[dict[str, Any]]) -> None:
        try:
            client.admin.command("replSetInitiate", {"_id": _SET, "members": [self._member()]})
        except OperationFailure as error:
            # It had not read its configuration yet when it was asked.
            if error.code != _ALREADY_INITIALIZED:
                raise

    def _member(self) -> dict[str, Any]:
        return {"_id": 0, "host": f"{_HOST}:{self.port}"}

    @contextlib.contextmanager
    def _client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """A connection of which no thread is left at the end: this process may fork later."""
        before = set(threading.enumerate())
        client: MongoClient[dict[str, Any]] = MongoClient(
            _HOST,
            self.port,
            directConnection=True,
            username=_USER,
            password=self._key,
            authSource="local",
            authMechanism="SCRAM-SHA-256",
            serverSelectionTimeoutMS=1000,
            socketTimeoutMS=10_000,
            serverMonitoringMode="poll",  # a streaming monitor ends seconds later
        )
        try:
            yield client
        finally:
            client.close()
            for thread in set(threading.enumerate()) - before:
                if thread.name.startswith("pymongo"):
                    thread.join(5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _in_use(folder: Path, holder: str) -> ConfigError:
    return ConfigError([f"{folder} is used by another mongod ({holder}); stop that one first"])


def _read(path: Path) -> str:
    """The content of a small file; nothing when there is none. Raises OSError."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _write_private(path: Path, text: str) -> None:
    """Write a file, whole or not at all, that only its owner can read. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)


def _readable(line: str) -> tuple[bool, str]:
    """A line of mongod's log: whether it tells of a failure, and what it says."""
    try:
        entry = json.loads(line)
        # Lines that are not JSON come from the loader or the launcher, and are bad news.
        text = " ".join([entry["msg"], *(str(value) for value in entry.get("attr", {}).values())])
        return entry["s"] in ("E", "F"), text
    except (ValueError, LookupError, TypeError, AttributeError):
        return True, line
