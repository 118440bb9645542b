"""Runs several clients' lock algorithms at once on a simulated collection, as a seed decides.

Between any two operations anything may happen: another client's operation, the death of a
client, time going by, a lost answer (the operation is carried out again), a try that was given
up and comes late, a sweep, a resource that goes with its locks.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from davstore.locks.base import Lock, LockRequest, conflicts
from davstore.locks.mongo_grant import (
    Algorithm,
    Change,
    Document,
    Filter,
    Look,
    Operation,
    Pause,
    Put,
    Remove,
    lock_of,
    within,
)

_TESTS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$in": lambda value, wanted: value in wanted,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(document: Document, where: Filter) -> bool:
    for name, test in where.items():
        if name == "$or":
            if not any(matches(document, one) for one in test):
                return False
        elif isinstance(test, dict):
            if not all(_TESTS[how](document[name], value) for how, value in test.items()):
                return False
        elif document[name] != test:
            return False
    return True


class SimulatedCollection:
    """Documents are never changed in place, so what was handed out stays as it was."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}

    def matching(self, where: Filter) -> list[Document]:
        return [one for one in self.documents.values() if matches(one, where)]

    def carry_out(self, operation: Operation) -> Any:
        """The result. A `Remove` removes one document at a time, also with `many`."""
        match operation:
            case Look(where):
                return self.matching(where)
            case Put(document):
                self.documents.setdefault(document["_id"], dict(document))
                return True
            case Change(where, put):
                for found in self.matching(where)[:1]:
                    self.documents[found["_id"]] = {**found, **put}
                    return True
                return False
            case Remove(where):
                for found in self.matching(where)[:1]:
                    del self.documents[found["_id"]]
                    return True
                return False
            case Pause():
                return None
        raise TypeError(f"no such operation: {operation}")

    def conflicting(self) -> list[tuple[str, str]]:
        """Pairs of active locks that conflict, whether they have expired or not."""
        active = [lock_of(one) for one in self.documents.values() if one["active"]]
        return [
            (one.token, other.token)
            for number, one in enumerate(active)
            for other in conflicts(_request(one), active[number + 1 :])
        ]


def _request(lock: Lock) -> LockRequest:
    return LockRequest(lock.root, lock.scope, lock.infinite, lock.principal, "", lock.timeout)


@dataclass(frozen=True)
class Chances:
    """Of what may happen at a step."""

    death: float = 0.0
    tick: float = 0.0
    lost_answer: float = 0.0
    late: float = 0.0
    sweep: float = 0.0
    forget: float = 0.0


@dataclass
class Client:
    """One process: carries its life out, an operation at a time."""

    world: World
    name: str
    #: What its clock is ahead of the world's.
    ahead: float = 0.0
    #: The locks that it thinks it has.
    held: dict[str, Lock] = field(default_factory=dict)
    granted: int = 0
    refused: int = 0

    def begin(self, life: Algorithm[None]) -> None:
        self._life = life
        self._has_removed = False
        self._next: Operation | None = next(life)

    @property
    def is_done(self) -> bool:
        return self._next is None

    def clock(self) -> float:
        return self.world.now + self.ahead

    def step(self) -> None:
        assert self._next is not None
        operation, world = self._next, self.world
        if isinstance(operation, Put) and world.happens(world.chances.lost_answer):
            self._lose(operation)
            return
        result = world.collection.carry_out(operation)
        if isinstance(operation, Remove):
            self._has_removed |= result
            if result and operation.many:
                return
            result = self._has_removed
        if isinstance(operation, Change | Remove):
            if world.happens(world.chances.late):
                world.late.append(operation)
            if world.happens(world.chances.lost_answer):
                return
        self._has_removed = False
        self._answer(result)

    def _lose(self, operation: Put) -> None:
        """It is carried out now, or later, or never, and not answered."""
        if self.world.happens(0.5):
            self.world.collection.carry_out(operation)
        elif self.world.happens(0.5):
            self.world.late.append(operation)
        self._answer(False)

    def _answer(self, result: Any) -> None:
        try:
            self._next = self._life.send(result)
        except StopIteration:
            self._next = None


class World:
    """A collection, who is at work on it, and what time it is."""

    def __init__(self, seed: int, chances: Chances) -> None:
        self.random = random.Random(seed)
        self.chances = chances
        self.collection = SimulatedCollection()
        self.now = 1_700_000_000.0
        self.clients: list[Client] = []
        #: Clients that died; kept, so that no generator is closed and goes on after all.
        self.dead: list[Client] = []
        #: Writes that were given up and may still arrive.
        self.late: list[Operation] = []
        self.steps = 0

    def happens(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance

    def token(self) -> str:
        return f"{self.random.getrandbits(64):016x}"

    def client(self, name: str, ahead: float = 0.0) -> Client:
        client = Client(self, name, ahead)
        self.clients.append(client)
        return client

    def explore(self, check: Callable[[], None], *, at_most: int = 5000) -> None:
        """Until every client is done; `check` is called whenever something has changed."""
        while True:
            working = [client for client in self.clients if not client.is_done]
            if not working:
                return
            self.steps += 1
            assert self.steps <= at_most, f"no end after {at_most} steps"
            self._meddle(working)
            if working:
                self.random.choice(working).step()
            check()

    def _meddle(self, working: list[Client]) -> None:
        chances = self.chances
        if self.happens(chances.tick):
            self.now += self.random.choice((0.5, 3.0, 6.0, 11.0)) * self.random.uniform(0.9, 1.1)
        if self.happens(chances.death):
            victim = self.random.choice(working)
            working.remove(victim)
            self.clients.remove(victim)
            self.dead.append(victim)
        if self.late and self.happens(0.2):
            late = self.late.pop(self.random.randrange(len(self.late)))
            self.collection.carry_out(late)
        if self.happens(chances.sweep):
            now = self.random.choice([*self.clients, *self.dead]).clock()
            self.collection.carry_out(Remove({"expires": {"$lte": now}}))
        if self.happens(chances.forget):
            path = self.random.choice(("/d", "/d/e"))
            self.collection.carry_out(Remove(within(path)))


def run_alone(world: World, algorithm: Algorithm[Any]) -> Any:
    """The result with nobody else about; a pause lets the time go by that it asks for."""
    try:
        operation = next(algorithm)
        while True:
            if isinstance(operation, Pause):
                world.now += 0.2
            result = world.collection.carry_out(operation)
            is_more = isinstance(operation, Remove) and operation.many and result
            if not is_more:
                operation = algorithm.send(result)
    except StopIteration as stop:
        return stop.value


def seeds(count: int, start: int) -> Iterable[int]:
    return range(start, start + count)
