"""What a rename is going to do, written before it, so that its rows follow it whatever happens.

A rename and the change of the rows that belong to it are two steps. The intent is written
before the first and removed in the transaction of the second. Who finds one and gets its
path locks knows that its owner is dead, looks which inode stands where, and finishes or
forgets it. Every change looks for intents on its way (`Share.changing`), so that nobody
builds on a half-done one; `sweep` and the opening of a share settle the rest.
"""

from __future__ import annotations

import os
import sqlite3
from typing import NamedTuple

from davstore import paths
from davstore.stores.folder.database import Database


class Intent(NamedTuple):
    """That something arrives at `target`.

    `source` is where its rows are until then (None: a copy). `arrives` is the identity
    (see `identity`) of what will stand at the target when it is done; `leaves` the one of
    what is then left at the source and has to go. `aside` is the reserved name (folder and
    name, by slash) of a target that was put out of the way; `staged` the name under which the
    rows of a staged tree stand.
    """

    id: str
    share: str
    source: str | None
    target: str
    arrives: str
    leaves: str | None = None
    aside: str | None = None
    staged: str | None = None

    def concerns(self, path: str) -> bool:
        """Whether it changes something at, above or below `path`."""
        mine = (self.target,) if self.source is None else (self.source, self.target)
        return any(paths.is_within(path, at) or paths.is_within(at, path) for at in mine)


def identity(found: os.stat_result) -> str:
    return f"{found.st_dev:x}-{found.st_ino:x}"


def write(db: sqlite3.Connection, intent: Intent) -> None:
    db.execute("INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?)", intent)


def remove(db: sqlite3.Connection, intent: Intent) -> None:
    db.execute("DELETE FROM intents WHERE id = ?", (intent.id,))


def of_share(database: Database, share: str) -> list[Intent]:
    """The intents that are not settled; usually none."""
    found = database.read("SELECT * FROM intents WHERE share = ?", (share,))
    return [Intent._make(values) for values in found]
