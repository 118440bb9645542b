"""What several algorithms do with slots: free one, settle an overwritten node, mark, retry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from davstore.errors import Unavailable
from davstore.stores.mongo.documents import (
    UNMARKED,
    Id,
    Terms,
    is_marked_by_other,
    mark,
    new_op,
    slot,
    tombstone,
    unchanged,
    written,
)
from davstore.stores.mongo.operations import (
    MISSING,
    NODES,
    PAST,
    PRESENT,
    Algorithm,
    Begin,
    Compare,
    Document,
    Find,
    Later,
    Now,
    Touch,
    Update,
)
from davstore.stores.mongo.resolving import FolderCache

_MOST_ATTEMPTS: Final = 200


@dataclass(frozen=True, slots=True)
class Tree:
    """What every algorithm on nodes needs."""

    terms: Terms = field(default_factory=Terms)
    cache: FolderCache = field(default_factory=FolderCache)


def attempts(path: str) -> Iterator[Begin]:
    """The beginnings of one try after the other, for an algorithm that goes on until it is done.

    Never ends: raises Unavailable when others were faster too often.
    """
    yield from map(Begin, range(_MOST_ATTEMPTS))
    raise Unavailable(path, "Others change this all the time; try again.")


def free_generation(tree: Tree, top: Document | None) -> Algorithm[int | None]:
    """The generation for a new node in the slot whose top was seen; None: look again.

    The tombstone that is built upon is renewed first, so that it outlives this operation: were
    it reclaimed in between, somebody could start at 0 again, and the new node would cover that.
    """
    if top is None:
        return 0
    renewed = {"slot": Now(tree.terms.slot_kept)}
    kept = yield Update(NODES, {**slot(top), "del": PRESENT}, renewed)
    return None if kept is None else int(top["g"]) + 1


def settle(tree: Tree, node: Document) -> Algorithm[None]:
    """End the overwriting that `node.over` announces; whoever meets it may.

    Dies the process in between, the next one does the rest: each step does nothing when it
    was done. The overwritten node is gone only if it still stands below: a mark on it may have
    been taken away and the node moved to safety.
    """
    over = node.get("over")
    if over is None:
        return
    below = {"_id": over, "p": node["p"], "n": node["n"], "g": Compare("$lt", node["g"])}
    yield Update(NODES, {**below, "del": MISSING}, tombstone(tree.terms), unset=("mk",))
    yield Update(NODES, {**slot(node), "over": over}, written(new_op()), unset=("over",))


def take_mark(tree: Tree, node: Document, op: str) -> Algorithm[Document | None]:
    """Put the move mark `op` on `node` as it was seen; None when that failed.

    Until the mark expires, nobody else moves, replaces or deletes the node.
    """
    put = written(op, mk=mark(op, tree.terms))
    marked = yield Update(NODES, unchanged(node), put, either=UNMARKED, op=op)
    return marked or None


def drop_mark(node: Document | None, op: str) -> Algorithm[None]:
    """Take the own mark off again, wherever the node is now."""
    if node is not None:
        yield Update(NODES, {"_id": node["_id"], "mk.op": op}, written(new_op()), unset=("mk",))


def respect_mark(node: Document, op: str) -> Algorithm[bool]:
    """Whether `node` bears somebody else's mark. One that has expired is taken off.

    Its owner's commit fails then, as that is conditional on the mark.
    """
    if not is_marked_by_other(node, op):
        return False
    expired = {"_id": node["_id"], "mk.op": node["mk"]["op"], "mk.exp": PAST}
    yield Update(NODES, expired, written(new_op()), unset=("mk",))
    return True


def current(node: Document) -> Algorithm[Document | None]:
    """The document with the same id, wherever it is now."""
    found = yield Find(NODES, {"_id": node["_id"]}, without=("data",))
    return found[0] if found else None


def touch_folder(folder: Id) -> Algorithm[bool]:
    """Give the folder a new `modified`: its entries have changed (clients cache by it).

    Whether it is there still.
    """
    return bool((yield Touch(NODES, {"_id": folder, "del": MISSING}, {"mt": Later()})))


def touch_unlocked(folder: Id, seen: Document | None) -> Algorithm[bool]:
    """The same, and whether nobody has locked or unlocked the folder since it was `seen`.

    `seen` None: it was not looked at.
    """
    where: dict[str, Any] = {"_id": folder, "del": MISSING}
    if seen is not None:
        where["lk"] = seen.get("lk", MISSING)
    return bool((yield Touch(NODES, where, {"mt": Later()})))
