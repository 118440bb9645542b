"""COPY: built under an invisible root, contents shared by id, put in place by one commit.

Dies the process meanwhile, the staged root's duty comes when its lease is over, and all of it
is reclaimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from davstore import paths
from davstore.errors import Exists, Forbidden, IntoItself, NotFound, StoreError, Unavailable
from davstore.stores.mongo import contents
from davstore.stores.mongo.documents import (
    STAGE,
    Id,
    is_folder,
    is_live,
    new_id,
    new_op,
    tombstone,
)
from davstore.stores.mongo.moves import Moved, attach
from davstore.stores.mongo.nodes import CONTENT_FIELDS, new_node
from davstore.stores.mongo.operations import (
    NODES,
    Algorithm,
    Begin,
    Compare,
    Delete,
    Document,
    Find,
    Insert,
    Now,
    Update,
)
from davstore.stores.mongo.reclaim import count
from davstore.stores.mongo.resolving import resolve
from davstore.stores.mongo.slots import Tree

#: Members that are read at once.
_BATCH: Final = 100
_MOST_TRIES: Final = 20
#: Attributes that a copy takes over; a folder's time is its own.
_TAKEN: Final = ("t", "props", *CONTENT_FIELDS)


#: Judges the target: called with the document of the source as well.
CopyJudge = Callable[[Document, Document | None], None]


def copy_node(
    tree: Tree,
    source: str,
    target: str,
    *,
    overwrite: bool,
    recursive: bool,
    judge: CopyJudge = lambda _source, _target: None,
    may_grow: Callable[[int], None] = lambda _size: None,
) -> Algorithm[Moved]:
    """See `Store.copy`. `may_grow` is asked about the bytes that come next: QuotaExceeded."""
    yield Begin()
    start = yield from resolve(source, tree.cache, without=())
    node = start.node
    _check(node, source, target, recursive)
    assert node is not None

    def judge_target(replaced: Document | None) -> None:
        if replaced is not None and replaced["_id"] == node["_id"]:
            raise IntoItself(target)
        judge(node, replaced)

    goal = yield from resolve(target, tree.cache)
    goal.must_have_parent()
    if goal.node is not None and not overwrite:
        raise Exists(target)
    judge_target(goal.node)
    staged = yield from _stage(tree, node, source, recursive=recursive, may_grow=may_grow)
    try:
        return (yield from attach(tree, staged, target, overwrite=overwrite, judge=judge_target))
    except Exception:
        yield from _discard(tree, staged)
        raise


def _check(node: Document | None, source: str, target: str, recursive: bool) -> None:
    if node is None:
        raise NotFound(source)
    if target == paths.ROOT:
        raise Forbidden(target, "The root cannot be replaced.")
    within = recursive or not is_folder(node)
    if paths.is_within(source, target) or (within and paths.is_within(target, source)):
        raise IntoItself(target)


def _stage(
    tree: Tree,
    node: Document,
    source: str,
    *,
    recursive: bool,
    may_grow: Callable[[int], None],
) -> Algorithm[Document]:
    """The copy under STAGE, whole. Its bytes are counted as they come."""
    name = new_op()
    more = {"stg": True, "gc": Now(tree.terms.lease)}
    may_grow(node.get("size", 0))
    root = yield from _copy_fresh(node, STAGE, name, more)
    if root is None:
        raise NotFound(source)
    yield from count(root.get("size", 0))
    pending = [(node["_id"], root["_id"])] if recursive and is_folder(node) else []
    try:
        while pending:
            yield from _copy_members(tree, root, pending, may_grow)
    except Exception:
        yield from _discard(tree, root)
        raise
    return root


def _copy_members(
    tree: Tree,
    root: Document,
    pending: list[tuple[Id, Id]],
    may_grow: Callable[[int], None],
) -> Algorithm[None]:
    """The members of one folder; its folders are left to `pending`."""
    folder, copy = pending.pop()
    after = None
    while True:
        yield Begin()
        members, after = yield from _members(folder, after)
        size = 0
        try:
            for member in members:
                may_grow(size + member.get("size", 0))
                made = yield from _copy_fresh(member, copy, member["n"], {})
                if made is None:
                    continue  # gone meanwhile
                size += made.get("size", 0)
                if is_folder(member):
                    pending.append((member["_id"], made["_id"]))
        except StoreError:
            # What is there is given back when it is reclaimed.
            yield from count(size)
            raise
        yield from count(size)
        if after is None:
            return
        # A sign of life: the duty of the staged root comes later.
        yield Update(NODES, {"_id": root["_id"], "p": STAGE}, {"gc": Now(tree.terms.lease)})


def _members(folder: Id, after: str | None) -> Algorithm[tuple[list[Document], str | None]]:
    """Some live members, and the name after which to go on; None at the end."""
    where: dict[str, Any] = {"p": folder}
    if after is not None:
        where["n"] = Compare("$gt", after)
    found = yield Find(NODES, where, sort=(("p", 1), ("n", 1), ("g", -1)), limit=_BATCH)
    tops: dict[str, Document] = {}
    for document in found:
        tops.setdefault(document["n"], document)
    last = found[-1]["n"] if len(found) == _BATCH else None
    return [document for document in tops.values() if is_live(document)], last


def _copy_fresh(
    node: Document, parent: Id, name: str, more: Mapping[str, Any]
) -> Algorithm[Document | None]:
    """`_copy_one`, again with what the node has become when its content was replaced meanwhile.

    None when it is gone.
    """
    seen: Document | None = node
    for _ in range(_MOST_TRIES):
        if seen is None or not is_live(seen):
            return None
        made = yield from _copy_one(seen, parent, name, more)
        if made is not None:
            return made
        found = yield Find(NODES, {"_id": node["_id"]})
        seen = found[0] if found else None
    raise Unavailable(name, "This file changes too fast to be copied.")


def _copy_one(
    node: Document, parent: Id, name: str, more: Mapping[str, Any]
) -> Algorithm[Document | None]:
    """One new document with the attributes of `node`; None when its content has gone.

    The reference comes first, then the content is asked whether it is live.
    """
    op = new_op()
    fields: dict[str, Any] = {key: node[key] for key in _TAKEN if key in node}
    if not is_folder(node):
        fields |= {"mt": node["mt"], "etag": new_id().hex()}
    document = new_node(parent, name, 0, op, {**fields, **more})
    if (yield Insert(NODES, document, op)) is None:
        return None
    if "c" in node and not (yield from contents.confirm(node["c"], None)):
        # Nobody else can have seen it: it is staged.
        yield Delete(NODES, {"_id": document["_id"]})
        return None
    return document


def _discard(tree: Tree, staged: Document) -> Algorithm[None]:
    where = {"_id": staged["_id"], "p": STAGE}
    yield Update(NODES, where, tombstone(tree.terms))
