"""Whoever is told that it took too long: has it happened?

Never, where a request's own time was over (`DeadlineExceeded`): that is said before a try begins,
and no try before it has left anything. Where the database took so long that a write might come too
late (`Terms.commit_within`) nobody knows (`Unavailable`): wholly or not at all.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final, Self, cast

import pytest

from davstore.errors import DeadlineExceeded, StoreError, Unavailable
from davstore.stores.mongo import runner
from davstore.stores.mongo.operations import Operation
from davstore.stores.mongo.runner import Runner
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import copy, delete, move, put
from tests.stores.mongo.crashes import CRASHES, Crash, begun, shown
from tests.stores.mongo.explorer import HARSH, World
from tests.stores.mongo.standing import do, go_until, puts
from tests.stores.mongo.test_crashes import must_be_clean

#: Seconds that a request may take.
DEADLINE: Final = 1.0


class SlowRunner(Runner):
    """The real one, on the simulated database, and on a clock that leaps after some operations."""

    def __init__(self, world: World, operations: int, leap: float) -> None:
        super().__init__(cast(Any, None), world.terms, 5.0)
        self.now = 0.0
        self.carried_out = 0
        self._world, self._operations, self._leap = world, operations, leap

    def _carry_out(self, operation: Operation, path: str) -> Any:
        result = self._world.database.carry_out(operation)
        self.carried_out += 1
        if self.carried_out == self._operations:
            self.sleep(self._leap)
        return result

    def on_its_clock(self, patch: pytest.MonkeyPatch) -> Self:
        clock = {"monotonic": lambda: self.now, "monotonic_ns": lambda: 0, "sleep": self.sleep}
        patch.setattr(runner, "time", SimpleNamespace(**clock))
        return self

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._world.database.advance(seconds)


def told(
    crash: Crash,
    patch: pytest.MonkeyPatch,
    operations: int,
    leap: float,
    deadline: float | None = None,
) -> tuple[World, StoreError | None, bool]:
    """The world after the call, what its client was told, and whether the clock has leapt."""
    world = begun(crash)
    slow = SlowRunner(world, operations, leap).on_its_clock(patch)
    error: StoreError | None = None
    try:
        slow.run(crash.call(Tree(world.terms)), deadline=deadline)
    except StoreError as refused:
        error = refused
    return world, error, slow.carried_out >= operations


@pytest.mark.parametrize("name", CRASHES)
def test_what_had_no_time_left_has_not_happened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crash, k, is_there = CRASHES[name], 1, True
    before = shown(begun(crash))
    while is_there:
        world, error, is_there = told(crash, monkeypatch, k, 2 * DEADLINE, DEADLINE)
        assert error is None or type(error) is DeadlineExceeded
        expected = crash.after if crash.shows and not error else before
        assert shown(world) == expected, k
        must_be_clean(world)
        assert shown(world) == expected, k
        k += 1
    assert k > 2


@pytest.mark.parametrize("name", CRASHES)
def test_of_what_came_too_late_nobody_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crash, k, is_there = CRASHES[name], 1, True
    before = shown(begun(crash))
    after = crash.after if crash.shows else before
    refused: list[bool] = []
    while is_there:
        world, error, is_there = told(crash, monkeypatch, k, HARSH.commit_within + 0.5)
        assert error is None or type(error) is Unavailable, k
        found = shown(world)
        assert found in ((before, after) if error else (after,)), k
        if error:
            refused.append(found == after)
        must_be_clean(world)
        assert shown(world) == found, k
        k += 1
    print(f"refused {len(refused)} times, of which it had happened {sum(refused)} times")
    assert refused[0] is not crash.shows
    # Whatever has more than one write may have happened when a later one is refused.
    assert refused[-1] or name == "PROPPATCH"


_HELD: Final = {
    "DELETE": delete("/a"),
    "PUT": put("/a", "1"),
    "MOVE": move("/a", "/c"),
    "MOVE over it": move("/c", "/a"),
    "COPY over it": copy("/c", "/a"),
}


@pytest.mark.parametrize("name", _HELD)
def test_tries_end_where_somebody_is_in_the_way_for_ever(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a move that died, whose marks last for a year."""
    year = replace(HARSH, mark_lasts=3e7)
    world = World(0, year)
    do(world, put("/a", "A"), put("/b", "B"), put("/c", "C"))
    dying = world.client(move("/a", "/b"))
    go_until(dying, puts("p"))
    dying.is_dead = True
    before = shown(world)
    with pytest.raises(Unavailable, match="Others change this all the time"):
        SlowRunner(world, 0, 0.0).on_its_clock(monkeypatch).run(_HELD[name](Tree(year)))
    assert shown(world) == before
