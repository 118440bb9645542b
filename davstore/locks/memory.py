"""Locks in the memory of one process: the twin that the other lock stores are compared with.

What if the process dies: its locks go with it. What if somebody else does the same at
this moment: every method holds the one mutex. No other process sees these locks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from davstore import paths
from davstore.errors import Forbidden, LockConflict, NoSuchLock
from davstore.locks.base import Lock, LockRequest, LockStore, conflicts, new_token


class MemoryLocks(LockStore):
    """Few locks, looked through one by one."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._locks: dict[str, Lock] = {}

    def grant(self, wanted: LockRequest, now: float) -> Lock:
        with self._mutex:
            # Nobody may refresh any more what this lock is granted in the place of.
            self.sweep(now)
            in_the_way = conflicts(wanted, self._live(now, lambda _: True))
            if in_the_way:
                raise LockConflict(wanted.root, sorted({lock.root for lock in in_the_way}))
            lock = Lock(
                token=new_token(),
                root=wanted.root,
                scope=wanted.scope,
                infinite=wanted.infinite,
                principal=wanted.principal,
                owner=wanted.owner,
                timeout=wanted.timeout,
                expires=now + wanted.timeout,
            )
            self._locks[lock.token] = lock
            return lock

    def refresh(
        self, token: str, path: str, timeout: float, principal: str | None, now: float
    ) -> Lock:
        with self._mutex:
            lock = self._get(token, path, now)
            if lock.principal != principal:
                raise NoSuchLock(path)
            self._locks[token] = replace(lock, timeout=timeout, expires=now + timeout)
            return self._locks[token]

    def release(self, token: str, path: str, principal: str | None, now: float) -> None:
        with self._mutex:
            if self._get(token, path, now).principal != principal:
                raise Forbidden(path, "This lock is somebody else's.")
            del self._locks[token]

    def covering(self, path: str, now: float) -> list[Lock]:
        with self._mutex:
            return self._live(now, lambda lock: lock.covers(path))

    def find(self, token: str, now: float) -> Lock | None:
        with self._mutex:
            lock = self._locks.get(token)
            return lock if lock is not None and lock.expires > now else None

    def around(self, path: str, now: float, *, below: bool) -> list[Lock]:
        def wanted(lock: Lock) -> bool:
            above = paths.is_within(path, lock.root)
            return above or (below and paths.is_within(lock.root, path))

        with self._mutex:
            return self._live(now, wanted)

    def members(self, folder: str, now: float) -> Iterator[Lock]:
        def wanted(lock: Lock) -> bool:
            return lock.root != paths.ROOT and paths.parent(lock.root) == folder

        with self._mutex:
            found = self._live(now, wanted)
        return iter(sorted(found, key=lambda lock: lock.root))

    def forget(self, path: str) -> None:
        with self._mutex:
            for lock in list(self._locks.values()):
                if paths.is_within(lock.root, path):
                    del self._locks[lock.token]

    def sweep(self, now: float) -> int:
        with self._mutex:
            expired = [lock.token for lock in self._locks.values() if lock.expires <= now]
            for token in expired:
                del self._locks[token]
            return len(expired)

    def count(self, now: float, path: str = paths.ROOT) -> int:
        with self._mutex:
            return len(self._live(now, lambda lock: paths.is_within(lock.root, path)))

    def close(self) -> None:
        """Forget everything."""
        with self._mutex:
            self._locks.clear()

    def _live(self, now: float, wanted: Callable[[Lock], bool]) -> list[Lock]:
        """The locks that have not expired and are wanted, by token."""
        live = (lock for lock in self._locks.values() if lock.expires > now and wanted(lock))
        return sorted(live, key=lambda lock: lock.token)

    def _get(self, token: str, path: str, now: float) -> Lock:
        lock = self._locks.get(token)
        if lock is None or lock.expires <= now or not lock.covers(path):
            raise NoSuchLock(path)
        return lock
