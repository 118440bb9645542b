"""Whether what clients were told can be explained by their calls one after the other.

The order has to agree with real time: what ended before another call began comes before it. Of a
call that died, or was told to try again later, nobody knows; it may have happened or not (a
`DeadlineExceeded` would be certain, but no call here has a deadline; see `test_deadlines`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from davstore import paths
from davstore.errors import NoSuchUpload, Unavailable
from davstore.stores.mongo.operations import Document
from tests.stores.mongo import calls
from tests.stores.mongo.explorer import Client, Outcome

#: Path -> the token of a file, "/" for a folder; sorted, so that it can be a key.
State = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Act:
    """A call that the model knows as well."""

    kind: str
    args: tuple[str, ...]

    @property
    def call(self) -> calls.Call:
        made: Callable[..., calls.Call] = getattr(calls, self.kind)
        return made(*self.args)


def act(kind: str, *args: str) -> Act:
    return Act(kind, args)


@dataclass(frozen=True, slots=True)
class _Event:
    act: Act
    began: float
    ended: float
    #: What the client was told; None when nobody knows.
    told: Any


def is_explained(
    before: State, acts: Sequence[Sequence[Act]], clients: Sequence[Client], after: State
) -> bool:
    """Whether some order of the calls gives every answer and leads from `before` to `after`."""
    events = [
        _event(one, outcome)
        for client, mine in zip(clients, acts, strict=True)
        for one, outcome in zip(mine, client.outcomes, strict=False)
    ]
    return _search(frozenset(range(len(events))), before, events, after, set())


def state_of(tree: Mapping[str, Document]) -> State:
    return tuple(sorted((path, node.get("type", "/")) for path, node in tree.items()))


def _event(one: Act, outcome: Outcome) -> _Event:
    is_unknown = outcome.ended is None or isinstance(outcome.error, Unavailable | NoSuchUpload)
    if is_unknown or outcome.ended is None:
        return _Event(one, outcome.began, float("inf"), None)
    told = _told(one, outcome.result) if outcome.error is None else type(outcome.error).__name__
    return _Event(one, outcome.began, outcome.ended, told)


def _told(one: Act, result: Any) -> Any:
    """What a client learns from the result."""
    if one.kind in ("put", "put_large", "move", "copy"):
        return "created" if result.replaced is None else "replaced"
    if one.kind == "stat":
        return None if result is None else result.get("type", "/")
    return sorted(result) if one.kind == "listing" else "done"


def _search(
    left: frozenset[int],
    state: State,
    events: Sequence[_Event],
    after: State,
    failed: set[tuple[frozenset[int], State]],
) -> bool:
    if state == after and all(events[i].told is None for i in left):
        return True
    if (left, state) in failed:
        return False
    first_end = min((events[i].ended for i in left), default=0)
    for i in left:
        event = events[i]
        if event.began >= first_end:
            continue  # another one was over before it began
        said, then = _model(dict(state), event.act)
        if event.told is not None and said != event.told:
            continue
        if _search(left - {i}, then, events, after, failed):
            return True
    failed.add((left, state))
    return False


def _model(tree: dict[str, str], one: Act) -> tuple[Any, State]:
    """What a client is told, and the tree afterwards."""
    said = _MODEL[one.kind](tree, *one.args)
    return said, tuple(sorted(tree.items()))


def _no_parent(tree: dict[str, str], path: str) -> str | None:
    parent = paths.parent(path)
    if parent == paths.ROOT or tree.get(parent) == "/":
        return None
    return "NotAFolder" if parent in tree else "ParentMissing"


def _put(tree: dict[str, str], path: str, token: str) -> str:
    wrong = _no_parent(tree, path)
    if wrong or tree.get(path) == "/":
        return wrong or "IsAFolder"
    said = "replaced" if path in tree else "created"
    tree[path] = token
    return said


def _mkcol(tree: dict[str, str], path: str) -> str:
    wrong = _no_parent(tree, path)
    if wrong or path in tree:
        return wrong or "Exists"
    tree[path] = "/"
    return "done"


def _delete(tree: dict[str, str], path: str) -> str:
    if path not in tree:
        return "NotFound"
    for one in _tree_at(tree, path):
        del tree[one]
    return "done"


def _tree_at(tree: dict[str, str], path: str) -> list[str]:
    return [one for one in tree if paths.is_within(one, path)]


def _copy(tree: dict[str, str], source: str, target: str) -> str:
    if source not in tree:
        return "NotFound"
    if paths.is_within(source, target) or paths.is_within(target, source):
        return "IntoItself"
    wrong = _no_parent(tree, target)
    if wrong:
        return wrong
    said = "replaced" if target in tree else "created"
    for one in _tree_at(tree, target):
        del tree[one]
    for one in _tree_at(tree, source):
        tree[target + one[len(source) :]] = tree[one]
    return said


def _move(tree: dict[str, str], source: str, target: str) -> str:
    said = _copy(tree, source, target)
    if said in ("created", "replaced"):
        _delete(tree, source)
    return said


def _stat(tree: dict[str, str], path: str) -> str | None:
    return tree.get(path)


def _listing(tree: dict[str, str], path: str) -> list[str] | None:
    if path != paths.ROOT and path not in tree:
        return None
    return sorted(paths.name(one) for one in tree if paths.parent(one) == path)


_MODEL: Final[dict[str, Callable[..., Any]]] = {
    "put": _put,
    "put_large": _put,
    "mkcol": _mkcol,
    "delete": _delete,
    "copy": _copy,
    "move": _move,
    "stat": _stat,
    "listing": _listing,
}
