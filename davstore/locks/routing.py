"""Several lock stores as one: each path's locks lie with the share that the path is in.

A lock covers its own share only: what is mounted below a locked folder is another share, which
that folder does not list either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from davstore import paths
from davstore.errors import Locked, StoreError
from davstore.lazily import Lazily
from davstore.locks.base import Lock, LockRequest, LockStore


class Route:
    """The locks at and below the path `mount`, kept under paths relative to `base`.

    Locks that several nodes share are kept relative to the mount: it may differ between nodes.
    Opened when first asked for, so that a database that is away keeps no server from starting.
    """

    def __init__(self, mount: str, base: str, opener: Callable[[], LockStore]) -> None:
        self.mount = mount
        self._base = base
        self._lazily = Lazily(opener)

    def open(self) -> LockStore:
        return self._lazily.get()

    @property
    def opened(self) -> LockStore | None:
        return self._lazily.opened

    def inner(self, path: str) -> str:
        """A path of the URL space as the store has it."""
        return paths.rebase(path, self._base, paths.ROOT)

    def outer(self, lock: Lock) -> Lock:
        """A lock of the store as the URL space has it."""
        return replace(lock, root=self.outer_path(lock.root))

    def outer_path(self, path: str) -> str:
        return paths.rebase(path, paths.ROOT, self._base)


class RoutedLocks(LockStore):
    """`routes`: one of them has the mount "/"."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = {route.mount: route for route in routes}

    def _route(self, path: str) -> Route:
        """That of the longest mount at or above `path`."""
        mount = path
        while mount not in self._routes:
            mount = paths.parent(mount)
        return self._routes[mount]

    def grant(self, wanted: LockRequest, now: float) -> Lock:
        route = self._route(wanted.root)
        try:
            lock = route.open().grant(replace(wanted, root=route.inner(wanted.root)), now)
        except Locked as error:
            raise _outside(error, route) from None
        return route.outer(lock)

    def refresh(
        self, token: str, path: str, timeout: float, principal: str | None, now: float
    ) -> Lock:
        route = self._route(path)
        return route.outer(route.open().refresh(token, route.inner(path), timeout, principal, now))

    def release(self, token: str, path: str, principal: str | None, now: float) -> None:
        route = self._route(path)
        route.open().release(token, route.inner(path), principal, now)

    def covering(self, path: str, now: float) -> list[Lock]:
        route = self._route(path)
        return [route.outer(lock) for lock in route.open().covering(route.inner(path), now)]

    def find(self, token: str, now: float) -> Lock | None:
        for route in self._routes.values():
            lock = route.open().find(token, now)
            if lock is not None:
                return route.outer(lock)
        return None

    def around(self, path: str, now: float, *, below: bool) -> list[Lock]:
        route = self._route(path)
        found = route.open().around(route.inner(path), now, below=below)
        return [route.outer(lock) for lock in found]

    def members(self, folder: str, now: float) -> Iterator[Lock]:
        route = self._route(folder)
        own = map(route.outer, route.open().members(route.inner(folder), now))
        mounted = [
            other
            for other in self._routes.values()
            if other.mount != paths.ROOT and paths.parent(other.mount) == folder
        ]
        if not mounted:
            return own
        on_mounts = [
            lock
            for other in mounted
            for lock in self.covering(other.mount, now)
            if lock.root == other.mount
        ]
        return iter(sorted(chain(own, on_mounts), key=lambda lock: lock.root))

    def forget(self, path: str) -> None:
        route = self._route(path)
        route.open().forget(route.inner(path))

    def new_request(self) -> None:
        for route in self._routes.values():
            if route.opened is not None:
                route.opened.new_request()

    def sweep(self, now: float) -> int:
        """Each of them, also when one is away."""
        done, failure = 0, None
        for route in self._routes.values():
            try:
                done += route.open().sweep(now)
            except StoreError as error:
                failure = error
        if failure is not None:
            raise failure
        return done

    def count(self, now: float, path: str = paths.ROOT) -> int:
        own = self._route(path)
        below = (
            route.open().count(now)
            for route in self._routes.values()
            if route is not own and paths.is_within(route.mount, path)
        )
        return own.open().count(now, own.inner(path)) + sum(below)

    def count_share(self, mount: str, mounts: Collection[str], now: float) -> int:
        """Asks no other store than the share's own."""
        own = self._route(mount)
        inside = [own.inner(other) for other in mounts if self._route(other) is own]
        return own.open().count_share(own.inner(mount), inside, now)

    def close(self) -> None:
        for route in self._routes.values():
            if route.opened is not None:
                route.opened.close()


def _outside(error: Locked, route: Route) -> Locked:
    """The error with the paths of the URL space."""
    roots = [route.outer_path(root) for root in error.roots]
    return type(error)(route.outer_path(error.path), roots, error.detail)
