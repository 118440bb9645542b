"""MKCOL, DELETE and PROPPATCH."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from typing import Final

from davstore import paths
from davstore.errors import Exists, Forbidden, NotFound, QuotaExceeded
from davstore.stores.base import Context, Effect, Guard, Node, Update
from davstore.stores.folder import rows, syscalls, trash, usage
from davstore.stores.folder.changing import changing
from davstore.stores.folder.nodes import etag_of, node_of
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.place import Place, place_for_member, place_of_existing
from davstore.stores.folder.resolve import LOOK, READ, Descriptor
from davstore.stores.folder.rows import Row
from davstore.stores.folder.share import Share, log
from davstore.stores.folder.times import exact_mtime

#: Bytes of properties on one node, names and values together.
MOST_PROPS: Final = 1 << 20


def create_folder(share: Share, ctx: Context, path: str, guard: Guard | None) -> Node:
    """One mkdir(2); see `Store.create_folder`."""
    if path == paths.ROOT:
        raise Exists(path)
    share.may_change(ctx, path)
    with changing(share, ctx, path), place_for_member(share.tree, path) as place, reported(path):
        if place.own is not None:
            raise Exists(path)
        if guard is not None:
            guard.judge(path, None, Effect.CREATE)
        forget(share, path)
        os.mkdir(place.name, dir_fd=place.parent)
        share.sync(place.parent)
        found = os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
        born = syscalls.birth_time(place.parent, place.name)
    return node_of(paths.name(path), found, None, born)


def delete(share: Share, ctx: Context, path: str, guard: Guard | None) -> None:
    """A file is unlinked, a folder thrown into the trash; see `Store.delete`.

    Dies the process before the rows are gone, they are when something new gets the name.
    """
    if paths.is_reserved(path):
        raise NotFound(path)
    if path == paths.ROOT:
        raise Forbidden(path, "The root cannot be deleted.")
    share.may_change(ctx, path)
    thrown = None
    with changing(share, ctx, path), place_of_existing(share.tree, path) as place, reported(path):
        place.must_show()
        if guard is not None:
            guard.judge(path, share.node_at(place, share.row(path)), Effect.REMOVE)
        freed = 0
        if place.is_folder:
            reserved = share.staging.beside(place.parent, paths.parent(path))
            thrown = reserved, trash.throw(reserved, place.parent, place.name)
        else:
            freed = _file_size(place)
            os.unlink(place.name, dir_fd=place.parent)
        share.sync(place.parent)
        _forget_deleted(share, path, freed)
    if thrown is not None:
        trash.take_apart(share, *thrown, time.monotonic() + trash.INLINE_BUDGET)


def _file_size(place: Place) -> int:
    own = place.own
    return own.st_size if own is not None and stat.S_ISREG(own.st_mode) else 0


def _forget_deleted(share: Share, path: str, freed: int) -> None:
    """It is gone; a state file that cannot be written does not bring it back."""
    try:
        forget(share, path, freed)
    except (sqlite3.Error, OSError) as error:
        log.error("the properties of the deleted %r were not removed: %s", path, error)


def forget(share: Share, path: str, freed: int = 0) -> None:
    """Drop the rows at and below `path`, where nothing is. Raises sqlite3.Error."""
    if not freed and share.rows.find(path) is None:
        return
    with share.database.writing() as db:
        key = rows.place_of(db, share.rows.root, path, make=False)
        if key is not None:
            rows.detach(db, key)
        usage.add(db, share, -freed)


def update(share: Share, ctx: Context, path: str, change: Update, guard: Guard | None) -> Node:
    """See `Store.update`. The properties are one row; a new time is set before it is committed."""
    if paths.is_reserved(path):
        raise NotFound(path)
    share.may_change(ctx, path)
    with changing(share, ctx, path), reported(path):
        node = share.stat(path)
        if guard is not None:
            guard.judge(path, node, Effect.MODIFY)
        props = {
            name: value for name, value in node.props.items() if name not in change.remove_props
        } | dict(change.set_props)
        if len("".join((*props, *props.values())).encode()) > MOST_PROPS:
            raise QuotaExceeded(path, "These are too many properties for one resource.")
        _write(share, path, node, props, change.modified)
        return share.stat(path)


def _write(
    share: Share, path: str, node: Node, props: dict[str, str], modified: float | None
) -> None:
    with Descriptor(share.tree.open(path, LOOK if modified is None else READ)) as file:
        before = os.fstat(file.fd)
        with _time_set(share, file.fd, before, modified) as after, share.database.writing() as db:
            key = rows.place_of(db, share.rows.root, path, make=True)
            assert key is not None
            row = rows.read(db, key) or Row(rows.new_id(), None if node.is_folder else node.created)
            row = row._replace(props=rows.encode_props(props))
            if after is not before and not node.is_folder:
                row = _still_of(row, before, after)
            rows.write(db, key, row)


@contextlib.contextmanager
def _time_set(
    share: Share, fd: int, before: os.stat_result, modified: float | None
) -> Iterator[os.stat_result]:
    """What the open file is with its new time, which it loses when its row cannot follow."""
    if modified is None:
        yield before
        return
    os.utime(fd, ns=(before.st_atime_ns, exact_mtime(modified)))
    try:
        share.sync(fd)
        yield os.fstat(fd)
    except BaseException:
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
        raise


def _still_of(row: Row, before: os.stat_result, after: os.stat_result) -> Row:
    """A new time leaves type, digests and entity tag of the content as they were."""
    if not row.holds_for(before):
        row = Row(row.id, row.created, props=row.props)
    return row.holding_for(after)._replace(etag=row.etag or etag_of(before))
