"""fsck: what must hold of the whole database, and what of it does not (docs/mongodb.md).

One pass over everything, page by page, collects what looks suspicious: others write meanwhile,
so much of it is only under way. Each suspect is then looked at closely by itself (`inspection`),
and only what is surely wrong is told.

What is remembered of the pass is the parent of each folder, nothing of files or contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from bson.binary import UUID_SUBTYPE

from davstore.stores.mongo.bodies import (
    differs,
    fault_of_inline,
    fault_of_reference,
    read_through,
)
from davstore.stores.mongo.contents import DEAD, NEW
from davstore.stores.mongo.documents import ROOT, STAGE, Id, is_folder
from davstore.stores.mongo.findings import (
    Finding,
    flaw_of_content,
    flaw_of_node,
    shown,
)
from davstore.stores.mongo.inspection import (
    OVERDUE,
    START,
    broken_counters,
    counted,
    duties,
    inspect_content,
    inspect_node,
    inspect_strays,
    lasting_drift,
    size_of,
)
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    COUNTERS,
    MISSING,
    NODES,
    PRESENT,
    Algorithm,
    Compare,
    Document,
    Find,
    OneOf,
)

__all__ = ["Finding", "Progress", "check"]

_PAGE: Final = 500
#: Inline contents are fetched until they have so many bytes.
_INLINE: Final = 8 << 20
#: So many of somebody else's documents are told at each end of a collection.
_FOREIGN: Final = 100

#: Called with how many documents were looked at.
Progress = Callable[[int], None]


@dataclass(slots=True)
class _State:
    now: datetime
    progress: Progress
    verify: bool
    looked: int = 0
    #: Folder -> its parent; the root for one whose chain needs no look.
    parents: dict[bytes, bytes] = field(default_factory=dict)
    #: What live nodes lie in.
    lived_in: set[bytes] = field(default_factory=set)
    used: int = 0
    #: Suspects, in the order in which they were met.
    nodes: dict[Id, None] = field(default_factory=dict)
    contents: dict[Id, None] = field(default_factory=dict)
    owners: dict[Any, None] = field(default_factory=dict)

    def step(self, documents: int) -> None:
        self.looked += documents
        self.progress(self.looked)


def check(
    now: datetime, progress: Progress = lambda _count: None, *, verify: bool = False
) -> Algorithm[list[Finding]]:
    """Everything that is wrong. `verify`: also whether all bytes are those that were written."""
    state = _State(now, progress, verify)
    before = yield Find(COUNTERS, sort=(("_id", 1),))
    yield from _pass_nodes(state)
    after = yield Find(COUNTERS, sort=(("_id", 1),))
    yield from _pass_contents(state)
    yield from _pass_owners(state)
    yield from _check_chains(state)
    found = yield from _inspect_all(state)
    if before != after or counted(after) != state.used or broken_counters(after):
        count = yield from lasting_drift()
        if count is not None:
            right = counted(count.counters) - count.drift
            detail = f"{counted(count.counters)} bytes are counted, {right} are there"
            found.append(Finding("counter", "used", "", detail))
    return found


def _inspect_all(state: _State) -> Algorithm[list[Finding]]:
    found: list[Finding] = []
    if not (yield Find(NODES, {"_id": ROOT}, limit=1, only=("t",))):
        found.append(Finding("no-root", shown(ROOT)))
    for node in state.nodes:
        found += yield from inspect_node(node, state.now, verify=state.verify)
    for content in state.contents:
        found += yield from inspect_content(content, state.now)
    for owner in state.owners:
        found += yield from inspect_strays(owner)
    found += yield from _foreign(NODES)
    found += yield from _foreign(CONTENTS)
    return found


# Nodes


def _pass_nodes(state: _State) -> Algorithm[None]:
    after = START
    while True:
        where = {"_id": Compare("$gt", after)}
        page = yield Find(NODES, where, sort=(("_id", 1),), limit=_PAGE, without=("data",))
        sound = [node for node in page if _look_at_node(state, node)]
        yield from _check_slots(state, sound)
        files = [node for node in sound if "del" not in node and not is_folder(node)]
        yield from _check_inline(state, [node for node in files if "c" not in node])
        yield from _check_references(state, [node for node in files if "c" in node])
        state.step(len(page))
        if len(page) < _PAGE:
            return
        after = page[-1]["_id"]


def _look_at_node(state: _State, node: Document) -> bool:
    """Whether it is well-formed."""
    state.used += size_of(node)
    if flaw_of_node(node):
        state.nodes[node["_id"]] = None
        # Its chain cannot be followed; nobody is to be told of what lies in it.
        state.parents[bytes(node["_id"])] = bytes(ROOT)
        return False
    if duties(node, state.now):
        state.nodes[node["_id"]] = None
    is_dead = "del" in node
    if is_folder(node):
        key, parent = bytes(node["_id"]), bytes(node["p"])
        state.parents[key] = bytes(ROOT) if is_dead else parent
    if not is_dead and node["_id"] != ROOT:
        state.lived_in.add(bytes(node["p"]))
    return True


def _check_slots(state: _State, nodes: list[Document]) -> Algorithm[None]:
    """Of documents with one name, all but one have another generation than 0."""
    later = [node for node in nodes if node["g"] != 0]
    if not later:
        return
    slots = {(bytes(node["p"]), node["n"]): node["p"] for node in later}
    either = [{"p": parent, "n": name} for (_key, name), parent in slots.items()]
    found = yield Find(NODES, either=either, only=("p", "n", "g", "del", "over"))
    tops: dict[tuple[bytes, str], Document] = {}
    for node in sorted(found, key=lambda node: node["g"] if isinstance(node.get("g"), int) else -1):
        tops[bytes(node["p"]), node["n"]] = node
    for node in found:
        top = tops[bytes(node["p"]), node["n"]]
        if "del" not in node and node is not top and top.get("over") != node["_id"]:
            state.nodes[node["_id"]] = None


def _check_inline(state: _State, files: list[Document]) -> Algorithm[None]:
    """The small ones, some at a time: so many as hold the bytes of a batch."""
    batch: list[Id] = []
    size = 0
    for place, node in enumerate(files):
        batch.append(node["_id"])
        size += node["size"]
        if size >= _INLINE or place == len(files) - 1:
            found = yield Find(NODES, {"_id": OneOf(tuple(batch))}, without=("props", "ops"))
            state.nodes |= dict.fromkeys(
                node["_id"] for node in found if _has_bad_body(node, verify=state.verify)
            )
            batch, size = [], 0


def _has_bad_body(node: Document, *, verify: bool) -> bool:
    """Whether it has another body than a right one that is inline. By now it may have any."""
    if flaw_of_node(node) or "del" in node or is_folder(node):
        return False
    if "c" in node:
        return "data" in node
    return "data" not in node or fault_of_inline(node, verify=verify) is not None


def _check_references(state: _State, files: list[Document]) -> Algorithm[None]:
    if not files:
        return
    ids = tuple(node["_id"] for node in files)
    both = yield Find(NODES, {"_id": OneOf(ids), "data": PRESENT}, only=("c",))
    state.nodes |= dict.fromkeys(node["_id"] for node in both)
    wanted = tuple({bytes(node["c"]): node["c"] for node in files}.values())
    found = yield Find(CONTENTS, {"_id": OneOf(wanted)})
    known = {bytes(content["_id"]): content for content in found}
    for node in files:
        if fault_of_reference(node, known.get(bytes(node["c"]))) is not None:
            state.nodes[node["_id"]] = None


# Contents


def _pass_contents(state: _State) -> Algorithm[None]:
    after = START
    while True:
        where = {"_id": Compare("$gt", after)}
        page = yield Find(CONTENTS, where, sort=(("_id", 1),), limit=_PAGE)
        sound: list[Document] = []
        for content in page:
            if flaw_of_content(content):
                state.contents[content["_id"]] = None
            else:
                sound.append(content)
        yield from _check_contents(state, sound)
        state.step(len(page))
        if len(page) < _PAGE:
            return
        after = page[-1]["_id"]


def _check_contents(state: _State, contents: list[Document]) -> Algorithm[None]:
    ids = tuple(content["_id"] for content in contents)
    found = yield Find(NODES, {"c": OneOf(ids)}, only=("c", "dg", "del"))
    users: dict[bytes, list[Document]] = {}
    for node in found:
        users.setdefault(bytes(node["c"]), []).append(node)
    limit = state.now - timedelta(seconds=OVERDUE)
    for content in contents:
        metadata = content["metadata"]
        own = users.get(bytes(content["_id"]), [])
        # Perhaps somebody has it among his former ones; the close look asks.
        is_leaking = "gc" not in metadata and not own
        if is_leaking or ("gc" in metadata and metadata["gc"] < limit):
            state.contents[content["_id"]] = None
        alive = [node for node in own if "del" not in node]
        if alive and metadata["state"] not in (NEW, DEAD):
            yield from _check_chunks(state, content, alive)


def _check_chunks(state: _State, content: Document, users: list[Document]) -> Algorithm[None]:
    """Read once, however many files share it."""
    kept = [node["dg"] for node in users if isinstance(node.get("dg"), dict)]
    algorithms = {name for digests in kept for name in digests}
    through = yield from read_through(content, algorithms if state.verify else None)
    for node in users:
        if through.fault is not None or differs(through.digests, node) is not None:
            state.nodes[node["_id"]] = None


def _pass_owners(state: _State) -> Algorithm[None]:
    """Which contents have chunks, from one to the next along the index."""
    after = START
    while True:
        owners: list[Id] = []
        while len(owners) < _PAGE:
            where = {"files_id": Compare("$gt", after)}
            found = yield Find(
                CHUNKS, where, sort=(("files_id", 1), ("n", 1)), limit=1, only=("files_id",)
            )
            if not found:
                break
            after = found[0]["files_id"]
            owners.append(after)
        there = yield Find(CONTENTS, {"_id": OneOf(tuple(owners))}, only=("length",))
        known = {content["_id"] for content in there}
        state.owners |= dict.fromkeys(owner for owner in owners if owner not in known)
        if len(owners) < _PAGE:
            break
    for direction in (1, -1):
        order = (("files_id", direction), ("n", direction))
        found = yield Find(CHUNKS, sort=order, limit=_FOREIGN, only=("files_id",))
        others = (chunk.get("files_id") for chunk in found)
        state.owners |= dict.fromkeys(owner for owner in others if not isinstance(owner, bytes))


def _foreign(collection: str) -> Algorithm[list[Finding]]:
    """Documents whose id is no binary value: what goes from id to id does not meet them.

    The index has them before and after all others.
    """
    keys: dict[str, Document] = {}
    for direction in (1, -1):
        found = yield Find(collection, sort=(("_id", direction),), limit=_FOREIGN, only=("n",))
        for document in found:
            if not isinstance(document["_id"], bytes):
                keys[shown(document["_id"])] = document
    detail = f"in {collection}: its id is not one of davstore's"
    return [Finding("malformed", key, "", detail) for key in keys]


# Chains


def _check_chains(state: _State) -> Algorithm[None]:
    for parent in state.lived_in - {bytes(ROOT), bytes(STAGE)}:
        if parent not in state.parents:
            yield from _suspect_members(state, parent)
    root = bytes(ROOT)
    for key in state.parents:
        trail: dict[bytes, None] = {}
        at = key
        while at != root and at in state.parents and at not in trail:
            trail[at] = None
            at = state.parents[at]
        if at in trail and at != root:
            _suspect_cycle(state, trail, at)
        for each in trail:
            state.parents[each] = root


def _suspect_cycle(state: _State, trail: Iterable[bytes], first: bytes) -> None:
    cycle = list(trail)
    cycle = cycle[cycle.index(first) :]
    state.nodes[Id(min(cycle), UUID_SUBTYPE)] = None


def _suspect_members(state: _State, folder: bytes) -> Algorithm[None]:
    """All live nodes that lie in what is no folder."""
    last: dict[str, Any] = {}
    while True:
        where = {"p": Id(folder, UUID_SUBTYPE), "del": MISSING, **last}
        order = (("p", 1), ("n", 1), ("g", -1))
        page = yield Find(NODES, where, sort=order, limit=_PAGE, only=("n",))
        state.nodes |= dict.fromkeys(node["_id"] for node in page)
        if len(page) < _PAGE:
            return
        last = {"n": Compare("$gt", page[-1]["n"])}
