"""The second half of a rename: its rows. And the same for those whose owner died."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat

from davstore import paths
from davstore.errors import StoreError
from davstore.stores.folder import intents, rows, trash, usage
from davstore.stores.folder.intents import Intent, identity
from davstore.stores.folder.nodes import etag_of
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.place import Place
from davstore.stores.folder.rows import Row
from davstore.stores.folder.schema import STAGED
from davstore.stores.folder.share import Share, log
from davstore.stores.folder.staging import split_aside


def announce(
    share: Share, intent: Intent, moving: os.stat_result | None, replaced: os.stat_result | None
) -> None:
    """Write the intent. `moving` is what lies at the source, `replaced` at the target.

    From here on their rows are trusted but for the ctime, which a rename changes; so a row
    that does not hold any more is made to hold for nothing.
    """
    with share.database.writing() as db:
        intents.write(db, intent)
        for path, found in ((intent.source, moving), (intent.target, replaced)):
            if path is None or found is None:
                continue
            key = rows.place_of(db, share.rows.root, path, make=False)
            row = rows.read(db, key) if key else None
            if key and row and row.ino is not None and not row.holds_for(found):
                rows.write(db, key, row._replace(ino=None, etag=None))


def conclude(share: Share, intent: Intent, freed: int) -> None:
    """The rename has happened: let the rows follow, forget the intent.

    `freed` is the net change of the bytes in use, negative for less. The locks of the
    intent's paths are held. A state file that cannot be written leaves the intent for later.
    """
    found = _own(share, intent.target)
    try:
        with share.database.writing() as db:
            _move_rows(db, share, intent, found)
            usage.add(db, share, freed)
            intents.remove(db, intent)
    except (sqlite3.Error, OSError) as error:
        log.error("the properties of %r follow later: %s", intent.target, error)


def _move_rows(
    db: sqlite3.Connection, share: Share, intent: Intent, found: os.stat_result | None
) -> None:
    root = share.rows.root
    source = rows.place_of(db, root, intent.source, make=False) if intent.source else None
    target = rows.place_of(db, root, intent.target, make=True)
    assert target is not None
    rows.detach(db, target)
    if intent.staged is not None:
        rows.attach(db, (STAGED, intent.staged), target)
        if source is not None:
            rows.detach(db, source)
    elif source is not None:
        rows.attach(db, source, target)
    _carry(db, target, found)


def _carry(db: sqlite3.Connection, key: tuple[int, str], found: os.stat_result | None) -> None:
    row = rows.read(db, key)
    if row is not None and found is not None and stat.S_ISREG(found.st_mode):
        rows.write(db, key, _carried(row, found))


def _carried(row: Row, found: os.stat_result) -> Row:
    """The row of a file whose ctime a rename has changed. Its entity tag stays."""
    mine = (row.ino, row.size, row.mtime)
    if row.ctime is None or mine != (found.st_ino, found.st_size, found.st_mtime_ns):
        return row
    return row.holding_for(found)._replace(etag=row.etag or etag_of(found, row.ctime))


def withdraw(share: Share, intent: Intent) -> None:
    """The rename has not happened, or was undone. Raises sqlite3.Error, OSError."""
    found = _own(share, intent.target)
    with share.database.writing() as db:
        key = rows.place_of(db, share.rows.root, intent.target, make=False)
        if intent.aside is not None and key is not None:
            _carry(db, key, found)
        intents.remove(db, intent)


def _own(share: Share, path: str) -> os.stat_result | None:
    with contextlib.suppress(StoreError), Place(share.tree, path) as place:
        return place.own
    return None


def settle(share: Share, intent: Intent, deadline: float | None) -> None:
    """Finish or forget what a dead process had begun. Raises DeadlineExceeded.

    Does nothing when somebody else has settled it meanwhile.
    """
    changed = [intent.target] if intent.source is None else [intent.source, intent.target]
    with reported(intent.target), share.locks.hold(changed, deadline):
        if intent not in intents.of_share(share.database, share.name):
            return
        arrived = _own(share, intent.target)
        if arrived is not None and identity(arrived) == intent.arrives:
            _remove_rest(share, intent)
            conclude(share, intent, 0)
        else:
            _put_back(share, intent)
            withdraw(share, intent)


def _remove_rest(share: Share, intent: Intent) -> None:
    """What an exchange, or a move between file systems, has left at the source."""
    if intent.source is None or intent.leaves is None:
        return
    with contextlib.suppress(StoreError), Place(share.tree, intent.source) as place:
        if place.own is None or identity(place.own) != intent.leaves:
            return
        try:
            reserved = share.staging.beside(place.parent, paths.parent(intent.source))
            trash.throw(reserved, place.parent, place.name)
        except OSError as error:
            # It stays; an intent that is never settled would forbid every change here.
            log.error("%r was moved, and cannot be removed: %s", intent.source, error)


def _put_back(share: Share, intent: Intent) -> None:
    """A target that was put aside for something that never came."""
    if intent.aside is None:
        return
    folder, name = split_aside(intent.aside)
    reserved = share.staging.at(folder)
    if reserved is None:
        return
    with contextlib.suppress(StoreError, FileNotFoundError):
        with Place(share.tree, intent.target) as place:
            if place.own is None:
                os.rename(name, place.name, src_dir_fd=reserved.fd, dst_dir_fd=place.parent)
                share.sync(place.parent)
