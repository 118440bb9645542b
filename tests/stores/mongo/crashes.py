"""Calls that are cut short: what is there before, what is seen after, what others do then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from davstore.errors import StoreError
from davstore.stores.mongo.documents import new_id
from davstore.stores.mongo.operations import CHUNKS, Document
from davstore.stores.mongo.resolving import FolderCache
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import (
    Call,
    copy,
    delete,
    keep_and_suspend,
    mkcol,
    move,
    proppatch,
    put,
    put_large,
    resume,
)
from tests.stores.mongo.explorer import World

#: What clients see: path -> content of a file (and its properties), "/" for a folder.
Shown = Mapping[str, Any]

_UPLOAD: Final = new_id()


@dataclass(frozen=True)
class Crash:
    """`call` is cut short; `then` is what another client does at these paths afterwards."""

    before: list[Call]
    call: Call
    then: list[Call]
    #: Whether `call` changes what is seen.
    shows: bool = True
    after: Shown = field(default_factory=dict)


TREE: Final = [mkcol("/d"), put("/d/s", "small"), put_large("/d/l", "large one"), mkcol("/d/e")]
OTHER: Final = [mkcol("/o"), put("/o/x", "over"), put_large("/o/y", "over, large")]
_D: Final = {"/d": "/", "/d/s": "small", "/d/l": "large one", "/d/e": "/"}
_O: Final = {"/o": "/", "/o/x": "over", "/o/y": "over, large"}


def _at(target: str, tree: Shown = _D, source: str = "/d") -> Shown:
    return {path.replace(source, target, 1): what for path, what in tree.items()}


CRASHES: Final = {
    "create small": Crash([], put("/f", "1"), [put("/f", "2"), delete("/f")], after={"/f": "1"}),
    "create large": Crash(
        [], put_large("/f", "one large"), [put_large("/f", "2, large"), delete("/f")],
        after={"/f": "one large"},
    ),
    "create where a tombstone is": Crash(
        [put("/f", "0"), delete("/f")], put("/f", "1"), [put("/f", "2"), move("/f", "/g")],
        after={"/f": "1"},
    ),
    "replace small by small": Crash(
        [put("/f", "0")], put("/f", "1"), [put("/f", "2"), move("/f", "/g"), delete("/g")],
        after={"/f": "1"},
    ),
    "replace small by large": Crash(
        [put("/f", "0")], put_large("/f", "one large"), [put("/f", "2"), delete("/f")],
        after={"/f": "one large"},
    ),
    "replace large by small": Crash(
        [put_large("/f", "zero, large")], put("/f", "1"), [put_large("/f", "two, large")],
        after={"/f": "1"},
    ),
    "replace large by large": Crash(
        [put_large("/f", "zero, large")], put_large("/f", "one large"),
        [put_large("/f", "two, large"), move("/f", "/g")],
        after={"/f": "one large"},
    ),
    "MKCOL": Crash([], mkcol("/d"), [put("/d/f", "1"), delete("/d")], after={"/d": "/"}),
    "DELETE of a file": Crash(
        [put("/f", "0")], delete("/f"), [put("/f", "1"), delete("/f")],
    ),
    "DELETE of a large file": Crash(
        [put_large("/f", "zero, large"), put_large("/f", "one, large")], delete("/f"),
        [mkcol("/f"), delete("/f")],
    ),
    "DELETE of a folder": Crash(
        TREE, delete("/d"), [mkcol("/d"), put("/d/s", "again"), move("/d", "/e")],
    ),
    "MOVE of a file": Crash(
        [put("/f", "0")], move("/f", "/g"), [put("/g", "1"), put("/f", "2"), move("/g", "/f")],
        after={"/g": "0"},
    ),
    "MOVE of a file over a file": Crash(
        [put("/f", "0"), put_large("/g", "old, large")], move("/f", "/g"),
        [put("/g", "1"), move("/g", "/f"), delete("/f")],
        after={"/g": "0"},
    ),
    "MOVE of a file over a folder": Crash(
        [put("/f", "0"), *OTHER], move("/f", "/o"), [put("/o", "1"), delete("/o"), mkcol("/o")],
        after={"/o": "0"},
    ),
    "MOVE of a folder": Crash(
        [*TREE, mkcol("/p")], move("/d", "/p/q"),
        [mkcol("/d"), put("/p/q", "1"), move("/d", "/p/q"), delete("/p/q")],
        after={"/p": "/", **_at("/p/q")},
    ),
    "rename of a folder": Crash(
        TREE, move("/d", "/q"), [mkcol("/d"), move("/d", "/q"), delete("/q")], after=_at("/q"),
    ),
    "MOVE of a folder over a folder": Crash(
        [*TREE, mkcol("/p"), *OTHER, move("/o", "/p/o")], move("/d", "/p/o"),
        [put("/p/o/s", "1"), move("/p/o", "/d"), delete("/p")],
        after={"/p": "/", **_at("/p/o")},
    ),
    "MOVE of a folder over a file": Crash(
        [*TREE, put("/g", "1")], move("/d", "/g"), [delete("/g"), mkcol("/g"), mkcol("/d")],
        after=_at("/g"),
    ),
    "MOVE over what was moved over": Crash(
        [put("/f", "0"), put("/g", "1"), put("/h", "2"), move("/f", "/g")], move("/g", "/h"),
        [move("/h", "/f"), delete("/f")],
        after={"/h": "0"},
    ),
    "COPY of a file": Crash(
        [put("/f", "0")], copy("/f", "/g"), [put("/g", "1"), copy("/g", "/f"), delete("/f")],
        after={"/f": "0", "/g": "0"},
    ),
    "COPY of a large file over one": Crash(
        [put_large("/f", "zero, large"), put_large("/g", "one, large")], copy("/f", "/g"),
        [copy("/g", "/f"), delete("/f")],
        after={"/f": "zero, large", "/g": "zero, large"},
    ),
    "COPY of a tree": Crash(
        TREE, copy("/d", "/q"), [delete("/d"), mkcol("/q"), move("/q", "/d")],
        after={**_D, **_at("/q")},
    ),
    "COPY of a tree over one": Crash(
        [*TREE, *OTHER], copy("/d", "/o"), [delete("/d"), move("/o", "/d")],
        after={**_D, **_at("/o")},
    ),
    "PROPPATCH": Crash(
        [put("/f", "0")], proppatch("/f", "p"), [proppatch("/f", "q"), delete("/f")],
        after={"/f": ("0", ["p"])},
    ),
    "an upload is kept": Crash(
        [], keep_and_suspend("/f", "kept, large", _UPLOAD), [put("/f", "1")], shows=False,
    ),
    "an upload is resumed": Crash(
        [keep_and_suspend("/f", "kept, large", _UPLOAD)], resume("/f", "kept, large", _UPLOAD),
        [put("/f", "1")],
        after={"/f": "kept, large"},
    ),
    "a resumed upload replaces": Crash(
        [put_large("/f", "zero, large"), keep_and_suspend("/f", "kept, large", _UPLOAD)],
        resume("/f", "kept, large", _UPLOAD), [move("/f", "/g"), delete("/g")],
        after={"/f": "kept, large"},
    ),
}  # fmt: skip


def cut_short(world: World, call: Call, k: int) -> bool:
    """Carry out the first k operations of a call; whether it came to its end, or was refused."""
    running = call(Tree(world.terms, FolderCache()))
    # Kept, so that the generator is not closed: a process that is killed cleans nothing up.
    world.kept.append(running)
    try:
        operation = next(running)
        for _ in range(k):
            operation = running.send(world.database.carry_out(operation))
    except (StopIteration, StoreError):
        return True
    return False


def shown(world: World) -> dict[str, Any]:
    """What clients see; the contents are read as they are, chunk by chunk."""
    return {path: _content(world, node) for path, node in world.visible().items()}


def _content(world: World, node: Document) -> Any:
    if node["t"] == "d":
        return "/"
    if "c" in node:
        chunks = world.database.documents(CHUNKS).values()
        mine = sorted((one["n"], one["data"]) for one in chunks if one["files_id"] == node["c"])
        data = b"".join(part for _, part in mine)
    else:
        data = node["data"]
    text = bytes(data).decode()
    return (text, [name for name, _ in node["props"]]) if "props" in node else text


def begun(crash: Crash) -> World:
    world = World(0)
    setup = Tree(world.terms)
    for call in crash.before:
        world.run(call(setup))
    return world


def operations_of(crash: Crash) -> int:
    """How many operations the call has when nobody disturbs it."""
    k = 0
    while not cut_short(begun(crash), crash.call, k):
        k += 1
    return k


def attempt(world: World, call: Call) -> str:
    """How it ended."""
    try:
        world.run(call(Tree(world.terms)))
    except StoreError as error:
        return type(error).__name__
    return "done"


def rebuild(world: World, tree: Shown) -> None:
    for path, what in sorted(tree.items()):
        text, props = what if isinstance(what, tuple) else (what, [])
        made = mkcol(path) if text == "/" else put(path, text)
        for call in (made, *(proppatch(path, name) for name in props)):
            assert attempt(world, call) == "done"
