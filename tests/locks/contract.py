"""The one suite for every lock store.

An implementation's test file subclasses `LockContract` and gives the `locks` fixture. Times
are numbers that the test makes up: nothing here waits for a clock.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davstore.errors import Forbidden, LockConflict, Locked, NoSuchLock
from davstore.locks.base import EXCLUSIVE, SHARED, Lock, LockRequest, LockStore
from davstore.stores.base import Effect

NOW = 1_700_000_000.0

#: Where the second lock lies, seen from the first one on /d/e.
PLACES = {
    "self": "/d/e",
    "parent": "/d",
    "root": "/",
    "child": "/d/e/f",
    "grandchild": "/d/e/f/g",
    "sibling": "/d/x",
    "same beginning": "/d/ef",
    "sorts between": "/d/e!",
}
ABOVE = ("parent", "root")
BELOW = ("child", "grandchild")


def request(
    root: str,
    scope: str = EXCLUSIVE,
    *,
    infinite: bool = True,
    principal: str | None = "ann",
    owner: str = "",
    timeout: float = 600.0,
) -> LockRequest:
    return LockRequest(root, scope, infinite, principal, owner, timeout)


def roots(found: Collection[Lock]) -> list[str]:
    return sorted(lock.root for lock in found)


class Harness:
    @pytest.fixture
    @abstractmethod
    def locks(self, tmp_path: Path) -> Iterator[LockStore]:
        """An empty lock store; closed by the fixture."""


class Granting(Harness):
    def test_a_granted_lock_has_what_was_asked_for(self, locks: LockStore) -> None:
        owner = '<D:owner xmlns:D="DAV:">Änn &amp; 中</D:owner>'
        wanted = request("/d/ü 中", SHARED, infinite=False, owner=owner, timeout=77.5)
        lock = locks.grant(wanted, NOW)
        assert (lock.root, lock.scope, lock.infinite) == ("/d/ü 中", SHARED, False)
        assert (lock.principal, lock.owner) == ("ann", owner)
        assert (lock.timeout, lock.expires) == (77.5, NOW + 77.5)
        assert locks.covering("/d/ü 中", NOW) == [lock]

    def test_a_lock_of_nobody_is_kept_as_such(self, locks: LockStore) -> None:
        locks.grant(request("/a", principal=None), NOW)
        assert locks.covering("/a", NOW)[0].principal is None

    def test_tokens_never_repeat(self, locks: LockStore) -> None:
        tokens = {locks.grant(request(f"/{n}"), NOW).token for n in range(100)}
        assert len(tokens) == 100
        assert all(token.startswith("opaquelocktoken:") for token in tokens)

    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("infinite", [True, False], ids=["infinite", "zero"])
    @pytest.mark.parametrize("scope", [EXCLUSIVE, SHARED])
    @pytest.mark.parametrize("held_infinite", [True, False], ids=["in infinite", "in zero"])
    @pytest.mark.parametrize("held_scope", [EXCLUSIVE, SHARED])
    def test_locks_conflict_where_they_meet_unless_both_are_shared(
        self,
        locks: LockStore,
        held_scope: str,
        held_infinite: bool,
        scope: str,
        infinite: bool,
        place: str,
    ) -> None:
        """RFC 4918, 6.1 and 6.2: the whole table."""
        meet = (
            place == "self" or (place in ABOVE and infinite) or (place in BELOW and held_infinite)
        )
        held = locks.grant(request("/d/e", held_scope, infinite=held_infinite), NOW)
        wanted = request(PLACES[place], scope, infinite=infinite, principal="bob")
        if meet and EXCLUSIVE in (held_scope, scope):
            with pytest.raises(LockConflict) as caught:
                locks.grant(wanted, NOW)
            assert caught.value.path == PLACES[place]
            assert caught.value.roots == ("/d/e",)
            assert locks.count(NOW) == 1
        else:
            second = locks.grant(wanted, NOW)
            assert locks.count(NOW) == 2
            assert second.token != held.token

    def test_a_conflict_names_the_roots_of_all_locks_in_the_way(self, locks: LockStore) -> None:
        for root in ("/d/a", "/d/b/c", "/e"):
            locks.grant(request(root), NOW)
        locks.grant(request("/", SHARED, infinite=False), NOW)
        with pytest.raises(LockConflict) as caught:
            locks.grant(request("/d"), NOW)
        assert caught.value.roots == ("/d/a", "/d/b/c")
        with pytest.raises(LockConflict) as caught:
            locks.grant(request("/", infinite=True), NOW)
        assert caught.value.roots == ("/", "/d/a", "/d/b/c", "/e")

    def test_the_same_principal_conflicts_with_its_own_lock(self, locks: LockStore) -> None:
        locks.grant(request("/a"), NOW)
        with pytest.raises(LockConflict):
            locks.grant(request("/a"), NOW)

    def test_of_many_threads_exactly_one_is_granted_an_exclusive_lock(
        self, locks: LockStore
    ) -> None:
        threads, turns = 8, 20
        barrier = threading.Barrier(threads)

        def attempt(number: int, turn: int) -> bool:
            barrier.wait()
            try:
                # Different roots that conflict with each other: a chain of ancestors.
                locks.grant(request(f"/{turn}" + "/x" * number), NOW)
            except LockConflict:
                return False
            return True

        with ThreadPoolExecutor(threads) as pool:
            for turn in range(turns):
                granted = list(pool.map(attempt, range(threads), [turn] * threads))
                assert sum(granted) == 1


class Expiring(Harness):
    def test_a_lock_lives_until_the_moment_at_which_it_expires(self, locks: LockStore) -> None:
        lock = locks.grant(request("/d", timeout=10), NOW)
        assert locks.covering("/d/x", NOW + 9.999) == [lock]
        for later in (NOW + 10, NOW + 11):
            assert locks.covering("/d/x", later) == []
            assert locks.around("/d", later, below=True) == []
            assert list(locks.members("/", later)) == []
            assert locks.count(later) == 0
            locks.check("/d", Effect.REMOVE, (), None, later)

    def test_an_expired_lock_is_in_nobodys_way(self, locks: LockStore) -> None:
        locks.grant(request("/d", timeout=10), NOW)
        with pytest.raises(LockConflict):
            locks.grant(request("/d"), NOW + 9)
        new = locks.grant(request("/d", principal="bob"), NOW + 10)
        assert locks.covering("/d", NOW + 10) == [new]

    def test_an_expired_lock_is_neither_refreshed_nor_released(self, locks: LockStore) -> None:
        lock = locks.grant(request("/d", timeout=10), NOW)
        with pytest.raises(NoSuchLock):
            locks.refresh(lock.token, "/d", 10, "ann", NOW + 10)
        with pytest.raises(NoSuchLock):
            locks.release(lock.token, "/d", "ann", NOW + 10)

    def test_a_sweep_removes_the_expired_locks_only_and_counts_them(self, locks: LockStore) -> None:
        for number in range(5):
            locks.grant(request(f"/{number}", timeout=10 + number), NOW)
        assert locks.sweep(NOW) == 0
        assert locks.sweep(NOW + 12) == 3
        assert locks.sweep(NOW + 12) == 0
        assert locks.count(NOW) == 2
        assert roots(locks.around("/", NOW, below=True)) == ["/3", "/4"]

    def test_a_refresh_sets_timeout_and_expiry_and_nothing_else(self, locks: LockStore) -> None:
        lock = locks.grant(request("/d", SHARED, owner="<o/>", timeout=10), NOW)
        new = locks.refresh(lock.token, "/d", 50, "ann", NOW + 5)
        assert (new.timeout, new.expires) == (50, NOW + 55)
        assert (new.token, new.root, new.scope, new.owner) == (lock.token, "/d", SHARED, "<o/>")
        assert locks.covering("/d", NOW + 54) == [new]
        assert locks.covering("/d", NOW + 55) == []

    def test_a_refresh_can_shorten_a_lock(self, locks: LockStore) -> None:
        lock = locks.grant(request("/d", timeout=1000), NOW)
        locks.refresh(lock.token, "/d", 1, "ann", NOW)
        assert locks.count(NOW + 1) == 0

    def test_a_refresh_that_comes_late_does_not_revive_what_was_granted_to_another(
        self, locks: LockStore
    ) -> None:
        """Clocks of two processes differ, or one was stopped between its look and its call."""
        old = locks.grant(request("/d", timeout=10), NOW)
        new = locks.grant(request("/d", principal="bob"), NOW + 11)
        with pytest.raises(NoSuchLock):
            locks.refresh(old.token, "/d", 60, "ann", NOW + 5)
        assert locks.covering("/d", NOW + 12) == [new]

    def test_a_lock_is_refreshed_through_any_path_that_it_covers(self, locks: LockStore) -> None:
        deep = locks.grant(request("/d"), NOW)
        flat = locks.grant(request("/e", infinite=False), NOW)
        assert locks.refresh(deep.token, "/d/x/y", 60, "ann", NOW).expires == NOW + 60
        for token, path in (
            (flat.token, "/e/x"),
            (deep.token, "/"),
            (deep.token, "/d2"),
            (deep.token, "/e"),
            ("opaquelocktoken:unknown", "/d"),
            ("", "/d"),
        ):
            with pytest.raises(NoSuchLock) as caught:
                locks.refresh(token, path, 60, "ann", NOW)
            assert caught.value.path == path

    @pytest.mark.parametrize("somebody", ["bob", None, "", "ANN"])
    def test_a_lock_is_not_refreshed_for_another_principal(
        self, locks: LockStore, somebody: str | None
    ) -> None:
        lock = locks.grant(request("/d"), NOW)
        with pytest.raises(NoSuchLock):
            locks.refresh(lock.token, "/d", 9999, somebody, NOW)
        assert locks.covering("/d", NOW) == [lock]

    def test_a_released_lock_is_gone(self, locks: LockStore) -> None:
        lock, other = locks.grant(request("/d"), NOW), locks.grant(request("/e"), NOW)
        locks.release(lock.token, "/d/below/it", "ann", NOW)
        assert locks.around("/", NOW, below=True) == [other]
        with pytest.raises(NoSuchLock):
            locks.release(lock.token, "/d", "ann", NOW)

    def test_a_lock_is_not_released_through_a_path_that_it_does_not_cover(
        self, locks: LockStore
    ) -> None:
        lock = locks.grant(request("/d", infinite=False), NOW)
        for path in ("/", "/d/x", "/e"):
            with pytest.raises(NoSuchLock) as caught:
                locks.release(lock.token, path, "ann", NOW)
            assert caught.value.path == path
        assert locks.count(NOW) == 1

    @pytest.mark.parametrize("somebody", ["bob", None, "", "ANN"])
    def test_a_lock_is_not_released_by_another_principal(
        self, locks: LockStore, somebody: str | None
    ) -> None:
        lock = locks.grant(request("/d"), NOW)
        with pytest.raises(Forbidden):
            locks.release(lock.token, "/d", somebody, NOW)
        assert locks.covering("/d", NOW) == [lock]

    def test_of_many_threads_that_release_a_lock_exactly_one_does(self, locks: LockStore) -> None:
        threads, turns = 4, 10
        barrier = threading.Barrier(threads)

        def attempt(token: str) -> bool:
            barrier.wait()
            try:
                locks.release(token, "/d", "ann", NOW)
            except NoSuchLock:
                return False
            return True

        with ThreadPoolExecutor(threads) as pool:
            for _ in range(turns):
                token = locks.grant(request("/d"), NOW).token
                assert sum(pool.map(attempt, [token] * threads)) == 1

    def test_the_anonymous_refresh_and_release_their_own(self, locks: LockStore) -> None:
        lock = locks.grant(request("/d", principal=None), NOW)
        locks.refresh(lock.token, "/d", 20, None, NOW)
        locks.release(lock.token, "/d", None, NOW)
        assert locks.count(NOW) == 0


class Looking(Harness):
    @pytest.fixture
    def held(self, locks: LockStore) -> dict[str, Lock]:
        """Shared locks of either depth all over a tree, by root and depth."""
        held = {}
        for root in ("/", "/d", "/d/e", "/d/e/f", "/d/e2", "/d/e!", "/x"):
            for infinite in (True, False):
                lock = locks.grant(request(root, SHARED, infinite=infinite), NOW)
                held[f"{root} {'infinite' if infinite else 'zero'}"] = lock
        return held

    def wanted(self, held: dict[str, Lock], *keys: str) -> list[Lock]:
        return sorted((held[key] for key in keys), key=lambda lock: lock.token)

    def test_covering_gives_the_locks_on_it_and_the_infinite_ones_above(
        self, locks: LockStore, held: dict[str, Lock]
    ) -> None:
        found = locks.covering("/d/e", NOW)
        assert found == self.wanted(held, "/ infinite", "/d infinite", "/d/e infinite", "/d/e zero")
        assert locks.covering("/", NOW) == self.wanted(held, "/ infinite", "/ zero")
        assert locks.covering("/d/e/f/g/h", NOW) == self.wanted(
            held, "/ infinite", "/d infinite", "/d/e infinite", "/d/e/f infinite"
        )

    def test_around_gives_the_locks_on_it_and_on_every_ancestor(
        self, locks: LockStore, held: dict[str, Lock]
    ) -> None:
        above = ["/ infinite", "/ zero", "/d infinite", "/d zero", "/d/e infinite", "/d/e zero"]
        assert locks.around("/d/e", NOW, below=False) == self.wanted(held, *above)
        below = ["/d/e/f infinite", "/d/e/f zero"]
        assert locks.around("/d/e", NOW, below=True) == self.wanted(held, *above, *below)

    def test_around_the_root_and_below_is_everything_each_once(
        self, locks: LockStore, held: dict[str, Lock]
    ) -> None:
        assert locks.around("/", NOW, below=True) == self.wanted(held, *held)
        assert locks.around("/", NOW, below=False) == self.wanted(held, "/ infinite", "/ zero")

    def test_members_gives_the_locks_of_the_direct_members_in_order(
        self, locks: LockStore, held: dict[str, Lock]
    ) -> None:
        assert [lock.root for lock in locks.members("/d", NOW)] == [
            "/d/e", "/d/e", "/d/e!", "/d/e!", "/d/e2", "/d/e2",
        ]  # fmt: skip
        assert [lock.root for lock in locks.members("/", NOW)] == ["/d", "/d", "/x", "/x"]
        assert list(locks.members("/x", NOW)) == []

    def test_members_come_in_the_order_of_code_points(self, locks: LockStore) -> None:
        wanted = sorted(f"/d/{name}" for name in ("Z", "a", "ä", "中", "\U0001f600", "\uffee"))
        for root in wanted:
            locks.grant(request(root), NOW)
        assert [lock.root for lock in locks.members("/d", NOW)] == wanted

    def test_thousands_of_locked_members_are_given_each_once(self, locks: LockStore) -> None:
        wanted = [f"/d/{number:04}" for number in range(1501)]
        for root in reversed(wanted):
            locks.grant(request(root), NOW)
        assert [lock.root for lock in locks.members("/d", NOW)] == wanted
        assert locks.count(NOW) == 1501

    def test_forgetting_takes_the_locks_at_and_below_and_no_others(
        self, locks: LockStore, held: dict[str, Lock]
    ) -> None:
        locks.forget("/d/e")
        left = {lock.root for lock in locks.around("/", NOW, below=True)}
        assert left == {"/", "/d", "/d/e2", "/d/e!", "/x"}
        locks.forget("/nothing/here")
        assert locks.count(NOW) == 10
        locks.forget("/")
        assert locks.count(NOW) == 0

    def test_locks_are_counted_at_and_below_a_path_and_by_share(
        self, locks: LockStore, held: dict[str, Lock]
    ) -> None:
        below = {path: locks.count(NOW, path) for path in ("/", "/d", "/d/e", "/d/e2", "/nothing")}
        assert below == {"/": 14, "/d": 10, "/d/e": 4, "/d/e2": 2, "/nothing": 0}
        assert locks.count(NOW + 10_000, "/d") == 0
        mounts = ["/", "/d", "/d/e", "/x"]
        by_share = {mount: locks.count_share(mount, mounts, NOW) for mount in mounts}
        assert by_share == {"/": 2, "/d": 6, "/d/e": 4, "/x": 2}

    def test_what_was_forgotten_can_be_locked_again(self, locks: LockStore) -> None:
        lock = locks.grant(request("/d/e"), NOW)
        locks.forget("/d")
        with pytest.raises(NoSuchLock):
            locks.refresh(lock.token, "/d/e", 10, "ann", NOW)
        locks.grant(request("/d/e", principal="bob"), NOW)

    def test_names_with_the_wildcards_of_a_database_are_plain_names(self, locks: LockStore) -> None:
        for root in ("/a%", "/a_b/c", "/a*", "/a?", "/a[b]", "/a'b", "/$where"):
            locks.grant(request(root), NOW)
        assert locks.covering("/axx", NOW) == []
        assert locks.covering("/axb/c", NOW) == []
        assert roots(locks.around("/a_b", NOW, below=True)) == ["/a_b/c"]
        locks.forget("/a%")
        assert locks.count(NOW) == 6

    def test_a_path_of_the_greatest_depth_can_be_asked_about(self, locks: LockStore) -> None:
        deep = "/a" * 2047
        top = locks.grant(request("/a"), NOW)
        assert locks.covering(deep, NOW) == [top]
        locks.check(deep, Effect.REMOVE, {top.token}, "ann", NOW)


class Checking(Harness):
    def test_a_write_is_locked_out_with_the_roots_that_are_in_its_way(
        self, locks: LockStore
    ) -> None:
        locks.grant(request("/d"), NOW)
        locks.grant(request("/e/f/g"), NOW)
        with pytest.raises(Locked) as caught:
            locks.check("/d/x", Effect.MODIFY, (), None, NOW)
        assert (caught.value.path, caught.value.roots) == ("/d/x", ("/d",))
        with pytest.raises(Locked) as caught:
            locks.check("/e", Effect.REMOVE, (), None, NOW)
        assert (caught.value.path, caught.value.roots) == ("/e", ("/e/f/g",))

    def test_the_holder_writes_with_the_token_and_nobody_else_does(self, locks: LockStore) -> None:
        token = locks.grant(request("/d"), NOW).token
        for effect in Effect:
            locks.check("/d/x", effect, {token}, "ann", NOW)
            for tokens, principal in (({token}, "bob"), ({token}, None), (set(), "ann")):
                with pytest.raises(Locked):
                    locks.check("/d/x", effect, tokens, principal, NOW)

    def test_where_no_lock_is_every_write_passes(self, locks: LockStore) -> None:
        locks.grant(request("/d"), NOW)
        for effect in Effect:
            locks.check("/e/f", effect, (), None, NOW)

    def test_a_lock_of_depth_zero_on_a_folder_keeps_its_members_from_changing(
        self, locks: LockStore
    ) -> None:
        """RFC 4918, 7.4."""
        token = locks.grant(request("/d", infinite=False), NOW).token
        locks.check("/d/x", Effect.MODIFY, (), None, NOW)
        locks.check("/d/x/y", Effect.CREATE, (), None, NOW)
        for effect in (Effect.CREATE, Effect.REMOVE):
            with pytest.raises(Locked):
                locks.check("/d/x", effect, (), None, NOW)
            locks.check("/d/x", effect, {token}, "ann", NOW)


class LockContract(Granting, Expiring, Looking, Checking):
    """Everything that `davstore.locks.base` promises of a store."""
