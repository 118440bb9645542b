"""MOVE: one rename, whatever is at the target."""

from __future__ import annotations

import time

from davstore import paths
from davstore.errors import Forbidden, IntoItself
from davstore.stores.base import Context, Effect, Guard, Transfer
from davstore.stores.folder import syscalls, trash
from davstore.stores.folder.arriving import (
    Entry,
    Thrown,
    check_paths,
    intent_for,
    must_be_free,
    put,
    replaced_bytes,
)
from davstore.stores.folder.changing import changing
from davstore.stores.folder.copying import Copy
from davstore.stores.folder.intents import identity
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.place import Place, place_for_member, place_of_existing
from davstore.stores.folder.settling import announce, conclude
from davstore.stores.folder.share import Share


def move(
    share: Share, ctx: Context, source: str, target: str, *, overwrite: bool, guard: Guard | None
) -> Transfer:
    """See `Store.move`. Dies the process, it has happened wholly or not at all.

    A folder replaces, or is replaced, by exchanging the two and then throwing the old one
    away; in between, nobody misses anything at the target.
    """
    if source == paths.ROOT:
        raise Forbidden(source, "The root stays where it is.")
    check_paths(share, ctx, source, target, within=True)
    with changing(share, ctx, source, target), reported(target):
        with (
            place_of_existing(share.tree, source) as old,
            place_for_member(share.tree, target) as new,
        ):
            _check(share, old, new, overwrite, guard)
            created = new.own is None
            thrown = _carry_out(share, ctx, old, new)
    if thrown is not None:
        trash.take_apart(share, *thrown, time.monotonic() + trash.INLINE_BUDGET)
    return Transfer(created)


def _check(share: Share, old: Place, new: Place, overwrite: bool, guard: Guard | None) -> None:
    old.must_show()
    if old.is_same_entry(new):
        raise IntoItself(new.path)
    must_be_free(new, overwrite)
    if guard is not None:
        there = share.node_at(new, share.row(new.path))
        guard.judge(old.path, share.node_at(old, share.row(old.path)), Effect.REMOVE)
        guard.judge(new.path, there, Effect.REMOVE if there else Effect.CREATE)


def _carry_out(share: Share, ctx: Context, old: Place, new: Place) -> Thrown | None:
    assert old.own is not None
    if syscalls.mount_of(old.parent) != syscalls.mount_of(new.parent):
        return _move_across(share, ctx, old, new)
    entry = Entry(old.parent, old.name, old.own)
    intent = intent_for(share, old.path, entry, new)
    announce(share, intent, old.own, new.own)
    thrown = put(share, intent, entry, new)
    share.sync(old.parent)
    conclude(share, intent, -replaced_bytes(entry, new))
    return thrown


def _move_across(share: Share, ctx: Context, old: Place, new: Place) -> Thrown | None:
    """From one file system to another: a copy arrives, then the source goes."""
    assert old.own is not None
    copy = Copy(share, ctx, share.staging.beside(new.parent, paths.parent(new.path)))
    try:
        entry = copy.make(old.path, recursive=True)
        if copy.failures:
            raise copy.failures[0]
        intent = intent_for(share, old.path, entry, new)._replace(
            leaves=identity(old.own), staged=copy.staged
        )
        announce(share, intent, None, new.own)
        thrown = put(share, intent, entry, new)
        copy.has_arrived = True
        there = share.staging.beside(old.parent, paths.parent(old.path))
        gone = trash.throw(there, old.parent, old.name)
        share.sync(old.parent)
        conclude(share, intent, copy.copied - replaced_bytes(entry, new))
        trash.take_apart(share, there, gone, time.monotonic() + trash.INLINE_BUDGET)
    finally:
        copy.close()
    return thrown
