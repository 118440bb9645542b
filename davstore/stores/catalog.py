"""The folders above the shares, when no share is mounted at the root.

Clients look at "/" first even when they are given an address below (Explorer's OPTIONS and
PROPFIND), and a person wants to see what there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from davstore import paths
from davstore.errors import Forbidden, IsAFolder, NotFound
from davstore.stores.base import (
    Attributes,
    Context,
    Guard,
    Node,
    Reader,
    Store,
    Transfer,
    Update,
    Upload,
)

_FIXED = "The folders above the shares cannot be changed."


class Catalog(Store):
    """A fixed tree of empty folders that leads to `mounts`; nothing in it can change.

    `started` (seconds since 1970) is shown as the time of everything.
    """

    def __init__(self, mounts: Sequence[str], started: float) -> None:
        self._started = started
        self._members: dict[str, set[str]] = {paths.ROOT: set()}
        for mount in mounts:
            for folder in (*paths.ancestors(mount), mount):
                self._members.setdefault(folder, set())
                if folder != paths.ROOT:
                    self._members[paths.parent(folder)].add(paths.name(folder))

    def stat(self, ctx: Context, path: str) -> Node:
        if path not in self._members:
            raise NotFound(path)
        started = self._started
        return Node(path, paths.name(path), True, 0, started, started, f"catalog-{int(started)}")

    def list(
        self, ctx: Context, path: str, after: str | None = None, limit: int | None = None
    ) -> Iterator[Node]:
        self.stat(ctx, path)
        names = sorted(name for name in self._members[path] if after is None or name > after)
        return iter([self.stat(ctx, paths.join(path, name)) for name in names[:limit]])

    def open(self, ctx: Context, path: str) -> Reader:
        self.stat(ctx, path)
        raise IsAFolder(path)

    def upload(self, ctx: Context, path: str, attributes: Attributes = Attributes()) -> Upload:
        raise Forbidden(path, _FIXED)

    def create_folder(self, ctx: Context, path: str, guard: Guard | None = None) -> Node:
        raise Forbidden(path, _FIXED)

    def delete(self, ctx: Context, path: str, guard: Guard | None = None) -> None:
        raise Forbidden(path, _FIXED)

    def move(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        guard: Guard | None = None,
    ) -> Transfer:
        raise Forbidden(source, _FIXED)

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
        raise Forbidden(target, _FIXED)

    def update(self, ctx: Context, path: str, change: Update, guard: Guard | None = None) -> Node:
        raise Forbidden(path, _FIXED)
