"""Create, replace, update, delete: one conditional write each.

`judge(node)` is asked with the live document at the path, or None, right before the write; what
it raises passes. The write is conditional on the state that was judged (`v`), and every LOCK
on the node is a write of it, so whoever comes in between makes the write fail, and it is judged
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from davstore import paths
from davstore.errors import Exists, Forbidden, IsAFolder, NotFound, StoreError, Unavailable
from davstore.stores.mongo import contents
from davstore.stores.mongo.documents import (
    FILE,
    FOLDER,
    ROOT,
    UNMARKED,
    Id,
    Terms,
    is_folder,
    new_id,
    new_op,
    slot,
    tombstone,
    unchanged,
    written,
)
from davstore.stores.mongo.operations import (
    CONTENTS,
    MISSING,
    NODES,
    NOW,
    Algorithm,
    Append,
    Document,
    Insert,
    Later,
    Now,
    Plus,
    Sooner,
    Update,
)
from davstore.stores.mongo.resolving import Found, resolve
from davstore.stores.mongo.slots import (
    Tree,
    attempts,
    free_generation,
    respect_mark,
    settle,
    touch_folder,
    touch_unlocked,
)

#: Called with the live document, or None. Raises PreconditionFailed, Locked.
Judge = Callable[[Document | None], None]

#: Renews the lease of a content right before it is referred to; see `contents.keep`.
Keep = Callable[[Id, Terms], Algorithm[datetime | None]]

#: So many replaced contents does one node remember; older ones go before their time.
MOST_OLD: Final = 16
#: The fields that come and go with a file's content.
CONTENT_FIELDS: Final = ("data", "c", "size", "etag", "type", "dg")


def no_judge(_node: Document | None) -> None:
    """Everything may happen."""


@dataclass(frozen=True, slots=True)
class Written:
    """`node` as it is now; `replaced` what was there before.

    `lease` is the end of the lease that its content in GridFS has until it is confirmed.
    """

    node: Document
    replaced: Document | None = None
    lease: datetime | None = None


def make_folder(tree: Tree, path: str, judge: Judge = no_judge) -> Algorithm[Document]:
    """MKCOL. Raises Exists, ParentMissing, NotAFolder, what `judge` raises."""
    if path == paths.ROOT:
        raise Exists(path)
    tries = attempts(path)
    while True:
        yield next(tries)
        found = yield from resolve(path, tree.cache)
        found.must_have_parent()
        if found.node is not None:
            raise Exists(path)
        judge(None)
        made = yield from create(tree, found, {"t": FOLDER})
        if made is not None:
            return made


def write_file(
    tree: Tree,
    path: str,
    body: Mapping[str, Any],
    judge: Judge = no_judge,
    hint: Found | None = None,
    *,
    keep: Keep = contents.keep,
) -> Algorithm[Written]:
    """Create the file, or replace its content with `body` (of CONTENT_FIELDS, and `mt`).

    `hint` is what the path led to a moment ago; the first try builds on it, and what that
    forbids is looked at afresh. `keep` may refuse, where a content in GridFS is not the caller's
    to publish any more: then Unavailable. Raises IsAFolder, ParentMissing, NotAFolder, what
    `judge` raises.
    """
    # What `confirm_content` may have to restore.
    without = () if "c" in body else ("data",)
    if path == paths.ROOT:
        raise IsAFolder(path)
    if hint is not None and "c" not in body:
        try:
            done = yield from _write(tree, hint, body, judge, keep)
        except Unavailable:
            raise
        except StoreError:
            done = None
        if done is not None:
            return done
    tries = attempts(path)
    while True:
        yield next(tries)
        found = yield from resolve(path, tree.cache, without)
        done = yield from _write(tree, found, body, judge, keep)
        if done is not None:
            return done


def _write(
    tree: Tree, found: Found, body: Mapping[str, Any], judge: Judge, keep: Keep
) -> Algorithm[Written | None]:
    """One try; None when somebody else was faster."""
    found.must_have_parent()
    lease = None
    if "c" in body:
        lease = yield from keep(body["c"], tree.terms)
        if lease is None:
            raise Unavailable(found.path, "The upload was given up meanwhile.")
    node = found.node
    if node is None:
        judge(None)
        made = yield from create(tree, found, {"t": FILE, **body})
        return None if made is None else Written(made, None, lease)
    if is_folder(node):
        raise IsAFolder(found.path)
    if (yield from respect_mark(node, "")):
        return None
    judge(node)
    changed = yield from replace_content(tree, node, body)
    if changed is None:
        return None
    yield from touch_folder(node["p"])
    return Written(changed, node, lease)


def new_node(
    parent: Id, name: str, generation: int, op: str, fields: Mapping[str, Any]
) -> Document:
    """A document for an insert, born now."""
    return {
        "_id": new_id(),
        "p": parent,
        "n": name,
        "g": generation,
        "v": op,
        "ops": [op],
        "ct": NOW,
        "mt": NOW,
        **fields,
    }


def create(tree: Tree, found: Found, fields: Mapping[str, Any]) -> Algorithm[Document | None]:
    """One insert at the next generation; None when the slot was taken, or the folder is gone.

    Dies the process after the insert, the node is there: whole, as an insert is. Is its folder
    deleted at the same moment, either the deletion is first, and the insert is taken back, or
    it took the new node along.
    """
    parent, name = found.must_have_parent(), paths.name(found.path)
    generation = yield from free_generation(tree, found.top)
    if generation is None:
        return None
    op = new_op()
    made = yield Insert(NODES, new_node(parent, name, generation, op, fields), op)
    if made is None:
        return None
    return (yield from _stays(tree, made, found))


def _stays(tree: Tree, made: Document, found: Found) -> Algorithm[Document | None]:
    """The new document, unless its folder was deleted or locked meanwhile: then it goes as well.

    The look is the folder's new time. Was only a folder further up deleted, the new node is
    gone with it, as if it had been made right before.
    """
    if (yield from touch_unlocked(made["p"], found.folder)):
        return made
    taken = yield Update(
        NODES,
        {**slot(made), "v": made["v"], "del": MISSING},
        {**tombstone(tree.terms), "counted": True},
    )
    # Was it not to be taken back, somebody has done something with it already.
    return made if taken is None else None


def replace_content(
    tree: Tree, node: Document, body: Mapping[str, Any]
) -> Algorithm[Document | None]:
    """Swap the content in one update; None when the node is not as it was seen any more.

    The former content enters `old` in the same write, so no crash can leak it.
    """
    op = new_op()
    put = written(op, **{"mt": Later(), **body})
    former = node.get("c")
    if former is not None:
        yield from _make_room(tree, node)
        put["old"] = Append({"c": former, "t": NOW}, MOST_OLD)
        put["gc"] = Sooner(tree.terms.grace)
    gone = tuple(name for name in CONTENT_FIELDS if name not in body)
    changed = yield Update(NODES, unchanged(node), put, gone, UNMARKED, op)
    return changed or None


def _make_room(tree: Tree, node: Document) -> Algorithm[None]:
    """Have those contents looked at that a full `old` is about to forget.

    Not before this operation is over: they would be found to be referenced still.
    """
    for entry in node.get("old", ())[: -MOST_OLD + 1]:
        duty = Now(max(tree.terms.grace, tree.terms.slot_kept))
        put = {contents.DUTY: duty, contents.DROPPED: True}
        yield Update(CONTENTS, {"_id": entry["c"]}, put)


def update_node(
    tree: Tree,
    path: str,
    change: Callable[[Document], Mapping[str, Any]],
    judge: Judge = no_judge,
) -> Algorithm[Document]:
    """PROPPATCH: set what `change` makes of the document as it is, in one update.

    Raises NotFound, what `change` and `judge` raise.
    """
    tries = attempts(path)
    while True:
        yield next(tries)
        found = yield from resolve(path, tree.cache)
        node = found.node
        if node is None:
            raise NotFound(path)
        judge(node)
        op = new_op()
        changed = yield Update(NODES, unchanged(node), written(op, **change(node)), op=op)
        if changed:
            return dict(changed)


def note_lock(tree: Tree, path: str) -> Algorithm[None]:
    """A lock on `path` was granted: a new version of the node, on which all writes depend.

    Where nothing is, the folder above is told: a new member there is one of it. The root counts
    all of them, so that who looks at any path learns whether there are new ones.
    """
    found = yield from resolve(path, tree.cache)
    node = found.node or found.folder
    if node is not None:
        where = {"_id": node["_id"], "del": MISSING}
        yield Update(NODES, where, written(new_op(), lk=Plus(1)))
    yield Update(NODES, {"_id": ROOT}, {"lks": Plus(1)})


def delete_node(tree: Tree, path: str, judge: Judge = no_judge) -> Algorithm[Document]:
    """One update makes a tombstone of it; returns what was there.

    A tree disappears at once with it and is reclaimed behind the scenes. Raises NotFound,
    Forbidden (the root), what `judge` raises.
    """
    tries = attempts(path)
    while True:
        yield next(tries)
        found = yield from resolve(path, tree.cache)
        node = found.node
        if node is None:
            raise NotFound(path)
        if node["_id"] == ROOT:
            raise Forbidden(path, "The root cannot be deleted.")
        if (yield from respect_mark(node, "")):
            continue
        judge(node)
        if "over" in node:
            yield from settle(tree, node)
            continue
        put = tombstone(tree.terms)
        gone = yield Update(NODES, unchanged(node), put, ("mk",), UNMARKED, put["v"])
        if gone:
            yield from touch_folder(node["p"])
            return node


def confirm_content(tree: Tree, done: Written, content: Id) -> Algorithm[bool]:
    """Whether the `content` that was just referred to is live; else the reference is taken back.

    Without this, a lease that was over in between leaves a reference to nothing.
    """
    if (yield from contents.confirm(content, done.lease)):
        return True
    yield from contents.retire(content, tree.terms)
    mine = {"_id": done.node["_id"], "c": content, "del": MISSING}
    former = done.replaced
    if former is None:
        yield Update(NODES, mine, {**tombstone(tree.terms), "counted": True})
    else:
        back = {name: former[name] for name in (*CONTENT_FIELDS, "mt") if name in former}
        gone = tuple(name for name in CONTENT_FIELDS if name not in former)
        yield Update(NODES, mine, written(new_op(), **back), gone)
    return False
