"""One open share: its descriptors, locks, rows and settings, for the operations to work on."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from davstore import paths
from davstore.errors import DeadlineExceeded, Forbidden, NotFound
from davstore.handoff import about_to_wait
from davstore.stores.base import Context, Node
from davstore.stores.folder import syscalls
from davstore.stores.folder.database import Database, Durability
from davstore.stores.folder.nodes import is_shown, needs_birth, node_of
from davstore.stores.folder.oserrors import reported, store_error
from davstore.stores.folder.pathlocks import PathLocks
from davstore.stores.folder.place import Place
from davstore.stores.folder.presence import Presence
from davstore.stores.folder.resolve import FOLDER, LOOK, Means, Tree
from davstore.stores.folder.rows import Row, Rows
from davstore.stores.folder.staging import Staging

log = logging.getLogger("davstore.stores.folder")

_STATE_FILE = "nodes.db"
_LOCK_FILE = "paths.lock"
_MOST_WARNINGS = 1000


class Settings(NamedTuple):
    """How a share is kept; see `FolderStore`."""

    name: str
    durability: Durability
    digests: tuple[str, ...]
    read_only: bool
    quota: int | None
    means: Means | None


class Share:
    """Opened in one process, after the fork; used by all its threads."""

    def __init__(self, root: Path, state: Path, settings: Settings) -> None:
        """Raises StoreError: NotFound (no such folder), FormatTooNew, Forbidden, Unavailable."""
        self.settings = settings
        self.name = settings.name
        self._warned: set[str] = set()
        self.is_full = settings.durability == "full"
        with contextlib.ExitStack() as undo, reported(paths.ROOT):
            self.root = os.open(root, FOLDER)
            undo.callback(os.close, self.root)
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.tree = Tree(self.root, settings.means)
            self.locks = PathLocks(state / _LOCK_FILE, self.name)
            undo.callback(self.locks.close)
            self.database = Database(state / _STATE_FILE, settings.durability)
            undo.callback(self.database.close)
            self.rows = Rows(self.database, self.name)
            self.staging = Staging(self.tree, self.database, self.name)
            undo.callback(self.staging.close)
            self.presence = Presence(state, self.rows.root)
            undo.callback(self.presence.close)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def stat(self, path: str) -> Node:
        """The node at `path`, links followed. Raises NotFound."""
        try:
            fd = self.tree.open(path, LOOK)
        except OSError as error:
            raise store_error(error, path) from error
        try:
            found = os.fstat(fd)
            if not is_shown(found):
                raise NotFound(path)
            row = self.row(path)
            born = syscalls.birth_time(fd) if needs_birth(found, row) else None
        finally:
            os.close(fd)
        return node_of(paths.name(path), found, row, born)

    def row(self, path: str) -> Row | None:
        with reported(path):
            return self.rows.find(path)

    def node_at(self, place: Place, row: Row | None) -> Node | None:
        """The node that clients see at `place`, whose row is `row`."""
        found = place.seen
        if found is None:
            return None
        born = syscalls.birth_time(place.parent, place.name) if needs_birth(found, row) else None
        return node_of(paths.name(place.path), found, row, born)

    @contextlib.contextmanager
    def fence(self, ctx: Context, path: str) -> Iterator[None]:
        """No change at or below `path` is between its guard's judgement and its end."""
        with reported(path), self.locks.hold((path,), ctx.deadline):
            yield

    def may_change(self, ctx: Context, *changed: str) -> None:
        """Raises Forbidden for a read-only share and for reserved names; DeadlineExceeded."""
        in_time(ctx, changed[0])
        for path in changed:
            if self.settings.read_only:
                raise Forbidden(path, "This share is read-only.")
            if paths.is_reserved(path):
                raise Forbidden(path, "This name is reserved.")

    def rename_with(self, source: int, name: str, target: int, new_name: str, flags: int) -> bool:
        """renameat2(2) from the folder `source` to `target`; False where it cannot be had.

        Raises OSError.
        """
        if self.settings.means == "portable":
            return False
        try:
            syscalls.rename_with(source, name, target, new_name, flags)
        except OSError as error:
            # EINVAL: not on this file system, or into itself, which any rename says again.
            if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
                return False
            raise
        return True

    def warn_once(self, message: str) -> None:
        """Clients list a folder again and again; the log says it once per process."""
        if message not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(message)
            log.warning(message)

    def sync(self, fd: int) -> None:
        """Have what was written to the file or folder survive a power loss."""
        if not self.is_full:
            return
        about_to_wait()
        try:
            os.fsync(fd)
        except OSError as error:
            # File systems that cannot do it for folders say so like this.
            if error.errno not in (errno.EINVAL, errno.EROFS):
                raise

    def sync_all(self, fds: Sequence[int]) -> None:
        for fd in fds:
            self.sync(fd)


def in_time(ctx: Context, path: str) -> None:
    if ctx.deadline is not None and time.monotonic() > ctx.deadline:
        raise DeadlineExceeded(path)
