"""Who finishes an upload in parts and stands still meanwhile: another one has made the file of it.

What became of that file since has to stay, however late the first one goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from davstore.errors import Locked
from davstore.stores.mongo import contents, part_completion
from davstore.stores.mongo.contents import LIVE, STATE
from davstore.stores.mongo.documents import Id, Terms
from davstore.stores.mongo.operations import Algorithm, Document, Operation, Update
from davstore.stores.mongo.parts import FINISHER, Parted
from tests.stores.mongo.calls import Call, copy, delete, mkcol, move, put
from tests.stores.mongo.crashes import shown
from tests.stores.mongo.explorer import Client, World
from tests.stores.mongo.part_calls import PART, PATIENT, finish, send, sent
from tests.stores.mongo.standing import collect, do, go, go_until, puts, wrong
from tests.stores.mongo.standing import finish as finish_call

#: As in the store, a claim may be over before a write of who had it has come to an end.
QUICK: Final = replace(PATIENT, mark_lasts=3.0)

Since = Callable[[World], None]


def doing(*calls: Call) -> Since:
    return lambda world: do(world, *calls)


def deleted_and_begun_again(world: World) -> None:
    """Nothing is left of the upload; another one has its name, and so its id, and is sealed."""
    do(world, delete("/f"))
    world.settle()
    do(world, *(send(number, PART * "xyz"[number]) for number in range(3)))
    other = Client(world, [finish()])
    go_until(other, is_keep)


def is_keep(operation: Operation) -> bool:
    """Whether it comes right before the file is written."""
    is_of_sealed = isinstance(operation, Update) and operation.where.get(STATE) == LIVE
    return is_of_sealed and puts(FINISHER)(operation)


def only_a_copy_is_left(world: World) -> None:
    """What had been uploaded was deleted, and nobody has looked yet who else refers to it."""
    do(world, copy("/f", "/g"), delete("/f"))
    collect(world, after=world.terms.slot_kept + 1)


def refused(_node: Document | None) -> None:
    raise Locked("/f")


#: What others do with the file.
SINCE: Final[dict[str, Since]] = {
    "deleted": doing(delete("/f")),
    "replaced": doing(put("/f", "newer")),
    "moved away": doing(move("/f", "/g")),
    "moved away and replaced": doing(move("/f", "/g"), put("/f", "newer")),
    "deleted, a folder in its place": doing(delete("/f"), mkcol("/f")),
    "deleted, and the name used again": deleted_and_begun_again,
    "only a copy is left": only_a_copy_is_left,
}
_CALLS: Final = {"finish": finish(), "a refused finish": finish(judge=refused)}
_WAITS: Final = (3.1, 100.0)


def go_on_late(call: Call, stops: int, since: Since, waits: float) -> bool:
    """A finisher stops after so many operations, for so many seconds; whether it had more."""
    world = World(0, QUICK)
    do(world, *sent((2, 1, 0)))
    late = Client(world, [call])
    go(late, stops)
    if late.is_done:
        return False
    world.database.advance(waits)
    for _ in range(2):
        other = Client(world, [finish()])
        finish_call(other)
        if other.outcomes[0].error is None:
            break
        # The late one may be in the middle of it: so it has to wait for longer.
        world.database.advance(QUICK.commit_within + QUICK.mark_lasts)
    since(world)
    found = shown(world)
    finish_call(late)
    assert shown(world) == found, (stops, late.outcomes, other.outcomes)
    assert wrong(world) == [], (stops, late.outcomes)
    assert shown(world) == found
    return True


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("call", _CALLS)
def test_what_became_of_the_file_stays(call: str, since: str) -> None:
    for waits in _WAITS:
        stops = 0
        while go_on_late(_CALLS[call], stops, SINCE[since], waits):
            stops += 1
        assert stops > 15


def unfenced_keep(patch: pytest.MonkeyPatch) -> None:
    def keep(_upload: Parted, _nonce: str, content: Id, terms: Terms) -> Algorithm[Any]:
        return (yield from contents.keep(content, terms))

    patch.setattr(part_completion, "keep", keep)


def short_keep(patch: pytest.MonkeyPatch) -> None:
    """Others need not wait for longer than before the write."""

    def keep(_upload: Parted, nonce: str, content: Id, terms: Terms) -> Algorithm[Any]:
        return (yield from contents.keep(content, terms, part_completion.mine(nonce)))

    patch.setattr(part_completion, "keep", keep)


def unfenced_unseal(patch: pytest.MonkeyPatch) -> None:
    def unseal(upload: Parted, _nonce: str, terms: Terms) -> Algorithm[None]:
        yield from contents.unseal(upload.content, upload.spell, terms)

    patch.setattr(part_completion, "unseal", unseal)


@pytest.mark.parametrize(
    ("mutation", "call", "since"),
    [
        (unfenced_keep, "finish", "deleted"),
        (unfenced_keep, "finish", "replaced"),
        (unfenced_keep, "finish", "deleted, and the name used again"),
        (short_keep, "finish", "moved away"),
        (unfenced_unseal, "a refused finish", "only a copy is left"),
    ],
)
def test_without_the_fence_it_is_found(
    mutation: Callable[[pytest.MonkeyPatch], None],
    call: str,
    since: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutation(monkeypatch)
    with pytest.raises(AssertionError):
        test_what_became_of_the_file_stays(call, since)
