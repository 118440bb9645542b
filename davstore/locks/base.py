"""Write locks (RFC 4918, sections 6 and 7): the interface and the rules of conflict.

Time is passed in (`now`, seconds since 1970), so that nothing here waits for a clock.
Paths are canonical and of the server's whole URL space ("/share/a/b"). A lock is held by its
token *and* its principal: somebody else's token opens nothing (section 6.4).
"""

from __future__ import annotations

import secrets
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from davstore import paths
from davstore.errors import Locked
from davstore.stores.base import Effect

EXCLUSIVE = "exclusive"
SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Lock:
    """A granted lock. It covers `root`, and all below when `infinite`.

    `owner` is the client's DAV:owner element as XML, or "". `timeout` is what was granted,
    in seconds; `expires` is seconds since 1970. `principal` is None for anonymous.
    """

    token: str
    root: str
    scope: str
    infinite: bool
    principal: str | None
    owner: str
    timeout: float
    expires: float

    def covers(self, path: str) -> bool:
        return path == self.root or (self.infinite and paths.is_within(path, self.root))


@dataclass(frozen=True, slots=True)
class LockRequest:
    root: str
    scope: str
    infinite: bool
    principal: str | None
    owner: str
    timeout: float


def new_token() -> str:
    """A lock token: a URI unique for all time (RFC 4918, 6.5), not to be guessed."""
    return f"opaquelocktoken:{uuid.UUID(bytes=secrets.token_bytes(16), version=4)}"


def conflicts(wanted: LockRequest, existing: Iterable[Lock]) -> list[Lock]:
    """Those of the live locks `existing` with which `wanted` cannot be granted (6.1, 6.2).

    Two locks that cover a common resource conflict unless both are shared.
    """
    return [
        lock
        for lock in existing
        if (EXCLUSIVE in (wanted.scope, lock.scope))
        and (
            lock.covers(wanted.root)
            or (wanted.infinite and paths.is_within(lock.root, wanted.root))
        )
    ]


def obstacles(
    path: str,
    effect: Effect,
    existing: Iterable[Lock],
    tokens: Collection[str],
    principal: str | None,
) -> list[Lock]:
    """Those of the live locks `existing` that forbid `effect` at `path` to this client.

    `existing` has to hold every lock on `path`, on its ancestors and, for REMOVE, below it.
    A lock forbids when it covers the path; when it lies on the parent folder, of either depth,
    and the parent's members change (7.4); or when it lies below what is removed (7.4, 9.6.1).
    A shared lock is satisfied by any one token of its root that the client holds.
    """
    parent = paths.parent(path)
    in_the_way = []
    held_roots = {
        lock.root for lock in existing if lock.token in tokens and lock.principal == principal
    }
    for lock in existing:
        touches = (
            lock.covers(path)
            or (effect is not Effect.MODIFY and lock.root == parent)
            or (effect is Effect.REMOVE and paths.is_within(lock.root, path))
        )
        if touches and lock.root not in held_roots:
            in_the_way.append(lock)
    return in_the_way


class LockStore(ABC):
    """Where locks are kept. Safe for many threads; as far as a store says, for processes.

    What if the process dies: each method is one transaction, all of it happened or nothing.
    What if somebody else does the same at that moment: of two conflicting requests one
    is granted and the other sees it.
    """

    @abstractmethod
    def grant(self, wanted: LockRequest, now: float) -> Lock:
        """Grant in one step, or raise LockConflict with the roots that are in the way."""

    @abstractmethod
    def refresh(
        self, token: str, path: str, timeout: float, principal: str | None, now: float
    ) -> Lock:
        """Let the lock live `timeout` seconds from `now` on; it has to cover `path`.

        Raises NoSuchLock: unknown, expired, not covering `path`, or another principal's.
        """

    @abstractmethod
    def release(self, token: str, path: str, principal: str | None, now: float) -> None:
        """Raises NoSuchLock when it does not cover `path` or is gone; Forbidden when it is
        another principal's."""

    @abstractmethod
    def covering(self, path: str, now: float) -> list[Lock]:
        """The live locks that cover `path`: on it, or infinite on an ancestor; by token."""

    @abstractmethod
    def find(self, token: str, now: float) -> Lock | None:
        """The live lock with that token, wherever it lies."""

    @abstractmethod
    def around(self, path: str, now: float, *, below: bool) -> list[Lock]:
        """The live locks on `path` and on any ancestor of either depth; `below`: and below."""

    @abstractmethod
    def members(self, folder: str, now: float) -> Iterator[Lock]:
        """The live locks whose root is a direct member of `folder`, ordered by root."""

    @abstractmethod
    def forget(self, path: str) -> None:
        """Remove the locks whose root is `path` or lies below: the resource is gone (9.6, 9.9)."""

    def new_request(self) -> None:  # noqa: B027 - most have nothing to do
        """This thread begins with another request: what it saw in earlier ones may be old."""

    @abstractmethod
    def sweep(self, now: float) -> int:
        """Remove expired locks; returns how many. Expiry never depends on it."""

    @abstractmethod
    def count(self, now: float, path: str = paths.ROOT) -> int:
        """How many live locks there are at or below `path`."""

    def count_share(self, mount: str, mounts: Collection[str], now: float) -> int:
        """How many live locks the share at `mount` has, where there are shares at `mounts`."""
        nested = [other for other in mounts if other != mount and paths.is_within(other, mount)]
        inner = [
            other
            for other in nested
            if not any(above != other and paths.is_within(other, above) for above in nested)
        ]
        return max(0, self.count(now, mount) - sum(self.count(now, other) for other in inner))

    @abstractmethod
    def close(self) -> None: ...

    def check(
        self,
        path: str,
        effect: Effect,
        tokens: Collection[str],
        principal: str | None,
        now: float,
    ) -> None:
        """Raise Locked, with the roots, when a lock forbids `effect` at `path`."""
        existing = self.around(path, now, below=effect is Effect.REMOVE)
        found = obstacles(path, effect, existing, tokens, principal) if existing else []
        if found:
            raise Locked(path, sorted({lock.root for lock in found}))
