"""Rules that stand in for each other: either of two is enough, and without both it goes wrong.

A rule whose loss no schedule can show is either needless, or the second of two doors. Here both
are opened, in the one order of events that goes through them (docs/mongodb.md, "Second doors").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from davstore.stores.mongo import contents, moves, nodes, reclaim
from davstore.stores.mongo.documents import Id, Terms, new_op, tombstone, written
from davstore.stores.mongo.operations import (
    MISSING,
    NODES,
    PRESENT,
    Algorithm,
    Document,
    Find,
    Insert,
    Operation,
    Update,
)
from davstore.stores.mongo.resolving import resolve
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo import calls
from tests.stores.mongo.calls import copy, delete, mkcol, move, put, put_large
from tests.stores.mongo.explorer import HARSH, World
from tests.stores.mongo.standing import (
    altered,
    collect,
    collector,
    do,
    finish,
    go,
    go_until,
    puts,
    wrong,
)
from tests.stores.mongo.test_mutations import looking_for

#: A process may stand still for as long as it likes, and write then.
LATE: Final = replace(HARSH, commit_within=1e9)
#: A content is collected before its reference has to be there.
SHORT_LEASE: Final = replace(HARSH, lease=1.0)


@dataclass(frozen=True)
class Rule:
    """What takes it away: other code, or other terms."""

    patch: Callable[[pytest.MonkeyPatch], None] = lambda _patch: None
    terms: Terms = HARSH


@dataclass(frozen=True)
class Doors:
    """`harm` yields for each of its orders of events what goes wrong, false where nothing does.

    Where the second is a matter of terms, both are taken away with these.
    """

    first: Rule
    second: Rule
    harm: Callable[[Terms], Iterator[Any]]


def settled_wherever_it_is(patch: pytest.MonkeyPatch) -> None:
    """What was overwritten, though it may stand elsewhere by now."""

    def settle(tree: Tree, node: Document) -> Algorithm[None]:
        over = node.get("over")
        if over is not None:
            yield Update(NODES, {"_id": over, "del": MISSING}, tombstone(tree.terms), ("mk",))
            yield Update(NODES, {"_id": node["_id"]}, written(new_op()), ("over",))

    for module in (moves, nodes, reclaim):
        patch.setattr(module, "settle", settle)


def expired_marks_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(moves, "FUTURE", PRESENT)


def moved_from_under_a_move(terms: Terms) -> Iterator[Any]:
    """What a MOVE is about to replace is moved to safety, as soon as the marks have expired."""
    for k in range(12):
        world = World(0, terms)
        do(world, put("/a", "A"), put("/b", "B"))
        slow = world.client(move("/a", "/b"))
        go(slow, k)
        world.database.advance(terms.mark_lasts)
        was_there = world.visible()["/b"]["type"] == "B"
        do(world, move("/b", "/c"))
        finish(slow)
        found = wrong(world)
        types = {node["type"] for node in world.visible().values()}
        yield found or (was_there and "B" not in types)


def one_nonce(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contents, "new_op", lambda: "always the same")


def _is_retired(world: World, content: Id) -> None:
    """A reference to it was dropped, some time ago: a collector looks at it now."""
    world.run(contents.retire(content, world.terms))
    world.database.advance(world.terms.slot_kept)


def collected_twice(terms: Terms) -> Iterator[Any]:
    """A collector that has found no reference stands still until another one looks again.

    In between a COPY makes a reference, which a third one finds.
    """
    world = World(0, terms)
    do(world, put_large("/f", "one"))
    content: Id = world.visible()["/f"]["c"]
    copying = world.client(copy("/f", "/g"))
    go_until(copying, lambda operation: isinstance(operation, Insert))
    do(world, put("/f", "2"))
    collect(world)
    _is_retired(world, content)
    slow = collector(world)
    go_until(slow, is_dead := puts_state(contents.DEAD))
    assert is_dead(slow.upcoming)
    go(copying, 1)
    collect(world, after=terms.mark_lasts)
    finish(copying)
    _is_retired(world, content)
    again = collector(world)
    go_until(
        again, lambda operation: isinstance(operation, Find) and operation.where == {"c": content}
    )
    finish(slow)
    finish(again)
    yield wrong(world)


def puts_state(state: str) -> Callable[[Operation], bool]:
    """Whether an operation gives a content that state."""
    return lambda operation: (
        isinstance(operation, Update) and operation.put.get(contents.STATE) == state
    )


def uploads_not_confirmed(patch: pytest.MonkeyPatch) -> None:
    def trust(tree: Tree, done: nodes.Written, content: Id) -> Algorithm[bool]:
        yield from ()
        return True

    patch.setattr(calls, "confirm_content", trust)


def slow_upload(terms: Terms) -> Iterator[Any]:
    """It stands still for as long as it may, while collectors are at work."""
    for k in range(20):
        world = World(0, terms)
        do(world, put("/f", "0"))
        slow = world.client(put_large("/f", "one"))
        go(slow, k)
        for _ in range(5):
            collect(world, after=1.0)
        finish(slow)
        yield wrong(world)


def no_third_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contents, "is_referred_to", looking_for("c", "old.c"))


def put_back_during_the_look(terms: Terms) -> Iterator[Any]:
    """An upload whose own content is gone puts the former one back, while that is looked for."""
    world = World(0, terms)
    do(world, put_large("/f", "one"))
    content: Id = world.visible()["/f"]["c"]
    slow = world.client(put_large("/f", "two"))
    go_until(slow, puts("c"))
    collect(world, after=terms.lease)
    _is_retired(world, content)
    looking = collector(world)
    go_until(looking, puts_state(contents.DYING))
    go(slow, 1)
    go(looking, 2)
    finish(slow)
    collect(world)
    finish(looking)
    yield wrong(world)


def deleted_without_settling(patch: pytest.MonkeyPatch) -> None:
    def hide(operation: Operation, result: Any) -> Any:
        if not isinstance(operation, Find):
            return result
        return [{name: node[name] for name in node if name != "over"} for node in result]

    patch.setattr(calls, "delete_node", altered(nodes.delete_node, hide))


def lower_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    _sees_nothing(patch, lambda operation: "g" in operation.where)


def _sees_nothing(patch: pytest.MonkeyPatch, looks: Callable[[Find], bool]) -> None:
    """When it decides on the end of a tombstone."""

    def alter(operation: Operation, result: Any) -> Any:
        return [] if isinstance(operation, Find) and looks(operation) else result

    patch.setattr(reclaim, "_remove", altered(reclaim._remove, alter))


def _deleted_after_a_move_that_died(terms: Terms) -> World:
    world = World(0, terms)
    do(world, put("/a", "A"), put("/b", "B"))
    dying = world.client(move("/a", "/b"))
    go_until(dying, puts("over"))
    go(dying, 1)
    do(world, delete("/b"))
    return world


def risen_again(terms: Terms) -> Iterator[Any]:
    """What a MOVE that died has overwritten, once the node above it was deleted."""
    world = _deleted_after_a_move_that_died(terms)
    world.settle()
    yield sorted(world.visible())


def tombstones_dropped_first(patch: pytest.MonkeyPatch) -> None:
    def listing(path: str) -> calls.Call:
        def read(tree: Tree) -> Algorithm[list[str]]:
            node = (yield from resolve(path, tree.cache)).node
            assert node is not None
            found = yield Find(NODES, {"p": node["_id"], "del": MISSING})
            return [each["n"] for each in found]

        return read

    patch.setattr(calls, "listing", listing)


def listed_again(terms: Terms) -> Iterator[Any]:
    """The same, by somebody who lists the folder."""
    world = _deleted_after_a_move_that_died(terms)
    yield world.run(calls.listing("/")(Tree(terms)))


def members_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    _sees_nothing(patch, lambda operation: set(operation.where) == {"p"})


def made_in_what_goes(terms: Terms) -> Iterator[Any]:
    """In a folder that was deleted long ago; then its maker dies."""
    world = World(0, terms)
    do(world, mkcol("/d"))
    slow = world.client(put("/d/f", "1"))
    go_until(slow, lambda operation: isinstance(operation, Insert))
    do(world, delete("/d"))
    collect(world)
    world.database.advance(terms.slot_kept)
    collecting = collector(world)
    go_until(
        collecting, lambda operation: isinstance(operation, Find) and "slot" in operation.where
    )
    go(slow, 1)
    slow.is_dead = True
    finish(collecting)
    yield wrong(world)


DOORS: Final = {
    "what was moved to safety is not settled": Doors(
        Rule(settled_wherever_it_is), Rule(expired_marks_commit), moved_from_under_a_move
    ),
    "nonces, and writing in time": Doors(Rule(one_nonce), Rule(terms=LATE), collected_twice),
    "confirming uploads, and leases": Doors(
        Rule(uploads_not_confirmed), Rule(terms=SHORT_LEASE), slow_upload
    ),
    "the third look": Doors(Rule(no_third_look), Rule(terms=LATE), put_back_during_the_look),
    "lower generations go first, and are settled": Doors(
        Rule(lower_not_looked_for), Rule(deleted_without_settling), risen_again
    ),
    "listings look at the top first, and deletions settle": Doors(
        Rule(tombstones_dropped_first), Rule(deleted_without_settling), listed_again
    ),
    "folders with members stay, and writing in time": Doors(
        Rule(members_not_looked_for), Rule(terms=LATE), made_in_what_goes
    ),
}


@pytest.mark.parametrize("name", DOORS)
def test_either_rule_is_enough_and_without_both_it_goes_wrong(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = DOORS[name]
    assert not any(doors.harm(HARSH))
    for rule in (doors.first, doors.second):
        with monkeypatch.context() as patch:
            rule.patch(patch)
            assert not any(doors.harm(rule.terms)), rule
    for rule in (doors.first, doors.second):
        rule.patch(monkeypatch)
    assert any(doors.harm(doors.second.terms))
