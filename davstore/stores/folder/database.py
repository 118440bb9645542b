"""Access to the state file: many readers, one writer at a time, no sleeping in between."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from davstore.handoff import about_to_wait
from davstore.stores.folder import schema

Durability = Literal["full", "rename"]

_SPARE_READERS: Final = 32
#: Statements differ by the depth of the path, see `rows`.
_STATEMENTS: Final = 256
#: Pages of the WAL before they are moved into the file: 16 MiB.
_CHECKPOINT: Final = 4000


class Database:
    """One process's connections to `file`. To be opened after the fork only.

    SQLite lets one connection write at a time and makes the others sleep and retry. Here
    they queue for a lock file instead and wake at once. Readers see the last commit and
    wait for nobody. All methods raise sqlite3.Error and OSError.
    """

    def __init__(self, file: Path, durability: Durability) -> None:
        self._file = file
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        self._readers: list[sqlite3.Connection] = []
        self._mutex = threading.Lock()
        self._gate = os.open(
            file.with_name(file.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            self._writer = self._prepared()
        except BaseException:
            os.close(self._gate)
            raise

    def _prepared(self) -> sqlite3.Connection:
        with self._alone():
            db = self._connect()
            try:
                if schema.version(db) != len(schema.MIGRATIONS):
                    with _transaction(db):
                        schema.bring_up(db, self._file.name)
                db.execute("PRAGMA journal_mode = WAL")
            except BaseException:
                db.close()
                raise
            return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._file,
            isolation_level=None,
            check_same_thread=False,
            timeout=30,
            cached_statements=_STATEMENTS,
        )
        try:
            db.execute(f"PRAGMA synchronous = {self._synchronous}")  # the first look into the file
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        except BaseException:
            db.close()
            raise
        return db

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, as of the last commit."""
        try:
            db = self._readers.pop()
        except IndexError:
            db = self._connect()
        try:
            return db.execute(sql, values).fetchall()
        finally:
            if len(self._readers) < _SPARE_READERS:
                self._readers.append(db)
            else:
                db.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it happens at the end, or nothing when an exception leaves."""
        with self._alone(), _transaction(self._writer):
            yield self._writer
            if self._synchronous == "FULL":
                about_to_wait()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes, in no process. The kernel ends it when this process dies."""
        if not self._mutex.acquire(blocking=False):
            about_to_wait()
            self._mutex.acquire()
        try:
            try:
                fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                about_to_wait()
                fcntl.flock(self._gate, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def close(self) -> None:
        while self._readers:
            self._readers.pop().close()
        self._writer.close()
        os.close(self._gate)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
