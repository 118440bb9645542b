"""The rows of one share's nodes: found by path, changed within a transaction."""

from __future__ import annotations

import functools
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from davstore import paths
from davstore.stores.folder.database import Database
from davstore.stores.folder.schema import DETACHED
from davstore.stores.folder.syscalls import Found

#: A query names so many levels at once; the stack of SQLite's parser ends at about a dozen.
_LEVELS: Final = 8
#: Properties longer than this are fetched one node at a time in a listing.
_SHORT_PROPS: Final = 4096
#: Rows that one transaction of `clear_detached` takes.
_BATCH: Final = 500

_COLUMNS: Final = (
    "id, created, ino, size, mtime, ctime, etag, content_type, md5, sha1, sha256, props"
)


class Row(NamedTuple):
    """What is remembered of a node; see `schema`. `props` is JSON."""

    id: int
    created: float | None = None
    ino: int | None = None
    size: int | None = None
    mtime: int | None = None
    ctime: int | None = None
    etag: str | None = None
    content_type: str | None = None
    md5: bytes | None = None
    sha1: bytes | None = None
    sha256: bytes | None = None
    props: str | None = None

    def holds_for(self, found: os.stat_result | Found) -> bool:
        """Whether type, digests and etag are of the content that is there now."""
        return (
            self.mtime == found.st_mtime_ns
            and self.ctime == found.st_ctime_ns
            and self.ino == found.st_ino
            and self.size == found.st_size
        )

    def holding_for(self, found: os.stat_result) -> Row:
        """The same memory, of a content that is `found` now."""
        return self._replace(
            ino=found.st_ino,
            size=found.st_size,
            mtime=found.st_mtime_ns,
            ctime=found.st_ctime_ns,
        )


def new_id() -> int:
    """A random 62-bit number."""
    return int.from_bytes(os.urandom(8), "big") >> 2


@functools.cache
def _id_query(levels: int) -> str:
    """Selects the id of the row `levels` names below a given one."""
    if levels == 0:
        return "?"
    return f"(SELECT id FROM nodes WHERE parent = {_id_query(levels - 1)} AND name = ?)"  # noqa: S608


@functools.cache
def _row_query(levels: int) -> str:
    return f"SELECT {_COLUMNS} FROM nodes WHERE parent = {_id_query(levels - 1)} AND name = ?"  # noqa: S608


class Rows:
    """The rows of the share whose root members stand under the row id `root`."""

    def __init__(self, database: Database, share: str) -> None:
        self._database = database
        self.root = _share_root(database, share)

    def find(self, path: str) -> Row | None:
        """The row of the node at `path` in one query (of any usual depth)."""
        names = paths.names(path)
        at = self.root
        if not names:
            return self.root_row()
        while len(names) > _LEVELS:
            ((found,),) = self._database.read(
                f"SELECT {_id_query(_LEVELS)}",
                (at, *names[:_LEVELS]),
            )
            if found is None:
                return None
            at, names = found, names[_LEVELS:]
        found = self._database.read(_row_query(len(names)), (at, *names))
        return Row._make(found[0]) if found else None

    def root_row(self) -> Row | None:
        """The share's root has a row of its own only when it has properties."""
        found = self._database.read(
            f"SELECT {_COLUMNS} FROM nodes WHERE parent = ? AND name = ''",  # noqa: S608
            (self.root,),
        )
        return Row._make(found[0]) if found else None

    def folder_id(self, path: str) -> int | None:
        """Under which id the members of the folder `path` have their rows, if any has."""
        if path == paths.ROOT:
            return self.root
        row = self.find(path)
        return row.id if row else None

    def members(self, folder: int, first: str, last: str) -> dict[str, Row]:
        """Rows of the members named from `first` to `last`; long props are left to `props`."""
        found = self._database.read(
            "SELECT name, id, created, ino, size, mtime, ctime, etag, content_type, md5, sha1,"
            " sha256, CASE WHEN length(props) > ? THEN '' ELSE props END"
            " FROM nodes WHERE parent = ? AND name BETWEEN ? AND ?",
            (_SHORT_PROPS, folder, first, last),
        )
        return {values[0]: Row(*values[1:]) for values in found}

    def props(self, folder: int, name: str) -> str | None:
        """The properties of one member, however long."""
        found = self._database.read(
            "SELECT props FROM nodes WHERE parent = ? AND name = ?", (folder, name)
        )
        return found[0][0] if found else None


def _share_root(database: Database, share: str) -> int:
    found = database.read("SELECT root FROM shares WHERE name = ?", (share,))
    if not found:
        with database.writing() as db:
            db.execute("INSERT OR IGNORE INTO shares (name, root) VALUES (?, ?)", (share, new_id()))
        found = database.read("SELECT root FROM shares WHERE name = ?", (share,))
    return int(found[0][0])


# Changes. All of these run inside a transaction, under the path locks of what they change.


def place_of(db: sqlite3.Connection, root: int, path: str, *, make: bool) -> tuple[int, str] | None:
    """The key (parent row, name) of `path`; None when a folder above has no row.

    With `make`, such folders get their rows.
    """
    names = paths.names(path) or [""]
    at = root
    for name in names[:-1]:
        found = db.execute("SELECT id FROM nodes WHERE parent = ? AND name = ?", (at, name))
        row = found.fetchone()
        if row is None:
            if not make:
                return None
            row = (new_id(),)
            db.execute("INSERT INTO nodes (parent, name, id) VALUES (?, ?, ?)", (at, name, row[0]))
        at = row[0]
    return at, names[-1]


def write(db: sqlite3.Connection, key: tuple[int, str], row: Row) -> None:
    """Set the whole row at `key`. The id of one that is there stays."""
    db.execute(
        f"INSERT INTO nodes (parent, name, {_COLUMNS})"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (parent, name) DO UPDATE SET created = excluded.created,"
        " ino = excluded.ino, size = excluded.size, mtime = excluded.mtime,"
        " ctime = excluded.ctime, etag = excluded.etag, content_type = excluded.content_type,"
        " md5 = excluded.md5, sha1 = excluded.sha1, sha256 = excluded.sha256,"
        " props = excluded.props",
        (*key, *row),
    )


def read(db: sqlite3.Connection, key: tuple[int, str]) -> Row | None:
    found = db.execute(
        f"SELECT {_COLUMNS} FROM nodes WHERE parent = ? AND name = ?",  # noqa: S608
        key,
    ).fetchone()
    return Row._make(found) if found else None


def detach(db: sqlite3.Connection, key: tuple[int, str]) -> None:
    """Forget the row at `key`, and all below it, whose removal `clear_detached` ends."""
    found = db.execute(
        "DELETE FROM nodes WHERE parent = ? AND name = ? RETURNING id", key
    ).fetchone()
    if found is not None:
        _leave_to_clear(db, found[0])


def _leave_to_clear(db: sqlite3.Connection, folder: int) -> None:
    db.execute(
        "INSERT INTO nodes (parent, name, id) SELECT ?, ?, ?"
        " WHERE EXISTS (SELECT 1 FROM nodes WHERE parent = ?)",
        (DETACHED, str(folder), folder, folder),
    )


def attach(db: sqlite3.Connection, key: tuple[int, str], to: tuple[int, str]) -> None:
    """Give the row at `key`, with all below, the free key `to`."""
    db.execute(
        "UPDATE nodes SET parent = ?, name = ? WHERE parent = ? AND name = ?",
        (*to, *key),
    )


def clear_detached(db: sqlite3.Connection) -> int:
    """Remove some of the rows whose nodes are gone; how many were removed."""
    stub = db.execute("SELECT id FROM nodes WHERE parent = ? LIMIT 1", (DETACHED,)).fetchone()
    if stub is None:
        return 0
    members = db.execute(
        "SELECT id, name FROM nodes WHERE parent = ? LIMIT ?", (stub[0], _BATCH)
    ).fetchall()
    for member, name in members:
        db.execute("DELETE FROM nodes WHERE parent = ? AND name = ?", (stub[0], name))
        _leave_to_clear(db, member)
    if len(members) < _BATCH:
        db.execute("DELETE FROM nodes WHERE parent = ? AND name = ?", (DETACHED, str(stub[0])))
    return len(members) + 1


def encode_props(props: Mapping[str, str]) -> str | None:
    return json.dumps(dict(props), ensure_ascii=False) if props else None


def decode_props(text: str | None) -> dict[str, str]:
    return json.loads(text) if text else {}


def digest_columns(digests: Mapping[str, str]) -> dict[str, Any]:
    """Lower-case hex by algorithm, as columns."""
    return {name: bytes.fromhex(value) for name, value in digests.items()}


def staged_names(db: sqlite3.Connection, parent: int) -> Sequence[str]:
    """The names of the rows directly under `parent`."""
    return [name for (name,) in db.execute("SELECT name FROM nodes WHERE parent = ?", (parent,))]
