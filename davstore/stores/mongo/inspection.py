"""fsck's close look at one node or content: what of it is wrong, and surely not only under way.

Others write meanwhile, and several documents cannot be read at one moment. So everything that a
judgement is made from is read twice: what was not written in between held all at once, at a
moment between the two. And of what holds at one moment, the protocol leaves nothing that is told
here but for damage.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from davstore import paths
from davstore.stores.mongo.bodies import content_at, fault_of_body
from davstore.stores.mongo.contents import is_referred_to
from davstore.stores.mongo.documents import FOLDER, ROOT, STAGE, Id, is_folder
from davstore.stores.mongo.findings import Finding, flaw_of_content, flaw_of_node, shown
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    COUNTERS,
    NODES,
    Algorithm,
    Begin,
    Compare,
    Document,
    Find,
)

#: A duty that nobody did for so long is a finding, in seconds.
OVERDUE: Final = 86400.0
#: So often is something looked at that is written all the time, before it is let alone.
_LOOKS: Final = 6
_PAGE: Final = 1000


class Chain(NamedTuple):
    """The way up from a node: `nodes` are itself and what it lies in.

    `end` is "root", "dead" (in something deleted), "staged", "malformed", or what is wrong with
    the last of `nodes`: "no-parent", "not-in-a-folder", "cycle".
    """

    end: str
    nodes: list[Document]

    @property
    def path(self) -> str:
        if self.end != "root":
            return ""
        names = [node["n"] for node in self.nodes if node["_id"] != ROOT]
        return paths.ROOT + "/".join(reversed(names))

    def state(self) -> list[object]:
        return [(node["_id"], node.get("v"), node.get("p"), "del" in node) for node in self.nodes]


def climb(node: Document) -> Algorithm[Chain]:
    """From a well-formed node upwards, as things were at one after the other moment."""
    nodes, seen = [node], {bytes(node["_id"])}
    while True:
        last = nodes[-1]
        if last["_id"] == ROOT:
            return Chain("root", nodes)
        if "del" in last:
            return Chain("dead", nodes)
        if last["p"] == STAGE:
            return Chain("staged", nodes)
        if bytes(last["p"]) in seen:
            return Chain("cycle", nodes)
        found = yield Find(NODES, {"_id": last["p"]}, without=("data", "props"))
        if not found:
            return Chain("no-parent", nodes)
        if flaw_of_node(found[0]):
            return Chain("malformed", nodes)
        if not is_folder(found[0]):
            return Chain("not-in-a-folder", nodes)
        nodes.append(found[0])
        seen.add(bytes(last["p"]))


def inspect_node(key: Id, now: datetime, *, verify: bool = False) -> Algorithm[list[Finding]]:
    """Everything that is wrong with one node. A chain above it counts where it breaks."""
    for _ in range(_LOOKS):
        found = yield Find(NODES, {"_id": key})
        if not found:
            return []
        node = found[0]
        flaw = flaw_of_node(node)
        if flaw:
            return [Finding("malformed", shown(key), "", _named(node, flaw))]
        chain = yield from climb(node)
        findings = yield from _judged(node, chain, now, verify=verify)
        if not findings:
            return []
        again = yield Find(NODES, {"_id": key}, without=("data", "props"))
        if again and "v" in again[0]:
            after = yield from climb(again[0])
            if after.end == chain.end and after.state() == chain.state():
                return findings
    return []


def _named(node: Document, flaw: str) -> str:
    return f"{flaw} (its name is {node['n']!r})" if isinstance(node.get("n"), str) else flaw


def _judged(
    node: Document, chain: Chain, now: datetime, *, verify: bool
) -> Algorithm[list[Finding]]:
    found: list[tuple[str, str]] = [(kind, "") for kind in duties(node, now)]
    is_seen = chain.end not in ("dead", "staged")
    if is_seen and node["_id"] != ROOT:
        found += [(kind, "") for kind in _strays(node, chain)]
        if (yield from _is_shadowed(node)):
            found.append(("shadowed", f"its name is {node['n']!r}"))
    if is_seen and node["t"] != FOLDER:
        fault = yield from fault_of_body(node, verify=verify)
        if fault is not None:
            found.append(fault)
    return [Finding(kind, shown(node["_id"]), chain.path, detail) for kind, detail in found]


def duties(node: Document, now: datetime) -> list[str]:
    """What is wrong with a node's background duties; one document says it all."""
    found = []
    is_dead = "del" in node
    has_duty = is_dead or "over" in node or bool(node.get("old")) or node["p"] == STAGE
    limit = now - timedelta(seconds=OVERDUE)
    if has_duty and "gc" not in node:
        found.append("no-duty")
    if "gc" in node and node["gc"] < limit:
        found.append("overdue")
    if not is_dead and "mk" in node and node["mk"]["exp"] < limit:
        found.append("stale-mark")
    return found


def _strays(node: Document, chain: Chain) -> list[str]:
    """A break further up is told of the node where it is."""
    if chain.end in ("no-parent", "not-in-a-folder"):
        return [chain.end] if len(chain.nodes) == 1 else []
    if chain.end != "cycle":
        return []
    ids = [bytes(each["_id"]) for each in chain.nodes]
    cycle = ids[ids.index(bytes(chain.nodes[-1]["p"])) :]
    return ["cycle"] if bytes(node["_id"]) == min(cycle) else []


def _is_shadowed(node: Document) -> Algorithm[bool]:
    """Whether another has its name, other than one that is just replacing it."""
    above = yield Find(
        NODES,
        {"p": node["p"], "n": node["n"], "g": Compare("$gt", node["g"])},
        sort=(("p", 1), ("n", 1), ("g", -1)),
        limit=1,
        only=("over",),
    )
    return bool(above) and above[0].get("over") != node["_id"]


def inspect_content(key: Id, now: datetime) -> Algorithm[list[Finding]]:
    """Everything that is wrong with one content, but for its bytes: those are the files'."""
    content = yield from content_at(key)
    if content is None:
        return []
    flaw = flaw_of_content(content)
    if flaw:
        return [Finding("malformed", shown(key), "", f"in fs.files: {flaw}")]
    duty = content["metadata"].get("gc")
    if duty is not None:
        is_late = duty < now - timedelta(seconds=OVERDUE)
        return [Finding("overdue", shown(key))] if is_late else []
    if (yield from is_referred_to(key)):
        return []
    # A reference that goes leaves a duty first.
    again = yield from content_at(key)
    if again is None or flaw_of_content(again) or "gc" in again["metadata"]:
        return []
    return [Finding("leaked", shown(key), "", f"{content['length']} bytes")]


def inspect_strays(owner: object) -> Algorithm[list[Finding]]:
    """Whether there are chunks of a content that is not there.

    Its document is there before its chunks and after them; so they are read last.
    """
    if (yield Find(CHUNKS, {"files_id": owner}, limit=1, only=("n",))):
        found = yield Find(CONTENTS, {"_id": owner}, limit=1, only=("length",))
        if not found and (yield Find(CHUNKS, {"files_id": owner}, limit=1, only=("n",))):
            return [Finding("stray-chunks", shown(owner))]
    return []


class Count(NamedTuple):
    """The counters as they are, and how many bytes they are too high."""

    counters: list[Document]
    drift: int


def counted(counters: list[Document]) -> int:
    values = (counter.get("bytes") for counter in counters)
    return sum(value for value in values if isinstance(value, int))


def lasting_drift(looks: int = 6) -> Algorithm[Count | None]:
    """The drift of the counters, when nobody changes anything for a moment; else None.

    A write and its count are two steps, so while others write the two never agree. Only a
    difference that stays, and counters that stand still, say something.
    """
    first: Count | None = None
    for look in range(looks):
        if look:
            yield Begin(8)
        before = yield Find(COUNTERS, sort=(("_id", 1),))
        used = yield from _used()
        after = yield Find(COUNTERS, sort=(("_id", 1),))
        count = Count(after, counted(after) - used)
        if before != after or (first is not None and count != first):
            return None
        if count.drift == 0 and not broken_counters(after):
            return None
        first = count
    return first


def broken_counters(counters: list[Document]) -> list[Document]:
    """Those that hold something else than a number."""
    return [counter for counter in counters if not isinstance(counter.get("bytes"), int)]


def _used() -> Algorithm[int]:
    used = 0
    page: list[Document] = []
    while True:
        after = page[-1]["_id"] if page else START
        page = yield Find(
            NODES,
            {"_id": Compare("$gt", after)},
            sort=(("_id", 1),),
            limit=_PAGE,
            only=("size", "counted"),
        )
        used += sum(size_of(node) for node in page)
        if len(page) < _PAGE:
            return used


def size_of(node: Document) -> int:
    """What the node has in the count of used bytes."""
    size = node.get("size", 0)
    return size if isinstance(size, int) and "counted" not in node else 0


#: Before all ids: binary values are ordered by length first.
START: Final = Id(b"")
