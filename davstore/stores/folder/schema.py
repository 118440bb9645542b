"""The state file of folder shares: its tables and its format version.

One SQLite file holds the rows of all shares of a state directory. Files themselves live on
disk only; a row exists for what a file system cannot keep.

Format 2:
- `shares`: the row id under which a share's root members stand, and its counter of used bytes.
- `nodes`: one row per node with something to remember, and per folder above one. The key is
  (parent row, name), so that a move changes one row. Row ids are random, needing no
  sequence. `ino, size, mtime, ctime` (nanoseconds) say which content the type and the digests
  are of; `etag` is set where it must outlive a change of those. Parents below zero: see
  DETACHED and STAGED.
- `intents`: renames that were begun; see `davstore.stores.folder.intents`.
- `uploads`: persistent uploads, until when they live, and what their writers noted (since
  format 2). A row whose temporary is gone is one that was committed.
- `staging`: the folders that hold temporaries, beside the one at the share's root.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from davstore.errors import FormatTooNew

#: Parent of rows whose nodes are gone; their children are removed bit by bit.
DETACHED: Final = -1
#: Parent of rows of trees that are being copied and are not yet visible.
STAGED: Final = -2

_FORMAT_1: Final = """
CREATE TABLE shares (
    name TEXT PRIMARY KEY, root INTEGER NOT NULL, used INTEGER, counted REAL
) WITHOUT ROWID;
CREATE TABLE nodes (
    parent INTEGER NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL, created REAL,
    ino INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, etag TEXT, content_type TEXT,
    md5 BLOB, sha1 BLOB, sha256 BLOB, props TEXT,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE TABLE intents (
    id TEXT PRIMARY KEY, share TEXT NOT NULL, source TEXT, target TEXT NOT NULL,
    arrives TEXT NOT NULL, leaves TEXT, aside TEXT, staged TEXT
) WITHOUT ROWID;
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, share TEXT NOT NULL, path TEXT NOT NULL, folder TEXT NOT NULL,
    content_type TEXT, modified REAL, lease_end REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE staging (
    share TEXT NOT NULL, folder TEXT NOT NULL, PRIMARY KEY (share, folder)
) WITHOUT ROWID;
"""


def _create(db: sqlite3.Connection) -> None:
    for statement in _FORMAT_1.split(";"):
        if statement.strip():
            db.execute(statement)


def _add_memo(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE uploads ADD COLUMN memo TEXT NOT NULL DEFAULT ''")


#: The n-th leads from format n to format n + 1, within one transaction.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create, _add_memo)


def version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def bring_up(db: sqlite3.Connection, file: str) -> None:
    """Make the file's format the present one; called inside a transaction.

    Whoever dies half-way leaves the old format. Raises FormatTooNew (with `file` as path).
    """
    found = version(db)
    if found > len(MIGRATIONS):
        raise FormatTooNew(file)
    for number in range(found, len(MIGRATIONS)):
        MIGRATIONS[number](db)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
