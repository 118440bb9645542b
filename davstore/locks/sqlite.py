"""Locks in a SQLite file that all processes of one machine share.

Every method is one transaction. What if the process dies right here: SQLite rolls the
transaction back, or it is committed and every process sees it. What if somebody else does
the same at this moment: whoever writes holds the file's one write lock from its first look
on (BEGIN IMMEDIATE), so a check and the insert that rests on it cannot be separated.

The journal is a WAL, so that looking never waits for writing. `synchronous=NORMAL`: what was
committed survives `kill -9`, because the kernel has it; a power cut may lose the newest
locks, but never damages the file. A lost lock harms no content: the client's next write
names its token in an `If` header, which then fails, and it is told so.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from davstore import handoff, paths
from davstore.errors import (
    Corrupt,
    Forbidden,
    FormatTooNew,
    LockConflict,
    NoSuchLock,
    QuotaExceeded,
    StoreError,
    Unavailable,
)
from davstore.locks.base import Lock, LockRequest, LockStore, conflicts, new_token

#: The version of the tables below, kept in the file's user_version.
FORMAT = 1

#: How long a write waits for another process's, in seconds.
BUSY_SECONDS = 10.0

_TABLES = (
    """CREATE TABLE locks (
        token TEXT PRIMARY KEY,
        root TEXT NOT NULL,
        parent TEXT NOT NULL,
        scope TEXT NOT NULL,
        infinite INTEGER NOT NULL,
        principal TEXT,
        owner TEXT NOT NULL,
        timeout REAL NOT NULL,
        expires REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX locks_root ON locks (root)",
    "CREATE INDEX locks_parent ON locks (parent, root)",
    "CREATE INDEX locks_expires ON locks (expires)",
)

_COLUMNS = "token, root, scope, infinite, principal, owner, timeout, expires"

#: Locks that `members` holds in memory at once.
_PAGE = 500

_Row = tuple[str, str, str, int, str | None, str, float, float]


class SqliteLocks(LockStore):
    """The lock store in the file `path`, which is made when it is not there.

    To be opened after a fork, by each process for itself: a handle that came through a
    fork raises RuntimeError, because SQLite's file locks belong to the process that
    took them. Raises FormatTooNew when a newer davstore wrote the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = os.getpid()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._writer = _connect(path)
        try:
            _prepare(self._writer, path)
            self._reader = _connect(path)
        except BaseException:
            self._writer.close()
            raise

    def grant(self, wanted: LockRequest, now: float) -> Lock:
        lock = Lock(
            token=new_token(),
            root=wanted.root,
            scope=wanted.scope,
            infinite=wanted.infinite,
            principal=wanted.principal,
            owner=wanted.owner,
            timeout=wanted.timeout,
            expires=now + wanted.timeout,
        )
        with self._transaction() as connection:
            # Nobody may refresh any more what this lock is granted in the place of.
            connection.execute("DELETE FROM locks WHERE expires <= ?", (now,))
            query, parameters = _around(wanted.root, now, below=wanted.infinite)
            existing = [_lock(row) for row in connection.execute(query, parameters)]
            in_the_way = conflicts(wanted, existing)
            if in_the_way:
                raise LockConflict(wanted.root, sorted({lock.root for lock in in_the_way}))
            connection.execute(
                "INSERT INTO locks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    lock.token,
                    lock.root,
                    paths.parent(lock.root) if lock.root != paths.ROOT else "",
                    lock.scope,
                    lock.infinite,
                    lock.principal,
                    lock.owner,
                    lock.timeout,
                    lock.expires,
                ),
            )
        return lock

    def refresh(
        self, token: str, path: str, timeout: float, principal: str | None, now: float
    ) -> Lock:
        with self._transaction() as connection:
            lock = _get(connection, token, path, now)
            if lock.principal != principal:
                raise NoSuchLock(path)
            connection.execute(
                "UPDATE locks SET timeout = ?, expires = ? WHERE token = ?",
                (timeout, now + timeout, token),
            )
        return replace(lock, timeout=timeout, expires=now + timeout)

    def release(self, token: str, path: str, principal: str | None, now: float) -> None:
        with self._transaction() as connection:
            if _get(connection, token, path, now).principal != principal:
                raise Forbidden(path, "This lock is somebody else's.")
            connection.execute("DELETE FROM locks WHERE token = ?", (token,))

    def covering(self, path: str, now: float) -> list[Lock]:
        return [lock for lock in self.around(path, now, below=False) if lock.covers(path)]

    def find(self, token: str, now: float) -> Lock | None:
        query = f"SELECT {_COLUMNS} FROM locks WHERE token = ? AND expires > ?"  # noqa: S608
        found = self._look(query, (token, now))
        return found[0] if found else None

    def around(self, path: str, now: float, *, below: bool) -> list[Lock]:
        found = self._look(*_around(path, now, below=below))
        found.sort(key=lambda lock: lock.token)
        return found

    def members(self, folder: str, now: float) -> Iterator[Lock]:
        last = ("", "")
        while True:
            page = self._look(
                f"SELECT {_COLUMNS} FROM locks WHERE parent = ? AND (root, token) > (?, ?)"  # noqa: S608
                " AND expires > ? ORDER BY root, token LIMIT ?",
                (folder, *last, now, _PAGE),
            )
            yield from page
            if len(page) < _PAGE:
                return
            last = (page[-1].root, page[-1].token)

    def forget(self, path: str) -> None:
        within = "root = ? OR (root >= ? AND root < ?)"
        parameters = (path, *_below(path))
        query = f"SELECT {_COLUMNS} FROM locks WHERE {within} LIMIT 1"  # noqa: S608
        # What is removed has seldom a lock, and without one nobody has to wait for the writer.
        if self._look(query, parameters):
            with self._transaction() as connection:
                connection.execute(f"DELETE FROM locks WHERE {within}", parameters)  # noqa: S608

    def sweep(self, now: float) -> int:
        with self._transaction() as connection:
            return connection.execute("DELETE FROM locks WHERE expires <= ?", (now,)).rowcount

    def count(self, now: float, path: str = paths.ROOT) -> int:
        self._check_process()
        with _meanings(self._path), self._reading:
            query = (
                "SELECT count(*) FROM locks"
                " WHERE expires > ? AND (root = ? OR (root >= ? AND root < ?))"
            )
            return int(self._reader.execute(query, (now, path, *_below(path))).fetchone()[0])

    def close(self) -> None:
        self._check_process()
        with self._reading, self._writing:
            self._reader.close()
            self._writer.close()

    def _look(self, query: str, parameters: tuple[object, ...]) -> list[Lock]:
        # Asked for every write and every listing, hence without a context manager.
        if os.getpid() != self._process:
            self._check_process()
        try:
            with self._reading:
                rows = self._reader.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error
        return [_lock(row) for row in rows] if rows else []

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The only writer's connection, to be committed at the end or rolled back."""
        self._check_process()
        handoff.about_to_wait()
        with _meanings(self._path), self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError("a SqliteLocks is used by the process that opened it only")


def _connect(path: Path) -> sqlite3.Connection:
    with _meanings(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")  # the first look into the file
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables when they are not there; several processes may do so at once."""
    with _meanings(path):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                raise FormatTooNew(str(path))
            if version == 0:
                path.chmod(0o600)  # tokens and owners are nobody else's business
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        _use_wal(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a WAL; SQLite does not wait when another process does it as well."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _around(path: str, now: float, *, below: bool) -> tuple[str, tuple[object, ...]]:
    """The query for the live locks on `path` and its ancestors, and below if wanted."""
    roots = (path, *paths.ancestors(path))
    if below:
        return _query(len(roots), below=True), (*roots, now, *_below(path), path, now)
    return _query(len(roots), below=False), (*roots, now)


@functools.cache
def _query(roots: int, *, below: bool) -> str:
    marks = ", ".join("?" * roots)
    query = f"SELECT {_COLUMNS} FROM locks WHERE root IN ({marks}) AND expires > ?"  # noqa: S608
    if below:
        # The root "/" lies in its own range.
        query += (
            f" UNION ALL SELECT {_COLUMNS} FROM locks"  # noqa: S608
            " WHERE root >= ? AND root < ? AND root <> ? AND expires > ?"
        )
    return query


def _below(path: str) -> tuple[str, str]:
    """The range, lower end included, of the roots below `path`. "0" follows "/" in ASCII."""
    start = path if path == paths.ROOT else path + "/"
    return start, start[:-1] + "0"


def _lock(row: _Row) -> Lock:
    token, root, scope, infinite, principal, owner, timeout, expires = row
    return Lock(token, root, scope, bool(infinite), principal, owner, timeout, expires)


def _get(connection: sqlite3.Connection, token: str, path: str, now: float) -> Lock:
    query = f"SELECT {_COLUMNS} FROM locks WHERE token = ? AND expires > ?"  # noqa: S608
    row = connection.execute(query, (token, now)).fetchone()
    lock = _lock(row) if row else None
    if lock is None or not lock.covers(path):
        raise NoSuchLock(path)
    return lock


@contextlib.contextmanager
def _meanings(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, path) from error


def _meaning(error: sqlite3.Error, path: Path) -> StoreError:
    """What an error of SQLite means for the caller, who learns the file's name only."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return QuotaExceeded(path.name)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(path.name)
    return Unavailable(path.name)
