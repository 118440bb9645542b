"""A local directory as a store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from davstore import paths
from davstore.errors import NotFound
from davstore.stores.base import (
    Attributes,
    Context,
    Guard,
    Kept,
    Node,
    Reader,
    Store,
    Transfer,
    Update,
    Upload,
    Usage,
)
from davstore.stores.folder import changes, copying, leases, moving, probing, upload
from davstore.stores.folder.arriving import can_exchange
from davstore.stores.folder.database import Durability
from davstore.stores.folder.listing import members
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.reader import open_reader
from davstore.stores.folder.resolve import Means
from davstore.stores.folder.share import Settings, Share, in_time
from davstore.stores.folder.sweeping import Sweeper, settle_left
from davstore.stores.folder.usage import usage


class FolderStore(Store):
    """Serves the files and folders below `root`, as they are on disk.

    `state` is the state directory, shared by all shares of a node and all its processes;
    `share` names this share within it. `durability` "full" has every change survive a power
    loss, "rename" only the death of the process. `digests` (of base.DIGESTS) are kept of
    every upload. `quota` is in bytes. `means` "portable" does without openat2(2) and
    renameat2(2); None uses them where the kernel has them.

    To be opened in each process after the fork. The folder belongs to one node: two nodes
    must not serve it at the same time, other programs may use it. Raises NotFound,
    FormatTooNew, Unavailable.
    """

    def __init__(
        self,
        root: Path,
        *,
        state: Path,
        share: str,
        durability: Durability,
        digests: Sequence[str],
        read_only: bool = False,
        quota: int | None = None,
        means: Means | None = None,
    ) -> None:
        settings = Settings(share, durability, tuple(digests), read_only, quota, means)
        self._root, self._state = root, state
        self._share = Share(root, state, settings)
        self._sweeper = Sweeper(self._share)
        with reported(paths.ROOT):
            settle_left(self._share)

    @property
    def swaps_at_once(self) -> bool:
        """Not where the kernel or the file system does not know RENAME_EXCHANGE."""
        with reported(paths.ROOT):
            return can_exchange(self._share)

    def stat(self, ctx: Context, path: str) -> Node:
        in_time(ctx, path)
        if paths.is_reserved(path):
            raise NotFound(path)
        return self._share.stat(path)

    def list(
        self,
        ctx: Context,
        path: str,
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Node]:
        in_time(ctx, path)
        return members(self._share, path, after, limit)

    def open(self, ctx: Context, path: str) -> Reader:
        in_time(ctx, path)
        return open_reader(self._share, path)

    def upload(self, ctx: Context, path: str, attributes: Attributes = Attributes()) -> Upload:
        return upload.begin(self._share, ctx, path, attributes)

    def resume(self, ctx: Context, upload_id: str) -> Upload:
        return upload.resume(self._share, ctx, upload_id)

    def look_up(self, ctx: Context, upload_id: str) -> Kept:
        in_time(ctx, paths.ROOT)
        return leases.look_up(self._share, upload_id)

    def create_folder(self, ctx: Context, path: str, guard: Guard | None = None) -> Node:
        return changes.create_folder(self._share, ctx, path, guard)

    def delete(self, ctx: Context, path: str, guard: Guard | None = None) -> None:
        changes.delete(self._share, ctx, path, guard)

    def move(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        guard: Guard | None = None,
    ) -> Transfer:
        return moving.move(self._share, ctx, source, target, overwrite=overwrite, guard=guard)

    def copy(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        recursive: bool = True,
        guard: Guard | None = None,
    ) -> Transfer:
        return copying.copy(
            self._share,
            ctx,
            source,
            target,
            overwrite=overwrite,
            recursive=recursive,
            guard=guard,
        )

    def update(self, ctx: Context, path: str, change: Update, guard: Guard | None = None) -> Node:
        return changes.update(self._share, ctx, path, change, guard)

    def usage(self, ctx: Context) -> Usage:
        in_time(ctx, paths.ROOT)
        return usage(self._share)

    def fence(self, ctx: Context, path: str) -> contextlib.AbstractContextManager[None]:
        return self._share.fence(ctx, path)

    def sweep(self, now: float, budget: float = 1.0) -> int:
        return self._sweeper.sweep(now, budget)

    def probe(self, seconds: float) -> None:
        probing.probe(self._share, self._root, self._state)

    def close(self) -> None:
        self._share.close()
