"""Calls that stand still between two operations while others go on, and rules that are taken away.

For what needs one certain order of events: random schedules meet it too seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from davstore.errors import StoreError
from davstore.stores.mongo.documents import Id
from davstore.stores.mongo.operations import CHUNKS, Operation, Update
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import Call
from tests.stores.mongo.explorer import Client, World, reclaim_once

_Steps = Generator[Operation, Any, Any]


def go(client: Client, operations: int) -> None:
    """Carry out so many more operations of its call, or all that it has."""
    for _ in range(operations):
        if client.is_done:
            return
        client.step()


def go_until(client: Client, holds: Callable[[Operation], bool]) -> None:
    """Up to the operation of which that holds (it is the next one then), or to the end."""
    while not client.is_done and not holds(client.upcoming):
        client.step()


def finish(client: Client) -> None:
    while not client.is_done:
        client.step()


def puts(*names: str) -> Callable[[Operation], bool]:
    """Whether an operation is an update that sets all of these fields."""
    return lambda operation: isinstance(operation, Update) and set(names) <= set(operation.put)


def do(world: World, *calls: Call) -> None:
    """Each of them from its beginning to its end."""
    for call in calls:
        world.run(call(Tree(world.terms)))


def collector(world: World) -> Client:
    """One round of a collector."""
    return world.client(lambda tree: reclaim_once(world, tree))


def collect(world: World, *, after: float = 0.0) -> None:
    """A whole round of a collector, once so many seconds have gone by."""
    world.database.advance(after)
    world.run(reclaim_once(world, Tree(world.terms)))


def is_kept(world: World, content: Id) -> bool:
    """Whether the bytes of a content are there."""
    chunks = world.database.documents(CHUNKS).values()
    return any(chunk["files_id"] == content for chunk in chunks)


def wrong(world: World) -> list[str]:
    """What fsck finds when all duties are done, and what nobody can see any more."""
    found = [finding.kind for finding in world.settle()]
    return found + world.left_over()


def altered(
    function: Callable[..., _Steps], alter: Callable[[Operation, Any], Any]
) -> Callable[..., _Steps]:
    """The algorithm, which is told something else than what its operations came to."""

    def otherwise(*arguments: Any, **more: Any) -> _Steps:
        running = function(*arguments, **more)
        try:
            operation = next(running)
            while True:
                try:
                    result = yield operation
                except StoreError as error:
                    operation = running.throw(error)
                else:
                    operation = running.send(alter(operation, result))
        except StopIteration as stop:
            return stop.value

    return otherwise
