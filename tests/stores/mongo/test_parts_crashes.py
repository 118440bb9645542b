"""Uploads in parts: a death at every operation, and senders and finishers in random orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from davstore.errors import StoreError
from davstore.stores.mongo import part_claims, parts
from davstore.stores.mongo.documents import Terms
from davstore.stores.mongo.operations import CONTENTS, Algorithm
from davstore.stores.mongo.parts import Claim, Noted, Parted
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import CHUNK, Call, delete, put
from tests.stores.mongo.crashes import cut_short, shown
from tests.stores.mongo.explorer import Client, World
from tests.stores.mongo.part_calls import (
    CONTENT,
    PART,
    PATIENT,
    PIECES,
    TERMS,
    finish,
    send,
    sent,
    sha256_of,
)
from tests.stores.mongo.standing import collect


def begun(calls: Sequence[Call]) -> World:
    world = World(0, TERMS)
    for call in calls:
        world.run(call(Tree(world.terms)))
    return world


def attempt(world: World, call: Call) -> str:
    try:
        return str(world.run(call(Tree(world.terms))))
    except StoreError as error:
        return type(error).__name__


def must_be_clean(world: World) -> None:
    found = shown(world)
    assert world.settle() == []
    assert world.left_over() == []
    assert shown(world) == found


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_after_a_sender_died_at_any_operation_others_go_on(
    order: tuple[int, ...], announced: bool
) -> None:
    """Each part in turn is the one that breaks off."""
    for broken in range(len(order)):
        k, is_over = 0, False
        while not is_over:
            world = begun(sent(order[:broken], announced=announced))
            # What breaks off is another content, and longer where it can be.
            is_over = cut_short(world, send(order[broken], "x" * PART, announced=announced), k)
            if is_over:
                break
            assert shown(world) == {}
            for number in order[broken:]:
                if attempt(world, send(number, PIECES[number])) == "UploadInUse":
                    assert number == order[broken]
                    world.database.advance(world.terms.mark_lasts)
                    attempt(world, send(number, PIECES[number]))
            world.database.advance(world.terms.mark_lasts)
            assert attempt(world, finish()) == CONTENT, (order, broken, k)
            assert shown(world) == {"/f": CONTENT}
            must_be_clean(world)
            k += 1
        assert k > 6


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)], ids=str)
@pytest.mark.parametrize("before", [[], [put("/f", "old")]], ids=["new", "replaced"])
def test_a_finisher_may_die_at_any_operation(order: tuple[int, ...], before: list[Call]) -> None:
    k, was_there, is_over = 0, False, False
    old = {"/f": "old"} if before else {}
    while not is_over:
        world = begun([*before, *sent(order, announced=False)])
        is_over = cut_short(world, finish(), k)
        is_there = shown(world) == {"/f": CONTENT}
        assert is_there or shown(world) == old
        assert is_there or not was_there, "undone again"
        was_there = is_there
        # Nobody else comes: what is there stays, and no more.
        alone = begun([*before, *sent(order, announced=False)])
        cut_short(alone, finish(), k)
        must_be_clean(alone)
        # Somebody else finishes it, once the dead one is known to be dead.
        said = attempt(world, finish())
        assert said in {CONTENT, "UploadInUse", "UploadFinished"}
        # Its write may have been on its way for so long.
        world.database.advance(world.terms.mark_lasts + world.terms.commit_within)
        said = attempt(world, finish())
        assert said in {CONTENT, "UploadFinished"}, k
        assert shown(world) == {"/f": CONTENT}
        must_be_clean(world)
        k += 1
    assert was_there and k > 10


def test_after_a_finisher_died_the_upload_has_its_own_lease() -> None:
    """However far he had come: also when it was sealed, and not the file's yet."""
    k, is_over = 0, False
    while not is_over:
        world = begun(sent((2, 1, 0)))
        is_over = cut_short(world, finish(), k)
        for _ in range(8):
            collect(world, after=TERMS.lease / 4)
        assert attempt(world, finish()) in {CONTENT, "UploadFinished"}, k
        assert shown(world) == {"/f": CONTENT}
        must_be_clean(world)
        k += 1


def test_what_nobody_finishes_is_reclaimed() -> None:
    for order in ((0, 1, 2), (2, 0), (1,)):
        world = begun(sent(order))
        assert world.settle() == []
        assert world.left_over() == []
        assert not world.database.documents(CONTENTS)


def test_a_finish_after_its_file_was_deleted_does_not_bring_it_back() -> None:
    world = begun([*sent((0, 1, 2)), finish(), delete("/f")])
    assert attempt(world, finish()) == "UploadFinished"
    must_be_clean(world)
    assert attempt(world, finish()) in {"NoSuchUpload", "UploadFinished"}
    assert shown(world) == {}


def test_a_file_that_was_deleted_does_not_come_back_when_its_finisher_had_died() -> None:
    """Nobody refers to its content any more, and no collector has had a look at that yet."""
    k, was_there, is_over = 0, False, False
    while not is_over:
        world = begun(sent((0, 1, 2)))
        is_over = cut_short(world, finish(), k)
        if shown(world):
            was_there = True
            attempt(world, delete("/f"))
            collect(world, after=world.terms.slot_kept + 1)
            assert attempt(world, finish()) in {"NoSuchUpload", "UploadFinished"}, k
            assert shown(world) == {}
            must_be_clean(world)
        k += 1
    assert was_there


#: Parts of two senders, of which every part has one whole.
ONE: Final = [PART * letter for letter in "ABC"]
TWO: Final = [PART * letter for letter in "xyz"]


@pytest.mark.parametrize("length", [CHUNK, 3 * CHUNK])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "of unknown length"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_sender_that_stood_still_does_no_harm(number: int, announced: bool, length: int) -> None:
    """It stops after k operations until its claim is over, and goes on after j of another one,
    which sends all parts, of another size, and finishes them."""
    stand_still(number, announced, length, 8)


def stand_still(number: int, announced: bool, length: int, step: int) -> None:
    """For every k, and every `step`th j."""
    slow_call = send(number, "x" * length, announced=announced)
    stops = 0
    while stops < 30:
        j, is_over = 0, False
        while not is_over:
            world = World(0, PATIENT)
            slow = Client(world, [slow_call])
            _go(slow, stops)
            if slow.is_done:
                assert stops > 5
                return
            world.database.advance(world.terms.mark_lasts)
            quick = Client(world, [*sent((2, 1, 0)), finish()])
            _go(quick, j)
            is_over = quick.is_done
            _go(slow)
            _go(quick)
            _must_have_one_whole(world, slow.outcomes[0].is_acknowledged, number, "x" * length)
            j += step
        stops += 1


def _go(client: Client, steps: int = 1000) -> None:
    for _ in range(steps):
        if not client.is_done:
            client.step()


def _must_have_one_whole(world: World, was_taken: bool, number: int, other: str) -> None:
    """The part that was acknowledged, or the one that came instead; whoever sends the rest."""
    for call in (*sent((2, 1, 0)), finish()):
        world.database.advance(world.terms.mark_lasts)
        attempt(world, call)
    pieces = [other if was_taken and at == number else piece for at, piece in enumerate(PIECES)]
    fits = not was_taken or (number == len(PIECES) - 1 and len(other) <= PART)
    assert shown(world) == ({"/f": "".join(pieces)} if fits else {})
    must_be_clean(world)


@pytest.mark.parametrize("terms", [PATIENT, TERMS], ids=["long leases", "short leases"])
@pytest.mark.parametrize("start", range(0, 900, 150))
def test_whatever_the_order_no_part_is_mixed(start: int, terms: Terms) -> None:
    """Two send other contents as the same parts, three finish, some die; the seed is told."""
    finished = 0
    for seed in range(start, start + 150):
        world = World(seed, terms)
        chance = world.random
        senders = []
        for own in (ONE, TWO):
            order = chance.sample(range(3), 3)
            announced = chance.random() < 0.5
            calls = [send(number, own[number], announced=announced) for number in order]
            # Who was told to wait comes again.
            senders.append(Sender(world.client(*calls, *calls, finish()), own, order))
        world.client(finish(), finish(), finish())
        world.explore(deaths=0.01)
        _must_not_be_mixed(world, seed)
        if terms is PATIENT:
            _must_be_what_was_acknowledged(world, senders, seed)
        finished += bool(shown(world))
        assert world.settle() == [], seed
        assert world.left_over() == [], seed
    print(f"{finished} of 150 were finished")
    assert finished > 15


@dataclass
class Sender:
    client: Client
    own: list[str]
    order: list[int]


def _results(world: World) -> set[str]:
    """What finishing has answered."""
    outcomes = [outcome for client in world.clients for outcome in client.outcomes]
    return {outcome.result for outcome in outcomes if isinstance(outcome.result, str)}


def _must_not_be_mixed(world: World, seed: int) -> None:
    for text in [*shown(world).values(), *_results(world)]:
        got = [text[at : at + PART] for at in range(0, len(text), PART)]
        assert len(got) == 3, (seed, text)
        assert all(each in {ONE[at], TWO[at]} for at, each in enumerate(got)), (seed, text)


def _must_be_what_was_acknowledged(world: World, senders: list[Sender], seed: int) -> None:
    text = shown(world).get("/f", "")
    assert _results(world) <= {text}, (seed, text)
    for sender in senders:
        for number, outcome in zip(2 * sender.order, sender.client.outcomes, strict=False):
            note = outcome.result
            if text and isinstance(note, Noted) and note.sha256 == sha256_of(sender.own[number]):
                got = text[number * PART : (number + 1) * PART]
                assert got == sender.own[number], (seed, "another one than was acknowledged")


def _ignored(patch: pytest.MonkeyPatch, name: str) -> None:
    """Put a known error of design in."""
    if name == "a renewal that was refused":

        def renew(claimed: Claim, terms: Terms) -> Algorithm[bool]:
            yield from real(claimed, terms)
            return True

        real = part_claims.renew
        patch.setattr(part_claims, "renew", renew)
    elif name == "where parts lie that were said to be longer":
        patch.setattr(Parted, "has_place", lambda _upload, _number: True)
    else:
        unchanged = Parted.unchanged
        patch.setattr(
            Parted,
            "unchanged",
            lambda upload: {k: v for k, v in unchanged(upload).items() if k != parts.TURN},
        )


@pytest.mark.parametrize(
    ("ignored", "number", "length", "step"),
    [
        ("a renewal that was refused", 0, CHUNK, 8),
        ("where parts lie that were said to be longer", 0, 3 * CHUNK, 8),
        ("what has changed since the look", 2, CHUNK, 1),
    ],
)
def test_what_ignores_it_is_found(
    ignored: str, number: int, length: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ignored(monkeypatch, ignored)
    with pytest.raises(AssertionError):
        stand_still(number, True, length, step)
