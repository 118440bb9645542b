"""The rules of conflict, by themselves: who is in whose way."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

import pytest

from davstore.locks.base import (
    EXCLUSIVE,
    SHARED,
    Lock,
    LockRequest,
    conflicts,
    new_token,
    obstacles,
)
from davstore.stores.base import Effect

CREATE, MODIFY, REMOVE = Effect.CREATE, Effect.MODIFY, Effect.REMOVE


def lock(
    root: str,
    token: str = "",
    *,
    scope: str = EXCLUSIVE,
    infinite: bool = True,
    principal: str | None = "ann",
) -> Lock:
    return Lock(token or f"token:{root}", root, scope, infinite, principal, "", 60.0, 60.0)


def in_the_way(
    path: str,
    effect: Effect,
    existing: Sequence[Lock],
    tokens: Sequence[str] = (),
    principal: str | None = "ann",
) -> list[str]:
    return [found.root for found in obstacles(path, effect, existing, tokens, principal)]


def test_a_token_is_a_uri_with_a_random_uuid() -> None:
    """RFC 4918, 6.5 and appendix C."""
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    for token in tokens:
        assert re.fullmatch(r"opaquelocktoken:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", token)
        assert uuid.UUID(token.partition(":")[2]).version == 4


@pytest.mark.parametrize(
    ("root", "infinite", "path", "covers"),
    [
        ("/d", True, "/d", True),
        ("/d", False, "/d", True),
        ("/d", True, "/d/x/y", True),
        ("/d", False, "/d/x", False),
        ("/d", True, "/d2", False),
        ("/d", True, "/", False),
        ("/", True, "/anything", True),
        ("/", False, "/anything", False),
    ],
)
def test_a_lock_covers_its_root_and_all_below_when_infinite(
    root: str, infinite: bool, path: str, covers: bool
) -> None:
    assert lock(root, infinite=infinite).covers(path) == covers


def test_conflicts_are_those_of_the_given_locks_that_meet_the_wanted_one() -> None:
    existing = [
        lock("/", scope=SHARED),
        lock("/d", scope=SHARED, infinite=False),
        lock("/d/e", scope=SHARED),
        lock("/d/e/f", scope=EXCLUSIVE),
        lock("/x", scope=EXCLUSIVE),
    ]

    def found(scope: str, infinite: bool) -> list[str]:
        wanted = LockRequest("/d", scope, infinite, None, "", 60.0)
        return [held.root for held in conflicts(wanted, existing)]

    assert found(EXCLUSIVE, True) == ["/", "/d", "/d/e", "/d/e/f"]
    assert found(EXCLUSIVE, False) == ["/", "/d"]
    assert found(SHARED, True) == ["/d/e/f"]
    assert found(SHARED, False) == []


@pytest.mark.parametrize("effect", Effect)
def test_a_lock_on_the_path_itself_forbids_every_effect(effect: Effect) -> None:
    for infinite in (True, False):
        assert in_the_way("/d/x", effect, [lock("/d/x", infinite=infinite)]) == ["/d/x"]


@pytest.mark.parametrize("effect", Effect)
def test_an_infinite_lock_above_forbids_every_effect(effect: Effect) -> None:
    assert in_the_way("/d/e/x", effect, [lock("/"), lock("/d")]) == ["/", "/d"]


@pytest.mark.parametrize(("effect", "found"), [(CREATE, ["/d"]), (REMOVE, ["/d"]), (MODIFY, [])])
def test_a_lock_of_depth_zero_on_the_parent_forbids_changes_of_its_members_only(
    effect: Effect, found: list[str]
) -> None:
    """RFC 4918, 7.4: a collection's own state includes which members it has."""
    assert in_the_way("/d/x", effect, [lock("/d", infinite=False)]) == found


@pytest.mark.parametrize("effect", Effect)
def test_a_lock_of_depth_zero_further_up_forbids_nothing(effect: Effect) -> None:
    assert in_the_way("/d/e/x", effect, [lock("/d", infinite=False)]) == []


@pytest.mark.parametrize(
    ("effect", "found"), [(CREATE, []), (REMOVE, ["/d/x", "/d/e/y"]), (MODIFY, [])]
)
def test_locks_below_forbid_the_removal_only(effect: Effect, found: list[str]) -> None:
    """RFC 4918, 9.6.1 and 7.4."""
    existing = [lock("/d/x", infinite=False), lock("/d/e/y"), lock("/d2")]
    assert in_the_way("/d", effect, existing) == found


@pytest.mark.parametrize("effect", Effect)
def test_ones_own_token_opens_what_it_locks(effect: Effect) -> None:
    held = lock("/d", "mine")
    assert in_the_way("/d/x", effect, [held], ["mine"]) == []
    assert in_the_way("/d/x", effect, [held], ["another"]) == ["/d"]
    assert in_the_way("/d/x", effect, [held]) == ["/d"]


@pytest.mark.parametrize("somebody", ["bob", None, ""])
def test_somebody_elses_token_opens_nothing(somebody: str | None) -> None:
    """RFC 4918, 6.4."""
    assert in_the_way("/d", MODIFY, [lock("/d", "t")], ["t"], somebody) == ["/d"]


def test_a_token_of_the_anonymous_opens_for_the_anonymous() -> None:
    held = lock("/d", "t", principal=None)
    assert in_the_way("/d", MODIFY, [held], ["t"], None) == []
    assert in_the_way("/d", MODIFY, [held], ["t"], "ann") == ["/d"]


def test_every_lock_that_touches_needs_its_own_token() -> None:
    existing = [lock("/d", "top", infinite=False), lock("/d/e", "child"), lock("/d/e/f", "deep")]
    assert in_the_way("/d/e", REMOVE, existing, ["top"]) == ["/d/e", "/d/e/f"]
    assert in_the_way("/d/e", REMOVE, existing, ["top", "child"]) == ["/d/e/f"]
    assert in_the_way("/d/e", REMOVE, existing, ["top", "child", "deep"]) == []


def test_one_token_is_enough_for_all_shared_locks_of_one_root() -> None:
    existing = [
        lock("/d", "anns", scope=SHARED),
        lock("/d", "bobs", scope=SHARED, principal="bob"),
        lock("/d/x", "bobs too", scope=SHARED, principal="bob"),
    ]
    assert in_the_way("/d/y", MODIFY, existing, ["anns"]) == []
    assert in_the_way("/d/x", MODIFY, existing, ["anns"]) == ["/d/x"]
    assert in_the_way("/d/y", MODIFY, existing, ["bobs"]) == ["/d", "/d"]
    assert in_the_way("/d/x", MODIFY, existing, ["bobs", "bobs too"], "bob") == []


def test_the_roots_parent_is_not_the_root_once_more() -> None:
    assert in_the_way("/", MODIFY, [lock("/", infinite=False)]) == ["/"]
    assert in_the_way("/x", CREATE, [lock("/", infinite=False)]) == ["/"]
