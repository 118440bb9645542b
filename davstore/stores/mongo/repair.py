"""What fsck can put right. Nothing is deleted, and damaged contents stay as they are.

Each finding is looked at once more, as it was found some time ago, and then changed by single
writes that are conditional on what was seen. Dies the process anywhere: run it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Final

from bson import Binary
from bson.binary import UUID_SUBTYPE

from davstore import paths
from davstore.errors import Exists, InvalidName, NameTooLong, Unavailable
from davstore.stores.mongo.contents import DUTY, LIVE
from davstore.stores.mongo.documents import (
    FOLDER,
    LOST_AND_FOUND,
    ROOT,
    Id,
    fixed_id,
    is_folder,
    new_op,
    unchanged,
    written,
)
from davstore.stores.mongo.findings import STRAYS, Finding
from davstore.stores.mongo.inspection import (
    broken_counters,
    inspect_content,
    inspect_node,
    inspect_strays,
    lasting_drift,
)
from davstore.stores.mongo.nodes import make_folder
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    COUNTERS,
    MISSING,
    NODES,
    NOW,
    PAST,
    Algorithm,
    Begin,
    Document,
    Find,
    Insert,
    Now,
    Update,
)
from davstore.stores.mongo.resolving import resolve
from davstore.stores.mongo.slots import Tree, current, touch_folder

#: A node that others keep changing is tried so often.
_MOST_TRIES: Final = 20
#: What is put before a name to have another one, at most.
_PREFIX: Final = 40


def repair(tree: Tree, finding: Finding, now: datetime) -> Algorithm[bool]:
    """Whether it was put right. False: it cannot be, or it was not there any more."""
    yield Begin()
    kind = finding.kind
    if kind == "no-root":
        return (yield from _make_root())
    if kind == "counter":
        return (yield from _set_counters())
    if not finding.is_repairable:
        return False
    key = Binary(bytes.fromhex(finding.subject), UUID_SUBTYPE)
    if kind == "stray-chunks":
        return (yield from _adopt_chunks(tree, key))
    if kind == "leaked":
        return (yield from _have_judged(tree, key, now))
    if kind not in {each.kind for each in (yield from inspect_node(key, now))}:
        return False
    if kind in STRAYS:
        return (yield from _rescue(tree, key))
    if kind == "no-duty":
        done = yield Update(NODES, {"_id": key, "gc": MISSING}, {"gc": NOW})
        return done is not None
    return (yield from _drop_mark(key))


def _make_root() -> Algorithm[bool]:
    op = new_op()
    root = {"_id": ROOT, "p": fixed_id(0), "n": "", "g": 0, "t": FOLDER}
    made = yield Insert(NODES, {**root, "v": op, "ops": [op], "ct": NOW, "mt": NOW}, op)
    return made is not None


def _drop_mark(key: Id) -> Algorithm[bool]:
    where = {"_id": key, "mk.exp": PAST}
    return (yield Update(NODES, where, written(new_op()), unset=("mk",))) is not None


# Strays


def _rescue(tree: Tree, key: Id) -> Algorithm[bool]:
    """Move a node that no path leads to into /lost+found, with all that lies in it.

    As no path leads there, /lost+found cannot lie in it, and nobody else moves it.
    """
    for attempt in range(_MOST_TRIES):
        yield Begin(attempt)
        home = yield from _lost_and_found(tree)
        node = yield from current({"_id": key})
        if node is None or "del" in node:
            return False
        moved = yield from _move(node, home)
        if moved is None:
            continue
        # Was /lost+found deleted at this moment, the node is not to go with it.
        if (yield from touch_folder(home)):
            return True
    raise Unavailable(paths.ROOT, "Others change this all the time; try again.")


def _lost_and_found(tree: Tree) -> Algorithm[Id]:
    """The folder's id; made when it is not there. Where a file has its name, there is another."""
    number = 0
    while True:
        number += 1
        path = f"/{LOST_AND_FOUND}" if number == 1 else f"/{LOST_AND_FOUND}-{number}"
        try:
            made = yield from make_folder(tree, path)
            return Id(made["_id"], UUID_SUBTYPE)
        except Exists:
            found = yield from resolve(path, tree.cache)
            if found.node is not None and is_folder(found.node):
                return Id(found.node["_id"], UUID_SUBTYPE)


def _move(node: Document, home: Id) -> Algorithm[Document | None]:
    """None when somebody else was faster."""
    names = _names(node)
    while True:
        name = next(names)
        if (yield Find(NODES, {"p": home, "n": name}, limit=1, only=("g",))):
            continue
        op = new_op()
        put = written(op, p=home, n=name, g=0)
        # What it replaced, or was about to, lies where it was.
        gone = ("mk", "over", "stg")
        moved = yield Update(NODES, unchanged(node), put, gone, op=op)
        return moved or None


def _names(node: Document) -> Iterator[str]:
    """Its own, where that can be one; then others that begin with what nobody else has."""
    key = node["_id"].hex()
    try:
        paths.check_name(node["n"])
        is_usable = not paths.is_reserved("/" + node["n"])
    except (InvalidName, NameTooLong):
        is_usable = False
    if is_usable:
        yield node["n"]
        room = paths.MAX_NAME_BYTES - _PREFIX
        rest = node["n"].encode()[-room:].decode(errors="ignore")
        yield f"{key[:8]}-{rest}"
    yield key
    for number in count(2):
        yield f"{key}-{number}"


# Contents


def _have_judged(tree: Tree, key: Id, now: datetime) -> Algorithm[bool]:
    """The reclaimer is to look whether anybody refers to it."""
    if not (yield from inspect_content(key, now)):
        return False
    where = {"_id": key, DUTY: MISSING}
    done = yield Update(CONTENTS, where, {DUTY: Now(tree.terms.slot_kept)})
    return done is not None


def _adopt_chunks(tree: Tree, owner: Id) -> Algorithm[bool]:
    """Give the chunks a content again, as far as they tell what it was.

    Does a file refer to it still, it is whole again; else the reclaimer removes it.
    """
    if not (yield from inspect_strays(owner)):
        return False
    length, chunk_size = yield from _measured(owner)
    metadata = {"state": LIVE, "gc": Now(tree.terms.slot_kept)}
    document = {
        "_id": owner,
        "length": length,
        "chunkSize": max(chunk_size, 1),
        "uploadDate": NOW,
        "metadata": metadata,
    }
    yield Begin()
    return (yield Insert(CONTENTS, document)) is not None


def _measured(owner: Id) -> Algorithm[tuple[int, int]]:
    """Length of the content, and of its chunks, by the first and the last of them."""
    size = yield from _size_of_chunk(owner, 1)
    last = yield Find(
        CHUNKS, {"files_id": owner}, sort=(("files_id", -1), ("n", -1)), limit=1, only=("n",)
    )
    number = last[0].get("n") if last else None
    if not isinstance(number, int) or number < 1:
        return size, size
    return number * size + (yield from _size_of_chunk(owner, -1)), size


def _size_of_chunk(owner: Id, direction: int) -> Algorithm[int]:
    order = (("files_id", direction), ("n", direction))
    found = yield Find(CHUNKS, {"files_id": owner}, sort=order, limit=1)
    data = found[0].get("data") if found else None
    return len(data) if isinstance(data, bytes) else 0


# Counters


def _set_counters() -> Algorithm[bool]:
    """Only one of them is changed, by the drift of all: the others may go on meanwhile.

    Whoever counts at the same moment makes the change fail, and it is measured once more.
    """
    drift = yield from lasting_drift()
    if drift is None:
        return False
    yield Begin()
    broken = broken_counters(drift.counters)
    for counter in broken:
        # Worth nothing, so far; with the same condition, another one that repairs does no harm.
        where = {"_id": counter["_id"], "bytes": counter.get("bytes", MISSING)}
        yield Update(COUNTERS, where, {"bytes": 0})
    if drift.drift == 0:
        return bool(broken)
    sound = [counter for counter in drift.counters if counter not in broken]
    if not sound and not broken:
        made = yield Insert(COUNTERS, {"_id": "used-0", "bytes": -drift.drift})
        return made is not None
    chosen = sound[0] if sound else {**broken[0], "bytes": 0}
    seen = {"_id": chosen["_id"], "bytes": chosen["bytes"]}
    done = yield Update(COUNTERS, seen, {"bytes": chosen["bytes"] - drift.drift})
    return done is not None
