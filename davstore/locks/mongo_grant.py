"""How a lock in MongoDB is granted, refreshed and released, as single-document operations.

An algorithm is a generator: it yields operations and is sent their results, so it neither knows
PyMongo nor waits for anything. `mongo` carries it out on a database; the tests' explorer runs
several at once in every order. An operation whose answer was lost is carried out again, and its
first try may still arrive at any time: all but `Put` are harmless then.

Looking first and inserting afterwards would grant two locks to two clients that look at the
same moment. So a client first lays a **claim**, a lock that is not active yet, and looks then.
Of two that conflict, whoever looked last has seen the other's claim, so:

- An active lock wins over a claim.
- Of two claims the one with the larger token steps back and tries again. The one with the
  smaller token becomes active once no conflicting claim is left.
- Whatever is in the way and has expired, claim or lock, is *removed*, under the condition that
  it has still expired, before anybody goes on. A claim becomes active only while it is there,
  and a lock that is not there is not refreshed. So it harms nothing when a client was only
  slow, or when two nodes' clocks differ: of conflicting locks never two are in the database.

Nobody has to look again after becoming active: a claim that comes later sees this one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from davstore import paths
from davstore.errors import Forbidden, LockConflict, NoSuchLock, Unavailable
from davstore.locks.base import Lock, LockRequest, conflicts, new_token

T = TypeVar("T")

#: A document is a lock: `_id` its token, `active` whether it was granted, `parent` the folder
#: that its root is a member of, `version` a name of the last refresh. None of the fields that are
#: searched by range ever changes but `expires`, and no algorithm searches by that alone: a scan
#: of an index could miss a lock that moves in it.
Document = dict[str, Any]
#: A filter of MongoDB's: equality, comparisons, $in and $or.
Filter = Mapping[str, Any]
#: Yields operations, is sent their results, returns T. Raises StoreError.
Algorithm = Generator["Operation", Any, T]
#: The time, in seconds since 1970.
Clock = Callable[[], float]

#: How long a claim stands: what a dead process left is in the others' way for so long. Whoever
#: is slower has to start again.
CLAIM_LASTS: Final = 10.0
#: How long claims are tried for. Longer than a dead process's claim stands.
GIVE_UP_AFTER: Final = 15.0


class Operation:
    """One of those below; "->" says what the algorithm is sent for it."""


@dataclass(frozen=True, slots=True)
class Look(Operation):
    """-> list of the documents that match."""

    where: Filter


@dataclass(frozen=True, slots=True)
class Put(Operation):
    """-> True, or False when the answer was lost: it is there, or not, or will be.

    Inserts `document`. It is of no use any more after `lasts` seconds.
    """

    document: Document
    lasts: float


@dataclass(frozen=True, slots=True)
class Change(Operation):
    """-> whether there was one that matched. `where` names one document by `_id`."""

    where: Filter
    put: Mapping[str, Any]
    lasts: float


@dataclass(frozen=True, slots=True)
class Remove(Operation):
    """-> whether any matched, also when it was an earlier try that removed it.

    With `many` each that matches is removed for itself, not all in one step.
    """

    where: Filter
    many: bool = False


@dataclass(frozen=True, slots=True)
class Pause(Operation):
    """-> None. Somebody else was in the way: wait a moment, longer each time."""

    attempt: int


def around(path: str, *, below: bool) -> Filter:
    """What lies on `path` or on an ancestor, and below it if wanted."""
    above = {"root": {"$in": [path, *paths.ancestors(path)]}}
    return {"$or": [above, within(path)]} if below else above


def within(path: str) -> Filter:
    """What lies on `path` or below it."""
    if path == paths.ROOT:
        return {"root": {"$gte": paths.ROOT}}
    # "0" follows "/" in ASCII.
    return {"$or": [{"root": path}, {"root": {"$gte": path + "/", "$lt": path + "0"}}]}


def live(now: float) -> Filter:
    """What was granted and has not expired."""
    return {"active": True, "expires": {"$gt": now}}


def lock_of(document: Document) -> Lock:
    return Lock(
        token=document["_id"],
        root=document["root"],
        scope=document["scope"],
        infinite=document["infinite"],
        principal=document["principal"],
        owner=document["owner"],
        timeout=document["timeout"],
        expires=document["expires"],
    )


def grant(
    wanted: LockRequest,
    now: float,
    clock: Clock,
    *,
    claim_lasts: float = CLAIM_LASTS,
    token: Callable[[], str] = new_token,
) -> Algorithm[Lock]:
    """The granted lock, which expires `wanted.timeout` after `now`. `clock` goes on from `now`.

    Raises LockConflict; Unavailable when others' claims were in the way all the time.
    """
    attempt = 0
    while clock() <= now + GIVE_UP_AFTER:
        # A look beforehand spares most claims: who would not get the lock disturbs nobody.
        if not (yield from _rivals(wanted, clock)):
            lock = Lock(
                token=token(),
                root=wanted.root,
                scope=wanted.scope,
                infinite=wanted.infinite,
                principal=wanted.principal,
                owner=wanted.owner,
                timeout=wanted.timeout,
                expires=now + wanted.timeout,
            )
            if (yield from _claim(wanted, lock, clock, claim_lasts)):
                return lock
        attempt += 1
        yield Pause(attempt)
    raise Unavailable(wanted.root, "Others want to lock this at the same moment.")


def _claim(wanted: LockRequest, lock: Lock, clock: Clock, lasts: float) -> Algorithm[bool]:
    """Whether `lock` has become active. If not, its claim is gone. Raises LockConflict."""
    until = clock() + lasts
    if not (yield Put(_document(lock, expires=until), lasts)):
        # A second try could lay a claim again that somebody has removed and not seen since.
        yield Remove({"_id": lock.token})
        return False
    attempt = 0
    while True:
        try:
            rivals = yield from _rivals(wanted, clock, own=lock.token)
        except LockConflict:
            yield Remove({"_id": lock.token})
            raise
        if not rivals:
            active = yield from _activate(lock, clock)
            if not active:
                # It had expired, and is there or not.
                yield Remove({"_id": lock.token})
            return active
        if min(rivals) < lock.token or clock() >= until:
            yield Remove({"_id": lock.token})
            return False
        attempt += 1
        yield Pause(attempt)


def _activate(lock: Lock, clock: Clock) -> Algorithm[bool]:
    """Whether the claim was still there, so that it is a lock now."""
    now = clock()
    # When the answer to the first try was lost, it is active already.
    done = {"active": True, "expires": lock.expires}
    either = [{"active": False, "expires": {"$gt": now}}, done]
    where = {"_id": lock.token, "$or": either}
    return (yield Change(where, done, lock.expires - now))  # type: ignore[no-any-return]


def _rivals(wanted: LockRequest, clock: Clock, own: str = "") -> Algorithm[set[str]]:
    """The tokens of the claims in the way of `wanted`; nothing in its way has expired.

    Raises LockConflict when a lock is in the way.
    """
    while True:
        now = clock()
        found = yield Look(around(wanted.root, below=wanted.infinite))
        others = {document["_id"]: document for document in found if document["_id"] != own}
        in_the_way = conflicts(wanted, map(lock_of, others.values()))
        standing = [lock for lock in in_the_way if lock.expires > now]
        granted = {lock.root for lock in standing if others[lock.token]["active"]}
        if granted:
            raise LockConflict(wanted.root, sorted(granted))
        expired = {lock.token for lock in in_the_way} - {lock.token for lock in standing}
        if not expired:
            return {lock.token for lock in standing}
        # Whoever activates or refreshes it at this moment is seen by the next look.
        yield Remove({"_id": {"$in": sorted(expired)}, "expires": {"$lte": now}}, many=True)


def _document(lock: Lock, *, expires: float) -> Document:
    return {
        "_id": lock.token,
        "root": lock.root,
        # The root is no member of itself.
        "parent": paths.parent(lock.root) if lock.root != paths.ROOT else "",
        "scope": lock.scope,
        "infinite": lock.infinite,
        "principal": lock.principal,
        "owner": lock.owner,
        "timeout": lock.timeout,
        "expires": expires,
        "active": False,
        "version": "",
    }


def refresh(
    token: str, path: str, timeout: float, principal: str | None, now: float
) -> Algorithm[Lock]:
    """As `LockStore.refresh`."""
    until, version = now + timeout, secrets.token_hex(8)
    while True:
        found = yield from _held(token, path, now)
        lock = lock_of(found)
        if lock.principal != principal:
            raise NoSuchLock(path)
        # Only as it was seen (or is, by a first try whose answer was lost): a try that was given
        # up and comes late does not undo a later refresh.
        where = {"_id": token, "version": {"$in": [found["version"], version]}}
        put = {"version": version, "timeout": timeout, "expires": until}
        if (yield Change(where, put, timeout)):
            return replace(lock, timeout=timeout, expires=until)


def release(token: str, path: str, principal: str | None, now: float) -> Algorithm[None]:
    """As `LockStore.release`."""
    found = yield from _held(token, path, now)
    if found["principal"] != principal:
        raise Forbidden(path, "This lock is somebody else's.")
    if not (yield Remove({"_id": token, "active": True})):
        raise NoSuchLock(path)


def _held(token: str, path: str, now: float) -> Algorithm[Document]:
    """The live lock with that token. Raises NoSuchLock, also when it does not cover `path`."""
    found = yield Look({"_id": token, **live(now)})
    if not found or not lock_of(found[0]).covers(path):
        raise NoSuchLock(path)
    return found[0]  # type: ignore[no-any-return]
