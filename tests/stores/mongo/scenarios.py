"""What several clients do at once, and what must hold of it afterwards, in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from davstore.stores.mongo.documents import Terms, new_id
from davstore.stores.mongo.operations import Document
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import (
    Call,
    always_there,
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
from tests.stores.mongo.explorer import HARSH, Client, World
from tests.stores.mongo.history import Act, act, is_explained, state_of


@dataclass
class Scenario:
    """What is there at first, what each client does, and what must hold of it afterwards."""

    before: list[Call]
    clients: list[list[Call]]
    holds: Callable[[World, Mapping[str, Document]], None] = field(
        default=lambda _world, _tree: None
    )


def tokens(tree: Mapping[str, Document]) -> list[str]:
    return sorted(node["etag"] for node in tree.values() if "etag" in node)


def nothing_lost(*expected: str) -> Callable[[World, Mapping[str, Document]], None]:
    """Each file is there exactly once, wherever it is."""

    def holds(_world: World, tree: Mapping[str, Document]) -> None:
        assert tokens(tree) == sorted(expected)

    return holds


def at_least(*expected: str) -> Callable[[World, Mapping[str, Document]], None]:
    """Each of these files is there exactly once; others may be there too."""

    def holds(_world: World, tree: Mapping[str, Document]) -> None:
        found = tokens(tree)
        assert [token for token in found if token in expected] == sorted(expected), found

    return holds


def no_property_lost(world: World, tree: Mapping[str, Document]) -> None:
    """What was acknowledged is there, whoever else wrote at the same time."""
    props = [name for name, _ in tree["/f"].get("props", ())]
    for client, mine in zip(world.clients, ("p", "q", "r"), strict=True):
        wanted = [outcome for outcome in client.outcomes if "props" in _document(outcome.result)]
        if any([mine, mine] in _document(outcome.result)["props"] for outcome in wanted):
            assert props.count(mine) == 1, props


def _document(result: Any) -> Document:
    """Of a call's result, whatever it is."""
    return dict(getattr(result, "node", result) or {})


def one_creates(path: str) -> Callable[[World, Mapping[str, Document]], None]:
    """Of those that made the folder at `path`, which nobody deletes, one was told so."""

    def holds(world: World, tree: Mapping[str, Document]) -> None:
        told = [outcome.result for client in world.clients for outcome in client.outcomes
                if outcome.is_acknowledged and _document(outcome.result).get("n") == path[1:]
                and outcome.result["t"] == "d"]  # fmt: skip
        assert len(told) <= 1
        assert not told or told[0]["_id"] == tree[path]["_id"]

    return holds


#: The one upload of a scenario.
UPLOAD = new_id()

SCENARIOS = {
    "two moves that would close a cycle": Scenario(
        [mkcol("/a"), mkcol("/b"), put("/a/1", "in-a"), put("/b/2", "in-b")],
        [[move("/a", "/b/x")], [move("/b", "/a/y")]],
        nothing_lost("in-a", "in-b"),
    ),
    "three moves that would close a cycle": Scenario(
        [mkcol("/a"), mkcol("/b"), mkcol("/c"), put("/a/1", "A"), put("/b/2", "B"),
         put("/c/3", "C")],
        [[move("/a", "/b/x")], [move("/b", "/c/y")], [move("/c", "/a/z")]],
        nothing_lost("A", "B", "C"),
    ),
    "deep moves that would close a cycle": Scenario(
        [mkcol("/a"), mkcol("/a/d"), mkcol("/b"), mkcol("/b/e"), put("/a/d/1", "A"),
         put("/b/e/2", "B")],
        [[move("/a", "/b/e/x"), move("/b", "/c")], [move("/b", "/a/d/y"), move("/a", "/c2")]],
        nothing_lost("A", "B"),
    ),
    "a rotation over existing targets": Scenario(
        [put("/a", "A"), put("/b", "B"), put("/c", "C")],
        [[move("/a", "/b")], [move("/b", "/c")], [move("/c", "/a")]],
    ),
    "a rotation of folders over existing targets": Scenario(
        [mkcol("/a"), mkcol("/b"), mkcol("/c"), put("/a/1", "A"), put("/b/2", "B"),
         put("/c/3", "C")],
        [[move("/a", "/b")], [move("/b", "/c")], [move("/c", "/a")]],
    ),
    "PUT against DELETE": Scenario(
        [put("/f", "old")],
        [[put("/f", "new")], [delete("/f")], [put_large("/f", "large")]],
    ),
    "PUT against MOVE": Scenario(
        [put("/f", "old"), put("/g", "other")],
        [[put("/f", "new")], [move("/f", "/g")], [put_large("/g", "large")]],
    ),
    "creating in a folder that is being deleted": Scenario(
        [mkcol("/d"), mkcol("/d/e")],
        [[put("/d/e/f", "1"), put("/d/e/f", "2")], [delete("/d"), mkcol("/d")],
         [mkcol("/d/e"), put_large("/d/e/g", "large")]],
    ),
    "moving into a folder that is being deleted": Scenario(
        [mkcol("/d"), mkcol("/s"), put("/s/f", "kept")],
        [[move("/s", "/d/s")], [delete("/d"), mkcol("/d")], [put("/s/g", "more")]],
    ),
    "COPY against reclaim": Scenario(
        [put_large("/f", "one")],
        [[copy("/f", "/g")], [put_large("/f", "two"), delete("/f")], [copy("/g", "/h")]],
    ),
    "COPY of a tree against its change": Scenario(
        [mkcol("/d"), put_large("/d/1", "one"), mkcol("/d/e"), put_large("/d/e/2", "two")],
        [[copy("/d", "/g")], [put_large("/d/1", "three"), delete("/d/e")],
         [move("/g", "/h"), delete("/h")]],
    ),
    "two collectors and a COPY": Scenario(
        [put_large("/f", "one"), copy("/f", "/g")],
        [[delete("/f"), put_large("/f", "two")], [copy("/g", "/h")], [delete("/g")]],
    ),
    "one name, again and again": Scenario(
        [put("/f", "0")],
        [[delete("/f"), put("/f", "1"), delete("/f"), put("/f", "2")],
         [put_large("/t", "T"), move("/t", "/f"), move("/f", "/u")],
         [mkcol("/f"), delete("/f"), put("/f", "3")]],
    ),
    "moves over a folder while it is filled": Scenario(
        [mkcol("/d"), mkcol("/e"), put("/e/1", "E")],
        [[put("/d/x", "x"), put("/e/y", "y")], [move("/e", "/d")], [mkcol("/e"), move("/d", "/z")]],
    ),
    "PROPPATCH against replace and move": Scenario(
        [put("/f", "0"), put("/g", "1")],
        [[proppatch("/f", "p"), proppatch("/f", "q")], [put("/f", "2"), proppatch("/h", "r")],
         [move("/f", "/h"), put_large("/h", "three"), move("/g", "/h")]],
    ),
    "PROPPATCH of one file": Scenario(
        [put("/f", "0")],
        [[proppatch("/f", "p")], [proppatch("/f", "q")],
         [put("/f", "1"), proppatch("/f", "r"), put_large("/f", "two")]],
        no_property_lost,
    ),
    "mkdir races": Scenario(
        [],
        [[mkcol("/d"), put("/d/1", "1"), mkcol("/d/e")], [mkcol("/d"), mkcol("/d/e"),
         put("/d/e/2", "2")], [mkcol("/d/e"), delete("/d/e"), mkcol("/d")]],
        one_creates("/d"),
    ),
    "moving a parent while its child is moved out": Scenario(
        [mkcol("/a"), mkcol("/a/b"), mkcol("/a/b/c"), put("/a/b/c/1", "1"), mkcol("/z")],
        [[move("/a", "/z/a")], [move("/a/b/c", "/c"), move("/z", "/c/z")],
         [move("/a/b", "/b"), move("/c", "/b/d")]],
        nothing_lost("1"),
    ),
    "copying into a folder that is being moved": Scenario(
        [mkcol("/a"), put_large("/a/1", "one"), mkcol("/b"), mkcol("/c")],
        [[copy("/a", "/b/a")], [move("/b", "/c/b"), move("/c", "/d")],
         [move("/c/b/a", "/e"), delete("/a")]],
    ),
    "an upload that is kept against the collector": Scenario(
        [],
        [[keep_and_suspend("/f", "kept, large", UPLOAD), resume("/f", "kept, large", UPLOAD)],
         [resume("/f", "kept, large", UPLOAD)], [mkcol("/f"), delete("/f"), put("/f", "1")]],
    ),
    "readers of a name that is replaced by MOVE": Scenario(
        [put("/a", "A"), put("/b", "B"), mkcol("/d"), put("/d/f", "F"), put_large("/c", "C")],
        [[always_there("/a")], [move("/b", "/a"), move("/c", "/a")], [move("/d/f", "/a")]],
    ),
    "readers of a folder that is replaced by MOVE": Scenario(
        [mkcol("/d"), mkcol("/d/e"), put("/d/e/f", "1"), mkcol("/x"), mkcol("/x/e"),
         put("/x/e/f", "2"), mkcol("/y"), put("/y/f", "3"), put("/g", "4")],
        [[always_there("/d/e/f")], [move("/x", "/d"), move("/y", "/d/e")],
         [move("/g", "/d/e/f"), put_large("/d/e/f", "five")]],
    ),
    "readers of a folder in which others write": Scenario(
        [mkcol("/d"), put("/d/f", "1"), put("/g", "2")],
        [[always_there("/d/f")], [put_large("/d/f", "three"), copy("/g", "/d/f"), put("/d/h", "4")],
         [proppatch("/d/f", "p"), move("/g", "/d/f"), mkcol("/d/i"), delete("/d/i")]],
    ),
}  # fmt: skip


#: Scenarios of which every answer has to fit one order of the calls.
HISTORIES: Mapping[str, tuple[list[Act], list[list[Act]]]] = {
    "one name": (
        [act("put", "/f", "0")],
        [[act("put", "/f", "1"), act("delete", "/f"), act("stat", "/f")],
         [act("put", "/f", "2"), act("stat", "/f"), act("put", "/f", "3")],
         [act("mkcol", "/f"), act("stat", "/f"), act("delete", "/f")]],
    ),
}  # fmt: skip


def run_history(
    history: tuple[list[Act], list[list[Act]]], seed: int, terms: Terms = HARSH
) -> None:
    before, clients = history
    world = World(seed, terms)
    setup = Tree(world.terms)
    for one in before:
        world.run(one.call(setup))
    at_first = state_of(world.visible())
    working = [world.client(*(one.call for one in acts)) for acts in clients]
    world.explore()
    assert not world.settle()
    after = state_of(world.visible())
    told = [[outcome.error or outcome.result for outcome in one.outcomes] for one in working]
    assert is_explained(at_first, clients, working, after), (seed, at_first, after, told)


def run_schedule(scenario: Scenario, seed: int, terms: Terms = HARSH) -> None:
    world = World(seed, terms)
    setup = Tree(world.terms)
    for call in scenario.before:
        world.run(call(setup))
    clients: list[Client] = [world.client(*calls) for calls in scenario.clients]
    world.explore()
    findings = world.settle()
    said = [(outcome.result, outcome.error) for client in clients for outcome in client.outcomes]
    assert not findings, (seed, findings, said)
    assert not world.left_over(), (seed, world.left_over(), said)
    scenario.holds(world, world.visible())
