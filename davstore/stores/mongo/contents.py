"""The life of a content in GridFS: new, live, dying, dead (docs/mongodb.md, "Contents").

References to contents are derived from the indexes on nodes' `c` and `old.c`, never counted, so
no counter can drift. Whoever refers to a content confirms afterwards that it is live; whoever
collects one makes it dying first and looks for references afterwards. So one of the two always
sees the other. The nonce keeps two collectors apart.

`metadata.gc` is the date at which a collector has a look; without it nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from davstore.stores.mongo.documents import Id, Terms, new_op
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    MISSING,
    NODES,
    NOW,
    PAST,
    PRESENT,
    Algorithm,
    Delete,
    Document,
    Find,
    Insert,
    Now,
    OneOf,
    Touch,
    Update,
    Where,
)

#: Being written; `gc` is the end of its lease.
NEW: Final = "new"
#: Complete. With `gc`: not yet referred to, or perhaps no more.
LIVE: Final = "live"
#: A collector is looking for references.
DYING: Final = "dying"
#: Nobody refers to it any more, nor can.
DEAD: Final = "dead"

STATE: Final = "metadata.state"
DUTY: Final = "metadata.gc"
NONCE: Final = "metadata.nonce"
#: Until then somebody reads it, or writes to it.
HELD: Final = "metadata.held"
#: Somebody has dropped a reference to it: once it was some file's, also if nobody refers to it now.
DROPPED: Final = "metadata.dropped"

#: Nobody reads it, nor writes to it.
FREE: Final = ({HELD: MISSING}, {HELD: PAST})


def begin(content: Id, chunk_size: int, lease: float, terms: Terms, **more: Any) -> Algorithm[None]:
    """The files document comes before the chunks, so that every chunk has a findable owner."""
    metadata = {"state": NEW, "gc": Now(lease), "held": Now(terms.hold), **more}
    yield Insert(
        CONTENTS,
        {
            "_id": content,
            "length": 0,
            "chunkSize": chunk_size,
            "uploadDate": NOW,
            "metadata": metadata,
        },
    )


def renew(
    content: Id, lease: float, terms: Terms, own: Mapping[str, Any] | None = None
) -> Algorithm[bool]:
    """A sign of life of who writes it; False: the lease was over and somebody collected it, or
    the condition `own` does not hold.

    Comes right before chunks are written, so that a collector cannot miss them.
    """
    put = {HELD: Now(terms.hold), DUTY: Now(lease)}
    renewed = yield Update(CONTENTS, {"_id": content, STATE: NEW, **(own or {})}, put)
    return renewed is not None


def keep(
    content: Id, terms: Terms, only: Where | None = None, *, lease: float = 0.0, **more: Any
) -> Algorithm[datetime | None]:
    """Right before it is referred to: a new lease, longer than that may take; its end.

    None: too late, or it is not as `only` says. `more` is set in its metadata.
    """
    where = {**(only or {}), "_id": content, STATE: LIVE}
    put: dict[str, Any] = {DUTY: Now(max(lease, terms.lease))}
    put |= {f"metadata.{name}": value for name, value in more.items()}
    kept = yield Update(CONTENTS, where, put)
    return None if kept is None else kept["metadata"]["gc"]


def seal(
    content: Id,
    length: int,
    terms: Terms,
    only: Where | None = None,
    *,
    lease: float = 0.0,
    **more: Any,
) -> Algorithm[bool]:
    """All is written: live, on a lease until it is referred to. False: somebody collected it.

    Or it is not as `only` says. `more` is set in its metadata. Sealing twice (an answer was
    lost) does no harm.
    """
    put = {"length": length, STATE: LIVE, DUTY: Now(max(lease, terms.lease))}
    put |= {f"metadata.{name}": value for name, value in more.items()}
    where = {**(only or {}), "_id": content, STATE: OneOf((NEW, LIVE)), DUTY: PRESENT}
    sealed = yield Update(CONTENTS, where, put, unset=(HELD,))
    return sealed is not None


def unseal(content: Id, lease: float, terms: Terms, only: Where | None = None) -> Algorithm[None]:
    """Its commit was refused, for certain: to be written on, or committed again.

    Unless it is not as `only` says.
    """
    where = {**(only or {}), "_id": content, STATE: LIVE, DUTY: PRESENT}
    yield Update(CONTENTS, where, {STATE: NEW, DUTY: Now(lease), HELD: Now(terms.hold)})


def discard(content: Id, only: Where | None = None) -> Algorithm[None]:
    """An upload was given up by the one who wrote it: nobody writes chunks any more.

    Unless it is not as `only` says.
    """
    where = {**(only or {}), "_id": content, STATE: OneOf((NEW, LIVE)), DUTY: PRESENT}
    dead = yield Update(CONTENTS, where, {STATE: DEAD, DUTY: NOW}, unset=(HELD,))
    if dead is not None:
        yield from _bury(content)


def confirm(content: Id, lease: datetime | None) -> Algorithm[bool]:
    """That it is live still, now that a node refers to it; False: undo the reference.

    The own `lease` ends with it. Another duty stays: somebody has dropped a reference since.
    """
    live = {"_id": content, STATE: LIVE}
    if lease is not None and (yield Update(CONTENTS, {**live, DUTY: lease}, {}, unset=(DUTY,))):
        return True
    return (yield Update(CONTENTS, live)) is not None


def retire(content: Id, terms: Terms) -> Algorithm[None]:
    """Before a reference goes: have a look later, when the reference is surely gone.

    Dies the process before it removes the reference, the look finds it and nothing happens.
    """
    where = {"_id": content, STATE: OneOf((LIVE, DYING))}
    yield Update(CONTENTS, where, {DUTY: Now(terms.slot_kept), DROPPED: True})


def hold(content: Id, seconds: float) -> Algorithm[None]:
    """Somebody reads this still: not to be collected for so long."""
    yield Touch(CONTENTS, {"_id": content}, {HELD: Now(seconds)})


def collect(content: Document, terms: Terms) -> Algorithm[bool]:
    """The duty of a content whose `gc` is over; whether there was something to do.

    Dies the process anywhere, the next collector goes on from the state that it left.
    """
    state = content["metadata"]["state"]
    if state == DEAD:
        yield from _bury(content["_id"])
        return True
    if state == NEW:
        where = {"_id": content["_id"], STATE: NEW, DUTY: content["metadata"]["gc"]}
        # Buried later: its writer may be about to write chunks that it was allowed to.
        put = {STATE: DEAD, DUTY: Now(terms.slot_kept)}
        return (yield Update(CONTENTS, where, put, either=FREE)) is not None
    return (yield from _judge(content, terms))


def _judge(content: Document, terms: Terms) -> Algorithm[bool]:
    """Whether anybody refers to it: then live again, else dead."""
    key = {"_id": content["_id"]}
    nonce = new_op()
    claim = {**key, STATE: content["metadata"]["state"], DUTY: content["metadata"]["gc"]}
    put = {STATE: DYING, NONCE: nonce, DUTY: Now(terms.mark_lasts)}
    claimed = yield Update(CONTENTS, claim, put, either=FREE)
    if claimed is None:
        return False
    mine = {**key, STATE: DYING, NONCE: nonce}
    if (yield from is_referred_to(content["_id"])):
        # Was it retired again meanwhile, its new duty stays.
        as_claimed = {**mine, DUTY: claimed["metadata"]["gc"]}
        back = yield Update(CONTENTS, as_claimed, {STATE: LIVE}, unset=(NONCE, DUTY))
        if back is None:
            yield Update(CONTENTS, mine, {STATE: LIVE}, unset=(NONCE,))
        return True
    dead = yield Update(CONTENTS, mine, {STATE: DEAD, DUTY: NOW}, unset=(NONCE,))
    if dead is not None:
        yield from _bury(content["_id"])
    return True


def was_published(content: Id) -> Algorithm[bool]:
    """Whether it was some file's content ever, also when nobody has confirmed that."""
    if (yield from is_referred_to(content)):
        return True
    # Whoever drops the last reference notes it before.
    return bool((yield Find(CONTENTS, {"_id": content, DROPPED: PRESENT}, limit=1)))


def is_referred_to(content: Id) -> Algorithm[bool]:
    """Looked for in this order, as a reference moves from `c` to `old.c`, and a COPY makes a
    new `c` of any."""
    for name in ("c", "old.c", "c"):
        found = yield Find(NODES, {name: content}, limit=1, only=("c",))
        if found:
            return True
    return False


def _bury(content: Id) -> Algorithm[None]:
    yield Delete(CHUNKS, {"files_id": content}, many=True)
    yield Delete(CONTENTS, {"_id": content, STATE: DEAD})
