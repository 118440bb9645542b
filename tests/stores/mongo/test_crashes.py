"""A crash at every operation: the process dies after its k-th database operation, for every k.

Dying before the k-th is dying after the one before it: only what the database has done is left.
Then everybody else finds all of it or nothing, can carry on, and nothing is left over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from davstore.stores.mongo import contents
from davstore.stores.mongo.documents import new_id
from davstore.stores.mongo.nodes import MOST_OLD
from davstore.stores.mongo.operations import CHUNKS, CONTENTS, NODES
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import (
    Call,
    copy,
    delete,
    keep_and_suspend,
    listing,
    mkcol,
    move,
    put,
    put_large,
    stat,
)
from tests.stores.mongo.crashes import (
    CRASHES,
    OTHER,
    TREE,
    Crash,
    Shown,
    attempt,
    begun,
    cut_short,
    operations_of,
    rebuild,
    shown,
)
from tests.stores.mongo.explorer import World, reclaim_once


def must_be_clean(world: World) -> None:
    """All duties done: fsck finds nothing, and nothing is there that nobody can see."""
    assert world.settle() == []
    assert world.left_over() == []


def must_be_seen(world: World, expected: Shown) -> None:
    """The next client resolves and lists just what is there."""
    tree = Tree(world.terms)
    for path in expected:
        assert world.run(stat(path)(tree)) is not None, path
    names = {path[1:] for path in expected if path.rindex("/") == 0}
    assert set(world.run(listing("/")(tree))) == names


@pytest.mark.parametrize("name", CRASHES)
def test_all_or_nothing_is_found_after_a_crash_at_any_operation(name: str) -> None:
    crash = CRASHES[name]
    count = operations_of(crash)
    assert count >= 2
    before = shown(begun(crash))
    after = crash.after if crash.shows else before
    was_after = False
    for k in range(count + 1):
        world = begun(crash)
        cut_short(world, crash.call, k)
        found = shown(world)
        assert found in (before, after), (k, found)
        assert found == after or not was_after, (k, "undone again")
        was_after = crash.shows and found == after
        must_be_seen(world, found)
        must_be_clean(world)
        assert shown(world) == found, (k, "not the same after the duties")
    assert was_after == crash.shows


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a while"])
@pytest.mark.parametrize("name", CRASHES)
def test_others_carry_on_after_a_crash_at_any_operation(name: str, waits: bool) -> None:
    """What is refused is refused because of what is there, never because of the dead process.

    Until the marks expire, others may wait; the explorer has no clock of its own, so here it
    goes on as they do.
    """
    crash = CRASHES[name]
    for k in range(operations_of(crash) + 1):
        world = begun(crash)
        cut_short(world, crash.call, k)
        if waits:
            world.database.advance(world.terms.mark_lasts)
            world.run(reclaim_once(world, Tree(world.terms)))
        expected = World(0)
        rebuild(expected, shown(world))
        said = [attempt(world, call) for call in crash.then]
        wanted = [attempt(expected, call) for call in crash.then]
        assert said == wanted, k
        assert shown(world) == shown(expected), k
        must_be_clean(world)
        assert shown(world) == shown(expected), (k, "not the same after the duties")


@pytest.mark.parametrize("name", [name for name in CRASHES if "over" in name or "large" in name])
def test_two_crashes_one_after_the_other(name: str) -> None:
    """Who carries on dies as well, anywhere."""
    crash = CRASHES[name]
    second = crash.then[0]
    for first in range(operations_of(crash) + 1):
        k, is_over = 0, False
        while not is_over:
            world = begun(crash)
            cut_short(world, crash.call, first)
            before, after = shown(world), World(0)
            rebuild(after, before)
            attempt(after, second)
            world.database.advance(world.terms.mark_lasts)
            is_over = cut_short(world, second, k)
            assert shown(world) in (before, shown(after)), (first, k)
            found = shown(world)
            must_be_clean(world)
            assert shown(world) == found, (first, k)
            k += 1


def _has(field: str) -> Callable[[World], bool]:
    """Some node has the field."""
    return lambda world: any(field in node for node in world.database.documents(NODES).values())


def _has_sealed(world: World) -> bool:
    found = world.database.documents(CONTENTS).values()
    return any(content["metadata"]["state"] == contents.LIVE for content in found)


@dataclass(frozen=True)
class Duty:
    """`call`, when there is one, is cut short as soon as `until` holds."""

    before: list[Call]
    call: Call | None = None
    until: Callable[[World], bool] = lambda _world: False


_BIG: Final = put_large("/f", "one, large")
DUTIES: Final = {
    "a deleted file": Duty([put("/f", "0"), delete("/f")]),
    "one name deleted twice": Duty([put("/f", "0"), delete("/f"), mkcol("/f"), delete("/f")]),
    "a deleted file with former contents": Duty([_BIG, _BIG, _BIG, delete("/f")]),
    "a deleted tree": Duty([*TREE, delete("/d")]),
    "a deleted tree whose content lives on": Duty([*TREE, copy("/d/l", "/l"), delete("/d")]),
    "more replaced contents than a node remembers": Duty([_BIG] * (MOST_OLD + 3)),
    "a file moved over a file": Duty([put("/f", "0"), put("/g", "1")], move("/f", "/g"),
                                     _has("over")),
    "a tree moved over a tree": Duty([*TREE, *OTHER], move("/d", "/o"), _has("over")),
    "a copy that never arrived": Duty(TREE, copy("/d", "/o"), lambda world: len(
        world.database.documents(NODES)) == 8),
    "an upload that broke off": Duty([], _BIG, lambda world: len(
        world.database.documents(CHUNKS)) == 2),
    "an upload that was kept and forgotten": Duty([keep_and_suspend("/f", "kept", new_id())]),
    "a sealed content that nobody refers to": Duty([], _BIG, _has_sealed),
}  # fmt: skip


def _due(duty: Duty, rounds: int) -> World:
    """After so many whole rounds of the collector, when more is due."""
    world = begun(Crash(duty.before, mkcol("/unused"), []))
    if duty.call is not None:
        k = 0
        while not duty.until(world):
            k += 1
            world = begun(Crash(duty.before, mkcol("/unused"), []))
            assert not cut_short(world, duty.call, k), "it was done before"
    for _ in range(rounds):
        world.database.advance(world.terms.slot_kept)
        world.run(reclaim_once(world, Tree(world.terms)))
    world.database.advance(world.terms.slot_kept)
    return world


@pytest.mark.parametrize("name", DUTIES)
def test_a_collector_may_die_at_any_operation(name: str) -> None:
    rounds, crashes = 0, 0
    while True:
        world = _due(DUTIES[name], rounds)
        if not world.has_duties():
            break
        before, k, is_over = shown(world), 0, False
        while not is_over:
            world = _due(DUTIES[name], rounds)
            collect = partial(reclaim_once, world)
            is_over = cut_short(world, collect, k)
            assert shown(world) == before, (rounds, k)
            must_be_clean(world)
            assert shown(world) == before, (rounds, k)
            k += 1
        rounds, crashes = rounds + 1, crashes + k
    assert rounds and crashes > 5
