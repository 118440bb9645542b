"""The granting of locks in MongoDB under random schedules: deaths, expiry, lost answers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from davstore.errors import LockConflict, NoSuchLock, Unavailable
from davstore.locks.base import EXCLUSIVE, SHARED, Lock, LockRequest
from davstore.locks.mongo_grant import (
    CLAIM_LASTS,
    Algorithm,
    Change,
    Look,
    Operation,
    Pause,
    Put,
    grant,
    refresh,
    release,
)
from tests.locks.simulated import Chances, Client, World, run_alone, seeds

SCHEDULES = int(os.environ.get("DAVSTORE_SCHEDULES", "3000"))
SEED = int(os.environ.get("DAVSTORE_SEED", "1"))

Mutation = Callable[[Algorithm[Lock], Client], Algorithm[Lock]]


def unchanged(algorithm: Algorithm[Lock], client: Client) -> Algorithm[Lock]:
    return algorithm


def some_request(client: Client) -> LockRequest:
    chance = client.world.random
    return LockRequest(
        root=chance.choice(("/d", "/d", "/d/e", "/d/e/f", "/")),
        scope=chance.choice((EXCLUSIVE, EXCLUSIVE, SHARED)),
        infinite=chance.random() < 0.7,
        principal=client.name,
        owner="",
        timeout=chance.choice((2.0, 8.0, 1000.0)),
    )


def life(client: Client, turns: int, mutation: Mutation) -> Algorithm[None]:
    """Lock, refresh and release, or leave it to expire; `turns` times."""
    world, chance = client.world, client.world.random
    for _ in range(turns):
        wanted, now = some_request(client), client.clock()
        try:
            granting = grant(wanted, now, client.clock, token=world.token)
            lock = yield from mutation(granting, client)
        except (LockConflict, Unavailable):
            client.refused += 1
            continue
        client.granted += 1
        client.held[lock.token] = lock
        for _ in range(chance.randrange(3)):
            yield Pause(0)
            yield from refresh_held(client, lock)
        if chance.random() < 0.7:
            client.held.pop(lock.token, None)
            with contextlib.suppress(NoSuchLock):
                yield from release(lock.token, lock.root, client.name, client.clock())


def refresh_held(client: Client, lock: Lock) -> Algorithm[None]:
    timeout = client.world.random.choice((2.0, 8.0, 50.0))
    # What it has meanwhile is between the two, so it relies on neither.
    client.held.pop(lock.token, None)
    now = client.clock()
    with contextlib.suppress(NoSuchLock):
        new = yield from refresh(lock.token, lock.root, timeout, client.name, now)
        client.held[lock.token] = new


def never_two(world: World) -> Callable[[], None]:
    def check() -> None:
        assert world.collection.conflicting() == []

    return check


def never_two_and_none_lost(world: World) -> Callable[[], None]:
    def check() -> None:
        assert world.collection.conflicting() == []
        for client in [*world.clients, *world.dead]:
            for lock in client.held.values():
                if lock.expires > world.now:
                    found = world.collection.documents[lock.token]
                    assert found["active"]
                    assert found["expires"] >= lock.expires

    return check


def explored(
    seed: int,
    chances: Chances,
    check: Callable[[World], Callable[[], None]],
    *,
    skew: float = 0.0,
    mutation: Mutation = unchanged,
) -> World:
    world = World(seed, chances)
    for number in range(world.random.choice((2, 3))):
        client = world.client(f"c{number}", world.random.uniform(-skew, skew))
        client.begin(life(client, 3, mutation))
    world.explore(check(world))
    return world


#: A network that loses half of the answers, and locks that are forgotten all the time.
HARSHER = Chances(tick=0.1, lost_answer=0.5, late=0.5, forget=0.15)
HARSH = Chances(death=0.01, tick=0.08, lost_answer=0.1, late=0.1, sweep=0.02, forget=0.01)


@pytest.mark.parametrize("skew", [0.0, 8.0, 3600.0], ids=["one clock", "8 s apart", "1 h apart"])
def test_no_schedule_has_two_conflicting_locks_in_the_database(skew: float) -> None:
    """Not even for an instant, nor expired ones: the clocks decide nothing here."""
    granted = refused = dead = steps = 0
    for seed in seeds(SCHEDULES, SEED):
        world = explored(seed, HARSH, never_two, skew=skew)
        everybody = [*world.clients, *world.dead]
        granted += sum(client.granted for client in everybody)
        refused += sum(client.refused for client in everybody)
        dead, steps = dead + len(world.dead), steps + world.steps
    print(
        f"{SCHEDULES} schedules: {granted} granted, {refused} refused, {dead} died, {steps} steps"
    )
    assert min(granted, refused) > SCHEDULES
    assert dead > SCHEDULES / 10


def test_not_even_where_half_of_the_answers_are_lost() -> None:
    for seed in seeds(SCHEDULES, SEED):
        explored(seed, HARSHER, never_two, skew=8.0)


def test_no_schedule_loses_a_lock_that_was_granted_or_refreshed_and_lives() -> None:
    chances = Chances(death=0.01, tick=0.08, lost_answer=0.1, late=0.1, sweep=0.02)
    for seed in seeds(SCHEDULES, SEED):
        explored(seed, chances, never_two_and_none_lost)


def test_after_every_schedule_the_lock_can_be_had_once_what_is_left_has_expired() -> None:
    for seed in seeds(SCHEDULES, SEED):
        world = explored(seed, HARSH, never_two)
        world.now += 1100
        wanted = LockRequest("/", EXCLUSIVE, True, "last", "", 10)
        before = world.now
        run_alone(world, grant(wanted, world.now, lambda world=world: world.now))  # type: ignore[misc]
        assert world.now == before
        assert len(world.collection.documents) == 1


def contend(client: Client, wanted: LockRequest) -> Algorithm[None]:
    try:
        now = client.clock()
        yield from grant(wanted, now, client.clock, token=client.world.token)
    except LockConflict:
        client.refused += 1
    else:
        client.granted += 1


@pytest.mark.parametrize("clients", [2, 3, 10])
def test_when_nobody_dies_exactly_one_of_all_gets_the_lock(clients: int) -> None:
    longest = 0
    for seed in seeds(SCHEDULES * 2 // clients, SEED):
        world = World(seed, Chances())
        for number in range(clients):
            client = world.client(f"c{number}")
            root = world.random.choice(("/d", "/d/e", "/d/e/f"))
            client.begin(contend(client, LockRequest(root, EXCLUSIVE, True, None, "", 100)))
        # Roots in a chain of ancestors: each conflicts with each.
        world.explore(never_two(world), at_most=200 * clients)
        assert sum(client.granted for client in world.clients) == 1
        assert sum(client.refused for client in world.clients) == clients - 1
        assert len(world.collection.documents) == 1
        longest = max(longest, world.steps)
    print(f"{clients} clients: {longest} operations at most")


def test_a_dead_clients_claim_is_in_the_way_until_it_expires_and_no_longer() -> None:
    for seed in seeds(100, SEED):
        world = World(seed, Chances())
        wanted = LockRequest("/d", EXCLUSIVE, True, "dead", "", 1000)
        algorithm = grant(wanted, world.now, lambda world=world: world.now, token=world.token)  # type: ignore[misc]
        operation = next(algorithm)
        while not isinstance(operation, Put):
            operation = algorithm.send(world.collection.carry_out(operation))
        world.collection.carry_out(operation)
        began = world.now
        run_alone(world, grant(wanted, began, lambda world=world: world.now))  # type: ignore[misc]
        assert CLAIM_LASTS <= world.now - began < CLAIM_LASTS + 1


# What the explorer would find


def rewritten(algorithm: Algorithm[Lock], answer: Callable[[Operation], Any]) -> Algorithm[Lock]:
    """The algorithm, each of whose operations is answered by `answer`, a generator."""
    result = None
    while True:
        try:
            operation = algorithm.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        result = yield from answer(operation)


def check_then_insert(algorithm: Algorithm[Lock], client: Client) -> Algorithm[Lock]:
    """As if nobody looked again after the claim."""
    has_claimed = False

    def answer(operation: Operation) -> Algorithm[Any]:
        nonlocal has_claimed
        has_claimed |= isinstance(operation, Put)
        return [] if has_claimed and isinstance(operation, Look) else (yield operation)

    return rewritten(algorithm, answer)


def claims_overlooked(algorithm: Algorithm[Lock], client: Client) -> Algorithm[Lock]:
    """As if only active locks were in the way."""

    def answer(operation: Operation) -> Algorithm[Any]:
        found = yield operation
        is_look = isinstance(operation, Look)
        return [one for one in found if one["active"]] if is_look else found

    return rewritten(algorithm, answer)


def expired_overlooked(algorithm: Algorithm[Lock], client: Client) -> Algorithm[Lock]:
    """As if what has expired were not removed but left out, as in every other query."""

    def answer(operation: Operation) -> Algorithm[Any]:
        found = yield operation
        is_look = isinstance(operation, Look)
        return [one for one in found if one["expires"] > client.clock()] if is_look else found

    return rewritten(algorithm, answer)


def activated_in_any_case(algorithm: Algorithm[Lock], client: Client) -> Algorithm[Lock]:
    """As if a claim became a lock that somebody has removed."""
    claim: dict[str, Any] = {}

    def answer(operation: Operation) -> Algorithm[Any]:
        result = yield operation
        if isinstance(operation, Put):
            claim.update(operation.document)
        elif isinstance(operation, Change) and not result:
            result = yield Put({**claim, **operation.put}, 0)
        return result

    return rewritten(algorithm, answer)


def claimed_again(algorithm: Algorithm[Lock], client: Client) -> Algorithm[Lock]:
    """As if a claim whose answer was lost were laid again."""

    def answer(operation: Operation) -> Algorithm[Any]:
        result = yield operation
        while isinstance(operation, Put) and not result:
            result = yield operation
        return result

    return rewritten(algorithm, answer)


MUTATIONS: Mapping[str, Mutation] = {
    mutation.__name__.replace("_", " "): mutation
    for mutation in (
        check_then_insert,
        claims_overlooked,
        expired_overlooked,
        activated_in_any_case,
        claimed_again,
    )
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_explorer_finds_what_would_be_wrong(name: str) -> None:
    """With the rule left out that the name says, conflicting locks are granted."""
    found = 0
    for seed in seeds(2000, 1):
        try:
            explored(seed, HARSHER, never_two, skew=8.0, mutation=MUTATIONS[name])
        except AssertionError:
            found += 1
    print(f"{name}: found by {found} of 2000 schedules")
    assert found
