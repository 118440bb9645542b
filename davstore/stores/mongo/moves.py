"""MOVE: one update of the source, whatever is at the target (docs/mongodb.md, "Moving").

A folder that changes its parent could close a cycle with another move that runs at the same
time, so it is marked first, and the chain above the target is read *after* that: of two moves
that could close a cycle, at least the later reader sees the other's mark. A live target is
marked too, so that nobody writes to it while it is replaced.

Mark and commit lie in the same document, so taking an expired mark away makes the commit fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from davstore import paths
from davstore.errors import Exists, Forbidden, IntoItself, NotFound, StoreError, Unavailable
from davstore.stores.mongo.documents import (
    STAGE,
    UNMARKED,
    is_folder,
    new_op,
    slot,
    unchanged,
    written,
)
from davstore.stores.mongo.nodes import Judge, no_judge
from davstore.stores.mongo.operations import (
    DUPLICATE,
    FUTURE,
    MISSING,
    NODES,
    Algorithm,
    Document,
    Find,
    Sooner,
    Update,
)
from davstore.stores.mongo.resolving import Found, resolve
from davstore.stores.mongo.slots import (
    Tree,
    attempts,
    current,
    drop_mark,
    free_generation,
    respect_mark,
    settle,
    take_mark,
    touch_folder,
)


@dataclass(frozen=True, slots=True)
class Moved:
    """`node` where it is now; `replaced` what was there before."""

    node: Document
    replaced: Document | None


def move_node(
    tree: Tree,
    source: str,
    target: str,
    *,
    overwrite: bool,
    judge_source: Judge = no_judge,
    judge_target: Judge = no_judge,
) -> Algorithm[Moved]:
    """See `Store.move`. Dies the process, it has happened wholly or not at all.

    What is left then is a mark that expires, or an `over` that whoever meets it settles.
    """
    tries = attempts(target)
    while True:
        yield next(tries)
        start = yield from resolve(source, tree.cache)
        if start.node is None:
            raise NotFound(source)
        if paths.ROOT in (source, target):
            raise Forbidden(paths.ROOT, "The root stays where it is.")
        if paths.is_within(target, source) or paths.is_within(source, target):
            raise IntoItself(target)
        goal = yield from resolve(target, tree.cache)
        goal.must_have_parent()
        _check(start.node, goal, overwrite)
        if (yield from _is_held(start.node, goal.node)):
            continue
        judge_source(start.node)
        judge_target(goal.node)
        moved = yield from _try(tree, start.node, goal)
        if moved is not None:
            yield from touch_folder(start.node["p"])
            return moved


def attach(
    tree: Tree, staged: Document, target: str, *, overwrite: bool, judge: Judge
) -> Algorithm[Moved]:
    """Let a staged copy arrive, by the commit of a move. Nobody else knows the staged node."""
    tries = attempts(target)
    while True:
        yield next(tries)
        goal = yield from resolve(target, tree.cache)
        goal.must_have_parent()
        if goal.node is not None and not overwrite:
            raise Exists(target)
        if goal.node is not None and (yield from respect_mark(goal.node, "")):
            continue
        judge(goal.node)
        node = yield from current(staged)
        if node is None or "del" in node:
            raise Unavailable(target, "The copy took too long and was given up.")
        moved = yield from _try(tree, node, goal)
        if moved is not None:
            return moved


def _check(node: Document, goal: Found, overwrite: bool) -> None:
    if goal.node is None:
        return
    if goal.node["_id"] == node["_id"]:
        raise IntoItself(goal.path)
    if not overwrite:
        raise Exists(goal.path)


def _is_held(node: Document, replaced: Document | None) -> Algorithm[bool]:
    """Whether somebody else's mark is on either."""
    if (yield from respect_mark(node, "")):
        return True
    return replaced is not None and (yield from respect_mark(replaced, ""))


def _try(tree: Tree, node: Document, goal: Found) -> Algorithm[Moved | None]:
    """One try; None when somebody else was in the way. No own mark stays behind."""
    if "over" in node:
        yield from settle(tree, node)
        return None
    may_close_cycle = is_folder(node) and node["p"] not in (goal.parent, STAGE)
    if goal.node is None and not may_close_cycle:
        return (yield from _commit(tree, node, goal, None))
    op = new_op()
    marked = yield from take_mark(tree, node, op)
    if marked is None:
        return None
    moved = None
    try:
        moved = yield from _try_marked(tree, marked, goal, op)
    except StoreError:
        yield from _unmark(goal, marked, op)
        raise
    if moved is None:
        yield from _unmark(goal, marked, op)
    return moved


def _unmark(goal: Found, node: Document, op: str) -> Algorithm[None]:
    yield from drop_mark(goal.node, op)
    yield from drop_mark(node, op)


def _try_marked(tree: Tree, node: Document, goal: Found, op: str) -> Algorithm[Moved | None]:
    again = yield from _look_again(tree, node, goal, op)
    if again is None:
        return None
    if again.node is not None and not (yield from _hold_target(tree, again.node, op)):
        return None
    return (yield from _commit(tree, node, again, again.node))


def _look_again(tree: Tree, node: Document, goal: Found, op: str) -> Algorithm[Found | None]:
    """The target once more, now that `node` is marked; None when others are at work above it.

    Raises IntoItself when `node` itself lies above it by now.
    """
    again = yield from resolve(goal.path, tree.cache)
    again.must_have_parent()
    for folder in again.chain:
        if folder["_id"] == node["_id"]:
            raise IntoItself(goal.path)
        if (yield from respect_mark(folder, op)):
            return None
    return again if _is_same(goal.node, again.node) else None


def _is_same(seen: Document | None, now: Document | None) -> bool:
    """Whether what was judged is still what stands there."""
    if seen is None or now is None:
        return seen is now
    return bool(seen["_id"] == now["_id"] and seen["v"] == now["v"])


def _hold_target(tree: Tree, target: Document, op: str) -> Algorithm[bool]:
    """Mark a live target; False when that failed."""
    if "over" in target:
        yield from settle(tree, target)
        return False
    return (yield from take_mark(tree, target, op)) is not None


def _commit(
    tree: Tree, node: Document, goal: Found, replaced: Document | None
) -> Algorithm[Moved | None]:
    """Give `node` the next generation of the target's slot; None when that failed."""
    generation: int | None
    if replaced is None:
        generation = yield from free_generation(tree, goal.top)
    else:
        generation = int(replaced["g"]) + 1
    if generation is None:
        return None
    op = new_op()
    put = written(op, p=goal.parent, n=paths.name(goal.path), g=generation)
    if replaced is not None:
        # Dies the process before it settles, this is everybody's duty.
        put |= {"over": replaced["_id"], "gc": Sooner(tree.terms.mark_lasts)}
    where = {**unchanged(node), "over": MISSING}
    # Not past its end: then that on the target, which was put there later, is there as well.
    either = ({"mk.op": node["mk"]["op"], "mk.exp": FUTURE},) if "mk" in node else UNMARKED
    gone = ("mk", "stg") if "gc" in put or "stg" not in node else ("mk", "stg", "gc")
    moved = yield Update(NODES, where, put, gone, either, op)
    if moved is None or moved is DUPLICATE:
        return None
    # Its new folder was deleted meanwhile: it is not to be deleted as well.
    is_gone = not (yield from touch_folder(moved["p"]))
    if is_gone and (yield from _move_back(tree, node, moved)):
        return None
    yield from settle(tree, moved)
    return Moved(moved, replaced)


#: A node that has to go back finds a free generation within so many tries, or stays.
_WAYS_BACK: Final = 8


def _move_back(tree: Tree, before: Document, moved: Document) -> Algorithm[bool]:
    """Whether it is at its old place again.

    Is somebody else there by now, it stays: then the deletion came after the move.
    """
    for _ in range(_WAYS_BACK):
        same = yield Find(
            NODES,
            {"p": before["p"], "n": before["n"]},
            sort=(("p", 1), ("n", 1), ("g", -1)),
            limit=1,
            only=("p", "n", "g", "del"),
        )
        if same and "del" not in same[0]:
            return False
        generation = yield from free_generation(tree, same[0] if same else None)
        if generation is None:
            continue
        put = written(new_op(), p=before["p"], n=before["n"], g=generation)
        where = {**slot(moved), "v": moved["v"], "del": MISSING}
        done = yield Update(NODES, where, put, unset=("over",))
        if done is not DUPLICATE:
            return done is not None
    return False
