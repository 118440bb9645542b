"""How something comes to stand at a target in one step, whatever stands there now."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from typing import NamedTuple

from davstore import paths
from davstore.errors import Exists, Forbidden, IntoItself, NotFound, StoreError
from davstore.stores.base import Context
from davstore.stores.folder import syscalls, trash
from davstore.stores.folder.intents import Intent, identity
from davstore.stores.folder.place import Place
from davstore.stores.folder.settling import withdraw
from davstore.stores.folder.share import Share, in_time, log
from davstore.stores.folder.staging import ASIDE, UPLOAD, Reserved, split_aside

#: A tree in the trash: the reserved folder and its name there.
Thrown = tuple[Reserved, str]


class Entry(NamedTuple):
    """What is to arrive: `name` in the open `folder`; `found` is of itself, no link followed."""

    folder: int
    name: str
    found: os.stat_result


def check_paths(share: Share, ctx: Context, source: str, target: str, *, within: bool) -> None:
    """What can be said of a MOVE or COPY by its paths, once there is a source.

    `within`: the whole tree is meant, so that the target must not lie in it. Raises NotFound,
    Forbidden, IntoItself, DeadlineExceeded.
    """
    if paths.is_reserved(source):
        raise NotFound(source)
    in_time(ctx, target)
    refusal: StoreError | None = None
    if target == paths.ROOT:
        refusal = Forbidden(target, "The root cannot be replaced.")
    elif paths.is_within(source, target) or (within and paths.is_within(target, source)):
        refusal = IntoItself(target)
    if refusal is not None:
        share.stat(source)
        raise refusal
    share.may_change(ctx, target)


def must_be_free(target: Place, overwrite: bool) -> None:
    """Raises Exists; Forbidden where something lies that clients do not see."""
    target.must_be_usable()
    if target.own is not None and not overwrite:
        raise Exists(target.path)


def intent_for(share: Share, source: str | None, entry: Entry, target: Place) -> Intent:
    """The intent of `put`, which the caller announces before it."""
    leaves = aside = None
    if target.own is not None and _is_swap(entry, target):
        reserved = share.staging.beside(target.parent, paths.parent(target.path))
        leaves = identity(target.own)
        aside = f"{reserved.folder.rstrip('/')}/{reserved.new_name(ASIDE)}"
    return Intent(
        secrets.token_hex(12),
        share.name,
        source,
        target.path,
        identity(entry.found),
        leaves,
        aside,
    )


def put(share: Share, intent: Intent, entry: Entry, target: Place) -> Thrown | None:
    """Let `entry` arrive, on the target's own file system. Returns what has to be taken apart.

    Nobody meets a missing target, but for `Store.swaps_at_once`. When it fails nothing has
    changed and the intent is gone; when only the fsync fails, the intent stays and has the rows
    follow. Raises OSError; FileExistsError where somebody outside davstore was faster.
    """
    with _undone(share, intent):
        if target.own is not None and _is_swap(entry, target):
            thrown = _swap(share, intent, entry, target)
        else:
            _rename(share, entry, target)
            thrown = None
    share.sync(target.parent)
    return thrown


def replaced_bytes(entry: Entry, target: Place) -> int:
    """What a replaced file gives back at once. What is thrown away (a folder, or a file that a
    folder replaces) gives back as it is taken apart."""
    own = target.own
    if own is None or _is_swap(entry, target) or not stat.S_ISREG(own.st_mode):
        return 0
    return own.st_size


def _is_swap(entry: Entry, target: Place) -> bool:
    """rename(2) replaces only files by files."""
    return stat.S_ISDIR(entry.found.st_mode) or target.is_folder


def _rename(share: Share, entry: Entry, target: Place) -> None:
    if target.own is None and share.rename_with(
        entry.folder, entry.name, target.parent, target.name, syscalls.RENAME_NOREPLACE
    ):
        return
    os.rename(entry.name, target.name, src_dir_fd=entry.folder, dst_dir_fd=target.parent)
    if target.own is not None and os.path.samestat(target.own, entry.found):
        # Two names of one file: rename(2) does nothing then.
        os.unlink(entry.name, dir_fd=entry.folder)


def _swap(share: Share, intent: Intent, entry: Entry, target: Place) -> Thrown | None:
    """Where a folder is involved: exchange the two, throw away what was there."""
    reserved = share.staging.beside(target.parent, paths.parent(target.path))
    if _exchange(share, entry, target):
        try:
            return reserved, trash.throw(reserved, entry.folder, entry.name)
        except FileNotFoundError:
            # What a copy has replaced lies in the reserved folder now, held by nobody, and a
            # sweeper was faster.
            return None
        except OSError:
            _exchange(share, entry, target)
            raise
    assert intent.aside is not None
    aside = split_aside(intent.aside)[1]
    os.rename(target.name, aside, src_dir_fd=target.parent, dst_dir_fd=reserved.fd)
    try:
        os.rename(entry.name, target.name, src_dir_fd=entry.folder, dst_dir_fd=target.parent)
    except OSError:
        os.rename(aside, target.name, src_dir_fd=reserved.fd, dst_dir_fd=target.parent)
        raise
    return reserved, trash.throw(reserved, reserved.fd, aside)


def _exchange(share: Share, entry: Entry, target: Place) -> bool:
    return share.rename_with(
        entry.folder, entry.name, target.parent, target.name, syscalls.RENAME_EXCHANGE
    )


def can_exchange(share: Share) -> bool:
    """Whether `_swap` is one step in the share's own mount; found out by doing it."""
    reserved = share.staging.beside(share.root, paths.ROOT)
    with contextlib.ExitStack() as stack:
        names = []
        for _ in range(2):
            name, fd = reserved.new_file(UPLOAD)
            stack.callback(os.close, fd)
            stack.callback(os.unlink, name, dir_fd=reserved.fd)
            names.append(name)
        first, second = names
        flags = syscalls.RENAME_EXCHANGE
        return share.rename_with(reserved.fd, first, reserved.fd, second, flags)


@contextlib.contextmanager
def _undone(share: Share, intent: Intent) -> Iterator[None]:
    """A rename that fails leaves no intent."""
    try:
        yield
    except OSError:
        try:
            withdraw(share, intent)
        except (sqlite3.Error, OSError) as error:
            log.error("an intent on %r is settled later: %s", intent.target, error)
        raise
