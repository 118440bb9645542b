"""Runs several algorithms at once on one simulated database, in orders that a seed decides.

Between any two operations anything may happen: another client's operation, a collector's, the
death of a client, time going by (so that marks and leases expire). The reclaimer runs within
every schedule.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from davstore.errors import StoreError, Unavailable
from davstore.stores.mongo.check import Finding, check
from davstore.stores.mongo.documents import FOLDER, ROOT, Id, Terms, fixed_id
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    NODES,
    Algorithm,
    Begin,
    Document,
    Find,
    Operation,
)
from davstore.stores.mongo.reclaim import due, reclaim_content, reclaim_node
from davstore.stores.mongo.resolving import FolderCache
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.simulated import SimulatedDatabase

#: Marks that expire within an operation, leases hardly longer than one may last, no grace at all.
HARSH = Terms(grace=0.0, commit_within=6.0, slot_kept=14.0, mark_lasts=3.0, lease=7.0, hold=3.0)

#: Seconds between two tries of one call, where nobody else lets time go by.
PAUSE: Final = 0.2


@dataclass(slots=True)
class Outcome:
    """How a client's call ended. `result` is None for one that died or was refused."""

    began: int
    ended: int | None = None
    result: Any = None
    error: StoreError | None = None

    @property
    def is_acknowledged(self) -> bool:
        return self.ended is not None and self.error is None


class Client:
    """One process: carries out its calls one after the other, an operation at a time."""

    def __init__(self, world: World, calls: Iterable[Callable[[Tree], Algorithm[Any]]]) -> None:
        self.tree = Tree(world.terms, FolderCache())
        self.outcomes: list[Outcome] = []
        self.is_dead = False
        self._world = world
        self._calls = iter(list(calls))
        self._running: Algorithm[Any] | None = None
        self._next: Operation | None = None
        self._began = world.database.now
        self._advance()

    @property
    def is_done(self) -> bool:
        return self._next is None or self.is_dead

    @property
    def upcoming(self) -> Operation:
        """What it does next."""
        assert self._next is not None
        return self._next

    def step(self) -> None:
        """Carry out the next operation."""
        assert self._running is not None and self._next is not None
        operation, world = self._next, self._world
        if isinstance(operation, Begin):
            self._began = world.database.now
        elif not isinstance(operation, Find):
            waited = (world.database.now - self._began).total_seconds()
            if waited > world.terms.commit_within:
                self._resume(lambda running: running.throw(Unavailable("/")))
                return
        result = world.database.carry_out(operation)
        world.steps += 1
        self._resume(lambda running: running.send(result))

    def _advance(self) -> None:
        """Begin the next call."""
        call = next(self._calls, None)
        self._next = None
        if call is not None:
            self._running = call(self.tree)
            self.outcomes.append(Outcome(self._world.steps))
            self._resume(next)

    def _resume(self, go_on: Callable[[Algorithm[Any]], Operation]) -> None:
        assert self._running is not None
        outcome = self.outcomes[-1]
        try:
            self._next = go_on(self._running)
            return
        except StopIteration as stop:
            outcome.result = stop.value
        except StoreError as error:
            outcome.error = error
        outcome.ended = self._world.steps
        self._advance()


@dataclass
class World:
    """A database, and who is at work on it."""

    seed: int
    terms: Terms = HARSH
    database: SimulatedDatabase = field(default_factory=SimulatedDatabase)
    steps: int = 0
    clients: list[Client] = field(default_factory=list)
    #: What died; kept, so that no generator is closed and cleans up after all.
    kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        now = self.database.now
        root: Document = {"_id": ROOT, "p": fixed_id(0), "n": "", "g": 0, "t": FOLDER}
        root |= {"v": "root", "ops": [], "ct": now, "mt": now}
        self.database.documents(NODES)[ROOT] = root

    def run(self, algorithm: Algorithm[Any]) -> Any:
        """Carry one algorithm out with nobody else about. Time goes by between its tries."""
        try:
            operation = next(algorithm)
            while True:
                if isinstance(operation, Begin) and operation.attempt:
                    self.database.advance(PAUSE)
                operation = algorithm.send(self.database.carry_out(operation))
        except StopIteration as stop:
            return stop.value

    def client(self, *calls: Callable[[Tree], Algorithm[Any]]) -> Client:
        client = Client(self, calls)
        self.clients.append(client)
        return client

    def explore(self, *, deaths: float = 0.004, ticks: float = 0.05) -> None:
        """Until every client is done: one operation of one of them, or of a collector, at a time.

        `deaths` and `ticks` are the chances that a client dies, or time goes by, at a step. In
        every other schedule some are slow: they stand still between two operations while the
        others do much, and more time goes by.
        """
        collectors = [Client(self, [_collector(self)]) for _ in range(2)]
        pace = {id(one): 1.0 for one in (*self.clients, *collectors)}
        if self.seed % 2:
            pace = {one: self.random.choice((1.0, 0.2, 0.03)) for one in pace}
            ticks *= 4
        while True:
            working = [client for client in self.clients if not client.is_done]
            if not working:
                return
            if self.random.random() < ticks:
                self.database.advance(self.random.choice((0.5, 2.0, 5.0)))
            if self.random.random() < deaths:
                victim = self.random.choice(working)
                victim.is_dead = True
                self.kept.append(victim)
                continue
            ready = [*working, self.random.choice(collectors)]
            paces = [pace[id(one)] for one in ready]
            self.random.choices(ready, paces)[0].step()

    def settle(self) -> list[Finding]:
        """Let time go by and all duties be done; then what fsck finds.

        The count of bytes is the store's, not the algorithms', and may drift at a death anyhow.
        """
        tree = Tree(self.terms, FolderCache())
        for _ in range(60):
            self.database.advance(max(self.terms.slot_kept, HARSH.slot_kept))
            done = self.run(reclaim_once(self, tree))
            if not done and not self.has_duties():
                break
        found: list[Finding] = self.run(check(self.database.now))
        return [finding for finding in found if finding.kind != "counter"]

    def has_duties(self) -> bool:
        return any("gc" in node for node in self.database.documents(NODES).values()) or any(
            "gc" in content["metadata"] for content in self.database.documents(CONTENTS).values()
        )

    def left_over(self) -> list[str]:
        """What is there though nobody can see it; after `settle`, nothing should be."""
        seen = [self.database.documents(NODES)[ROOT], *self.visible().values()]
        nodes, contents = {node["_id"] for node in seen}, {node.get("c") for node in seen}
        collections = self.database.documents
        found = [f"node {n}" for key, n in collections(NODES).items() if key not in nodes]
        found += [f"content {c}" for key, c in collections(CONTENTS).items() if key not in contents]
        chunks = collections(CHUNKS).values()
        found += [f"chunk {chunk}" for chunk in chunks if chunk["files_id"] not in contents]
        unsettled = {"over", "stg", "old", "gc"}
        return found + [f"in {node['n']}: {unsettled & set(node)}" for node in seen
                        if unsettled & set(node)]  # fmt: skip

    def visible(self) -> dict[str, Document]:
        """Every path that a client sees, with its document."""
        tops: dict[tuple[Id, str], Document] = {}
        for node in self.database.documents(NODES).values():
            key = node["p"], node["n"]
            if key not in tops or tops[key]["g"] < node["g"]:
                tops[key] = node
        found: dict[str, Document] = {}
        pending = [(ROOT, "")]
        while pending:
            at, path = pending.pop()
            for (parent, name), node in tops.items():
                if parent == at and "del" not in node:
                    found[f"{path}/{name}"] = node
                    pending.append((node["_id"], f"{path}/{name}"))
        return found


def reclaim_once(world: World, tree: Tree) -> Algorithm[int]:
    """All duties that are due now; returns how many were done."""
    done = 0
    now = world.database.now
    for node in (yield from due(NODES, now, 50)):
        done += yield from reclaim_node(tree, node, now)
    for content in (yield from due(CONTENTS, now, 50)):
        done += yield from reclaim_content(tree, content)
    return done


def _collector(world: World) -> Callable[[Tree], Algorithm[None]]:
    def forever(tree: Tree) -> Algorithm[None]:
        while True:
            yield Begin()
            with contextlib.suppress(Unavailable):
                yield from reclaim_once(world, tree)

    return forever


def seeds(count: int, start: int = 0) -> Iterator[int]:
    yield from range(start, start + count)
