"""Persistent uploads that were sealed, and whose file was not there when the process died.

Or stood still: then another one may have gone on with the upload, and made the file of it. What
became of that since has to stay, however late the first one goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from davstore.errors import Locked, StoreError
from davstore.stores.mongo import contents, uploads
from davstore.stores.mongo.documents import new_id
from davstore.stores.mongo.operations import Algorithm, Document
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import Call, copy, delete, keep_and_suspend, move, put, resume
from tests.stores.mongo.crashes import cut_short, shown
from tests.stores.mongo.explorer import HARSH, Client, World
from tests.stores.mongo.standing import collect, do, finish, go, wrong

TERMS: Final = replace(HARSH, lease=12.0)
#: Seconds after which nobody is waited for.
LONG: Final = TERMS.commit_within + TERMS.mark_lasts + TERMS.hold
CONTENT: Final = "kept, large"
UPLOAD: Final = new_id()

Since = Callable[[World], None]


def begun() -> World:
    world = World(0, TERMS)
    do(world, keep_and_suspend("/f", CONTENT, UPLOAD, lease=1000.0))
    return world


def going_on() -> Call:
    return resume("/f", CONTENT, UPLOAD)


def attempt(world: World, call: Call) -> str:
    try:
        world.run(call(Tree(world.terms)))
    except StoreError as error:
        return type(error).__name__
    return "done"


@pytest.mark.parametrize("waits", [LONG, 100.0], ids=["soon", "after the lease of a seal"])
def test_whoever_dies_at_any_operation_another_can_go_on(waits: float) -> None:
    k, is_over, was_there = 0, False, False
    while not is_over:
        world = begun()
        is_over = cut_short(world, going_on(), k)
        is_there = bool(shown(world))
        assert is_there or not was_there, "undone again"
        was_there = is_there
        if not is_there:
            assert attempt(world, going_on()) in {"done", "UploadInUse"}
        for _ in range(int(waits)):
            collect(world, after=1.0)
        expected = "NoSuchUpload" if shown(world) else "done"
        assert attempt(world, going_on()) == expected, k
        assert shown(world) == {"/f": CONTENT}
        assert wrong(world) == []
        k += 1
    assert was_there and k > 8


def test_a_file_that_was_deleted_does_not_come_back_when_who_made_it_had_died() -> None:
    k, is_over = 0, False
    while not is_over:
        world = begun()
        is_over = cut_short(world, going_on(), k)
        if shown(world):
            do(world, delete("/f"))
            collect(world, after=world.terms.slot_kept + 1)
            assert attempt(world, going_on()) == "NoSuchUpload", k
            assert shown(world) == {}
            assert wrong(world) == []
        k += 1


def doing(*calls: Call) -> Since:
    return lambda world: do(world, *calls)


def only_a_copy_is_left(world: World) -> None:
    """What had been uploaded was deleted, and nobody has looked yet who else refers to it."""
    do(world, copy("/f", "/g"), delete("/f"))
    collect(world, after=world.terms.slot_kept + 1)


SINCE: Final[dict[str, Since]] = {
    "deleted": doing(delete("/f")),
    "replaced": doing(put("/f", "newer")),
    "moved away": doing(move("/f", "/g")),
    "only a copy is left": only_a_copy_is_left,
}


def refused(tree: Tree) -> Algorithm[Any]:
    """It comes to its commit, which a lock forbids."""

    def judge(_node: Document | None) -> None:
        raise Locked("/f")

    return resume("/f", CONTENT, UPLOAD, judge=judge)(tree)


def given_up(tree: Tree) -> Algorithm[None]:
    """It is thrown away."""
    taken = yield from uploads.take_up(UPLOAD, tree.terms)
    nonce = taken["metadata"]["holder"]["nonce"]
    yield from contents.discard(UPLOAD, uploads.own(nonce))


_CALLS: Final[dict[str, Call]] = {
    "commit": going_on(),
    "a refused commit": refused,
    "giving up": given_up,
}


def go_on_late(call: Call, stops: int, since: Since, waits: float) -> bool:
    """It stops after so many operations, for so many seconds; whether it had more."""
    world = begun()
    late = Client(world, [call])
    go(late, stops)
    if late.is_done:
        return False
    world.database.advance(waits)
    if attempt(world, going_on()) == "UploadInUse":
        world.database.advance(LONG)
        assert attempt(world, going_on()) == "done", stops
    if not shown(world):
        assert call is given_up
        return True
    since(world)
    found = shown(world)
    finish(late)
    assert shown(world) == found, (stops, late.outcomes)
    assert wrong(world) == [], (stops, late.outcomes)
    assert shown(world) == found
    return True


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("call", _CALLS)
def test_what_became_of_the_file_stays(call: str, since: str) -> None:
    for waits in (TERMS.hold + 0.1, LONG):
        stops = 0
        while go_on_late(_CALLS[call], stops, SINCE[since], waits):
            stops += 1
        assert stops >= 2
