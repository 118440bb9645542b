"""Known errors of design are found when they are put in on purpose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from davstore.errors import StoreError
from davstore.stores.mongo import contents, copies, moves, nodes, reclaim, slots
from davstore.stores.mongo.documents import Id, Terms
from davstore.stores.mongo.operations import NODES, Algorithm, Document, Find
from davstore.stores.mongo.resolving import Found
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import Call, copy, delete, mkcol, move, put, put_large
from tests.stores.mongo.explorer import HARSH, World
from tests.stores.mongo.scenarios import SCENARIOS, run_schedule
from tests.stores.mongo.standing import collect, collector, do, finish, go, is_kept, wrong

Patch = Callable[[pytest.MonkeyPatch], None]
#: So many schedules may pass before an error is found.
MOST_SCHEDULES: Final = 20_000


def _everywhere(patch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """In every module that has taken the function over."""
    for module in (slots, nodes, moves, copies, reclaim):
        if hasattr(module, name):
            patch.setattr(module, name, value)


def no_marks(patch: pytest.MonkeyPatch) -> None:
    def commit_at_once(tree: slots.Tree, node: Document, goal: Found) -> Algorithm[Any]:
        if "over" in node:
            yield from slots.settle(tree, node)
            return None
        return (yield from moves._commit(tree, node, goal, goal.node))

    patch.setattr(moves, "_try", commit_at_once)


def chain_not_read_again(patch: pytest.MonkeyPatch) -> None:
    def trust(tree: slots.Tree, node: Document, goal: Found, op: str) -> Algorithm[Any]:
        yield from ()
        return goal

    patch.setattr(moves, "_look_again", trust)


def no_confirmation(patch: pytest.MonkeyPatch) -> None:
    def trust(content: Id, lease: Any) -> Algorithm[bool]:
        yield from ()
        return True

    patch.setattr(contents, "confirm", trust)


@dataclass(frozen=True)
class Mutation:
    """`name` is the scenario that shows it."""

    patch: Patch
    name: str
    terms: Terms = HARSH


MUTATIONS: Final = {
    "no marks": Mutation(no_marks, "two moves that would close a cycle"),
    "the chain is not read again": Mutation(
        chain_not_read_again, "two moves that would close a cycle"
    ),
    "slots are not kept": Mutation(
        lambda _patch: None, "one name, again and again", replace(HARSH, slot_kept=0.0)
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_explorer_finds_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation = MUTATIONS[name]
    mutation.patch(monkeypatch)
    for seed in range(MOST_SCHEDULES):
        try:
            run_schedule(SCENARIOS[mutation.name], seed, mutation.terms)
        except AssertionError:
            print(f"{name}: found by schedule {seed}")
            return
    pytest.fail("it was not found")


def _standing_still(call: Call, others: Sequence[Call], k: int) -> list[str]:
    """What fsck finds when a call stands still after k operations, for longer than it may."""
    world = World(0, replace(HARSH, commit_within=1e9))
    tree = Tree(world.terms)
    world.run(put_large("/f", "one")(tree))
    running = call(Tree(world.terms))
    with contextlib.suppress(StopIteration, StoreError):
        operation = next(running)
        for _ in range(k):
            operation = running.send(world.database.carry_out(operation))
        for other in others:
            world.run(other(tree))
        world.settle()
        while True:
            operation = running.send(world.database.carry_out(operation))
    return [finding.kind for finding in world.settle()]


def test_a_copy_that_confirms_holds_however_long_it_takes() -> None:
    for k in range(30):
        assert _standing_still(copy("/f", "/g"), [put("/f", "2")], k) == [], k


def test_a_copy_that_does_not_confirm_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    no_confirmation(monkeypatch)
    found = [_standing_still(copy("/f", "/g"), [put("/f", "2")], k) for k in range(30)]
    assert ["no-content"] in found


def slots_not_renewed(patch: pytest.MonkeyPatch) -> None:
    def next_generation(tree: slots.Tree, top: Document | None) -> Algorithm[int | None]:
        yield from ()
        return 0 if top is None else int(top["g"]) + 1

    _everywhere(patch, "free_generation", next_generation)


#: What builds upon the tombstone of /f.
_BUILDING: Final[dict[str, Call]] = {
    "PUT": put("/f", "late"),
    "PUT of a large file": put_large("/f", "late, large"),
    "MKCOL": mkcol("/f"),
    "MOVE": move("/s", "/f"),
    "COPY": copy("/s", "/f"),
}


def _built_upon_late(call: Call, k: int) -> list[str]:
    """The tombstone is about to go when the call meets it, and goes after its k operations.

    Before the call goes on, somebody else has the name.
    """
    world = World(0)
    do(world, put("/s", "source"), put("/f", "0"), delete("/f"))
    world.database.advance(world.terms.slot_kept - 1)
    late = world.client(call)
    go(late, k)
    collect(world, after=2)
    with contextlib.suppress(StoreError):
        do(world, put("/f", "other"))
    finish(late)
    return wrong(world)


@pytest.mark.parametrize("name", _BUILDING)
def test_a_tombstone_that_is_built_upon_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its generation is given out twice, and the older node hides the younger one."""
    for k in range(30):
        assert _built_upon_late(_BUILDING[name], k) == [], k
    slots_not_renewed(monkeypatch)
    assert any("shadowed" in _built_upon_late(_BUILDING[name], k) for k in range(30))


def lookup_turned_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contents, "is_referred_to", looking_for("old.c", "c"))


def looking_for(*names: str) -> Callable[[Id], Algorithm[bool]]:
    def is_referred_to(content: Id) -> Algorithm[bool]:
        for name in names:
            if (yield Find(NODES, {name: content}, limit=1, only=("c",))):
                return True
        return False

    return is_referred_to


def _kept_for_readers(k: int) -> bool:
    """A file is replaced after k operations of a collector that looks for its content."""
    world = World(0, replace(HARSH, grace=3600.0))
    do(world, put_large("/f", "one"))
    content: Id = world.visible()["/f"]["c"]
    world.run(contents.retire(content, world.terms))
    world.database.advance(world.terms.slot_kept)
    looking = collector(world)
    go(looking, k)
    do(world, put("/f", "2"))
    finish(looking)
    return is_kept(world, content)


def test_a_replaced_content_is_kept_for_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference moves from `c` to `old.c`, so it is looked for in this order."""
    assert all(_kept_for_readers(k) for k in range(12))
    lookup_turned_round(monkeypatch)
    assert not all(_kept_for_readers(k) for k in range(12))
