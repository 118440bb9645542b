"""wsgidav's lock manager over our lock stores, for other WsgiDAV code that asks it.

Our own methods go to the lock store directly; both see the same locks, in every process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from wsgidav.lock_man.lock_manager import LockManager as WsgiDavLockManager

from davstore import paths
from davstore.dav.errors import as_dav_error
from davstore.errors import NoSuchLock, StoreError
from davstore.locks.base import Lock, LockRequest, LockStore
from davstore.stores.base import Effect

LockDict = dict[str, Any]


class LockManager(WsgiDavLockManager):
    """wsgidav names a resource by its path in the whole URL space, and so do our locks.

    wsgidav's checks and grants are separate steps under a lock of one process; here each is
    one transaction of the store. A lock is shown to wsgidav as its dictionary.
    """

    def __init__(self, locks: LockStore) -> None:
        # Not super().__init__(): it wants a storage of wsgidav's own kind.
        self.storage = locks

    def __del__(self) -> None:
        """The store is the application's, which closes it."""

    def acquire(
        self,
        *,
        url: str,
        lock_type: str,
        lock_scope: str,
        lock_depth: str,
        lock_owner: bytes,
        timeout: float,
        principal: str,
        token_list: Sequence[str],
    ) -> LockDict:
        """A new lock, or 423."""
        assert lock_type == "write"
        wanted = LockRequest(
            paths.normalise(url),
            lock_scope,
            lock_depth == "infinity",
            principal or None,
            lock_owner.decode(),
            timeout,
        )
        try:
            return _as_dict(self.storage.grant(wanted, time.time()))
        except StoreError as error:
            raise as_dav_error(error) from None

    def get_url_lock_list(self, url: str) -> list[LockDict]:
        path = paths.normalise(url)
        return [each for each in self.get_indirect_url_lock_list(url) if each["root"] == path]

    def get_indirect_url_lock_list(self, url: str, principal: str | None = None) -> list[LockDict]:
        found = self.storage.covering(paths.normalise(url), time.time())
        return [_as_dict(lock) for lock in found if principal in (None, lock.principal)]

    def is_url_locked(self, url: str) -> bool:
        return bool(self.get_indirect_url_lock_list(url))

    def is_url_locked_by_token(self, url: str, lock_token: str) -> bool:
        return any(each["token"] == lock_token for each in self.get_indirect_url_lock_list(url))

    def remove_all_locks_from_url(self, url: str) -> None:
        self.storage.forget(paths.normalise(url))

    def get_lock(self, token: str, key: str | None = None) -> Any:
        """The lock, or one entry of it; None when there is none."""
        lock = self.storage.find(token, time.time())
        if lock is None:
            return None
        return _as_dict(lock) if key is None else _as_dict(lock)[key]

    def is_token_locked_by_user(self, token: str, principal: str) -> bool:
        return bool(self.get_lock(token, "principal") == principal)

    def refresh(self, token: str, *, timeout: float | None = None) -> LockDict:
        """The lock with a new end; 412 when there is none."""
        lock = self.storage.find(token, time.time())
        if lock is None:
            raise as_dav_error(NoSuchLock(token))
        seconds = lock.timeout if timeout is None else timeout
        return _as_dict(
            self.storage.refresh(token, lock.root, seconds, lock.principal, time.time())
        )

    def release(self, token: str) -> None:
        lock = self.storage.find(token, time.time())
        if lock is not None:
            self.storage.release(token, lock.root, lock.principal, time.time())

    @contextlib.contextmanager
    def write_transaction(
        self, *, url: str, token_list: Sequence[str], principal: str
    ) -> Iterator[None]:
        """A check before the write. What a store writes it judges again at its commit."""
        self.check_write_permission(url=url, depth="0", token_list=token_list, principal=principal)
        yield

    def check_write_permission(
        self, *, url: str, depth: str, token_list: Sequence[str], principal: str
    ) -> None:
        """423 when a lock forbids to change `url`; with depth infinity, or what is below."""
        effect = Effect.REMOVE if depth == "infinity" else Effect.MODIFY
        try:
            self.storage.check(
                paths.normalise(url), effect, token_list, principal or None, time.time()
            )
        except StoreError as error:
            raise as_dav_error(error) from None


def _as_dict(lock: Lock) -> LockDict:
    return {
        "token": lock.token,
        "root": lock.root,
        "type": "write",
        "scope": lock.scope,
        "depth": "infinity" if lock.infinite else "0",
        "owner": lock.owner.encode(),
        "timeout": lock.timeout,
        "expire": lock.expires,
        "principal": lock.principal or "",
    }
