"""Background duties: nodes and contents whose `gc` is over. Any process may do any of them.

Each step is idempotent and conditional, so whoever dies leaves the rest to the next.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any, Final

from davstore.stores.mongo import contents
from davstore.stores.mongo.documents import STAGE, is_folder, slot, tombstone, unchanged
from davstore.stores.mongo.operations import (
    COUNTERS,
    MISSING,
    NODES,
    PAST,
    PRESENT,
    Algorithm,
    Begin,
    Compare,
    Delete,
    Document,
    Find,
    Now,
    Plus,
    Touch,
    Update,
)
from davstore.stores.mongo.slots import Tree, settle

#: Members of a deleted folder that become tombstones in one step.
BATCH: Final = 200
#: Seconds until a duty that cannot be done yet is looked at again.
_LATER: Final = 30.0
_DAY: Final = 86400.0


def due(collection: str, now: datetime, limit: int) -> Algorithm[list[Document]]:
    """What has a duty at `now`, the oldest first."""
    name = "gc" if collection == NODES else contents.DUTY
    found = yield Find(
        collection,
        {name: Compare("$lte", now)},
        # What is in use would stand in the way of what is not.
        either=() if collection == NODES else contents.FREE,
        sort=((name, 1),),
        limit=limit,
        without=("data", "props"),
    )
    return list(found)


def put_off(collection: str, document: Document) -> Algorithm[None]:
    """Leave alone for a day what cannot be understood."""
    name = "gc" if collection == NODES else contents.DUTY
    yield Update(collection, {"_id": document["_id"]}, {name: Now(_DAY)})


def reclaim_content(tree: Tree, content: Document) -> Algorithm[bool]:
    """See `contents.collect`."""
    return (yield from contents.collect(content, tree.terms))


def reclaim_node(tree: Tree, node: Document, now: datetime) -> Algorithm[bool]:
    """The duty of a node; whether there was something to do.

    Claimed by pushing `gc` forward, so that others leave it alone meanwhile.
    """
    yield Begin()
    claim: dict[str, Any] = {"_id": node["_id"], "v": node["v"], "gc": node["gc"]}
    put: dict[str, Any] = {"gc": Now(tree.terms.mark_lasts)}
    is_fresh = "del" in node and "counted" not in node
    if is_fresh:
        claim["counted"] = MISSING
        put["counted"] = True
    mine = yield Update(NODES, claim, put)
    if mine is None:
        return False
    if is_fresh:
        yield from count(-node.get("size", 0))
    if "del" in mine:
        return (yield from _tombstone(tree, mine, now))
    if "over" in mine:
        yield from settle(tree, mine)
    elif mine["p"] == STAGE:
        yield Update(NODES, unchanged(mine), tombstone(tree.terms))
    elif "old" in mine:
        yield from _forget_old(tree, mine, now)
    else:
        yield Update(NODES, {"_id": mine["_id"], "v": mine["v"], "gc": mine["gc"]}, unset=("gc",))
    return True


def _forget_old(tree: Tree, node: Document, now: datetime) -> Algorithm[None]:
    """Drop the replaced contents that nobody can be reading any more."""
    limit = now - timedelta(seconds=tree.terms.grace)
    kept = [entry for entry in node["old"] if entry["t"] > limit]
    for entry in node["old"]:
        if entry not in kept:
            yield from contents.retire(entry["c"], tree.terms)
    put: dict[str, Any] = {}
    unset: tuple[str, ...] = ("old", "gc")
    if kept:
        put = {"old": kept, "gc": kept[0]["t"] + timedelta(seconds=tree.terms.grace)}
        unset = ()
    yield Update(NODES, {"_id": node["_id"], "v": node["v"]}, put, unset)


def _tombstone(tree: Tree, node: Document, now: datetime) -> Algorithm[bool]:
    """First its members become tombstones, then it waits for the end of the grace, then it goes."""
    if is_folder(node) and (buried := (yield from _bury_members(tree, node))):
        # A whole batch: there may be more.
        yield from _postpone(node, 0.0 if buried == BATCH else tree.terms.grace)
        return True
    if node["del"] + timedelta(seconds=tree.terms.grace) > now:
        yield from _postpone(node, tree.terms.grace)
        return True
    return (yield from _remove(tree, node))


def _bury_members(tree: Tree, folder: Document) -> Algorithm[int]:
    """Make tombstones of live members, a batch at most; how many."""
    found = yield Find(
        NODES, {"p": folder["_id"], "del": MISSING}, limit=BATCH, without=("data", "props")
    )
    for member in found:
        yield Update(NODES, {**slot(member), "del": MISSING}, tombstone(tree.terms), ("mk",))
    return len(found)


def _postpone(node: Document, seconds: float) -> Algorithm[None]:
    where = {"_id": node["_id"], "del": PRESENT}
    yield Update(NODES, where, {"gc": Now(seconds)})


def _remove(tree: Tree, node: Document) -> Algorithm[bool]:
    """The document itself, when nothing stands on it any more.

    `slot` says that no operation can be under way any more that saw it: one that would put a
    member into this folder, or would use the next generation of this slot.
    """
    is_free = yield Find(NODES, {"_id": node["_id"], "slot": PAST}, limit=1, only=("slot",))
    members = yield Find(NODES, {"p": node["_id"]}, limit=1, only=("g",))
    lower = yield Find(
        NODES,
        {"p": node["p"], "n": node["n"], "g": Compare("$lt", node["g"])},
        limit=1,
        only=("g",),
    )
    if not is_free or members or lower:
        yield from _postpone(node, min(_LATER, tree.terms.slot_kept))
        return False
    for content in (node.get("c"), *(entry["c"] for entry in node.get("old", ()))):
        if content is not None:
            yield from contents.retire(content, tree.terms)
    return bool((yield Delete(NODES, {"_id": node["_id"], "del": PRESENT, "slot": PAST})))


#: Over so many documents the count of used bytes is spread, so that processes do not queue; the
#: threads of one share their writes (see `sharing`).
COUNTER_SHARDS: Final = 8


def count(growth: int) -> Algorithm[None]:
    """Add to the used bytes.

    Dies the process before, the counter has drifted; fsck sets it right.
    """
    if growth:
        name = f"used-{os.getpid() % COUNTER_SHARDS}"
        yield Touch(COUNTERS, {"_id": name}, {"bytes": Plus(growth)}, insert=True)


def used_bytes() -> Algorithm[int]:
    """What all counters together say."""
    found = yield Find(COUNTERS)
    return sum(counter.get("bytes", 0) for counter in found)
