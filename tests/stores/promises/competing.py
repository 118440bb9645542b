"""Many at once: guards, fences, deadlines, the counters of use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from davstore.errors import Exists, PreconditionFailed, StoreError
from davstore.stores.base import Store
from tests.stores.harness import (
    CTX,
    Harness,
    MustHave,
    MustNotExist,
    build,
    find,
    names,
    put,
    read,
    until,
)

THREADS = 8


def race(contenders: list[Callable[[], object]]) -> list[object]:
    """Run all at once; their outcomes, errors of the store among them."""
    barrier = threading.Barrier(len(contenders))

    def run(contender: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return contender()
        except StoreError as error:
            return error

    with ThreadPoolExecutor(len(contenders)) as pool:
        return list(pool.map(run, contenders))


def watch(work: Callable[[], None], look: Callable[[], None]) -> None:
    """Look all the time while the work is done."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        look()
        while not working.done():
            look()
        working.result()


class Competing(Harness):
    def test_of_many_creations_that_must_be_the_first_exactly_one_wins(
        self, store: Store, other: Store
    ) -> None:
        for turn in range(10):
            contenders: list[Callable[[], object]] = [
                lambda number=number, turn=turn: put(  # type: ignore[misc]
                    (store, other)[number % 2],
                    f"/{turn}",
                    str(number).encode(),
                    guard=MustNotExist(),
                )
                for number in range(THREADS)
            ]
            outcomes = race(contenders)
            losers = [outcome for outcome in outcomes if isinstance(outcome, StoreError)]
            assert len(losers) == THREADS - 1
            assert all(isinstance(loser, PreconditionFailed) for loser in losers)
            winner = next(n for n, outcome in enumerate(outcomes) if outcome not in losers)
            assert read(store, f"/{turn}") == str(winner).encode()

    def test_of_many_replacements_of_one_version_exactly_one_wins(
        self, store: Store, other: Store
    ) -> None:
        for _ in range(10):
            tag = put(store, "/a", b"start").node.etag
            contenders: list[Callable[[], object]] = [
                lambda number=number, tag=tag: put(  # type: ignore[misc]
                    (store, other)[number % 2], "/a", str(number).encode(), guard=MustHave(tag)
                )
                for number in range(THREADS)
            ]
            outcomes = race(contenders)
            assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == (
                THREADS - 1
            )

    def test_of_many_creations_of_one_folder_exactly_one_wins(
        self, store: Store, other: Store
    ) -> None:
        for turn in range(10):
            outcomes = race(
                [
                    lambda number=number, turn=turn: (store, other)[  # type: ignore[misc]
                        number % 2
                    ].create_folder(CTX, f"/{turn}")
                    for number in range(THREADS)
                ]
            )
            assert sum(isinstance(outcome, Exists) for outcome in outcomes) == THREADS - 1

    def test_of_many_moves_of_one_file_exactly_one_wins(self, store: Store, other: Store) -> None:
        for turn in range(10):
            put(store, "/a", b"content")
            store.create_folder(CTX, f"/{turn}")
            outcomes = race(
                [
                    lambda number=number, turn=turn: (store, other)[  # type: ignore[misc]
                        number % 2
                    ].move(CTX, "/a", f"/{turn}/{number}", overwrite=False)
                    for number in range(THREADS)
                ]
            )
            assert sum(not isinstance(outcome, StoreError) for outcome in outcomes) == 1
            assert len(names(store, f"/{turn}")) == 1
            assert find(store, "/a") is None

    def test_two_folders_are_never_moved_into_each_other(self, store: Store, other: Store) -> None:
        for turn in range(20):
            build(store, {f"/{turn}a": None, f"/{turn}b": None})
            race(
                [
                    lambda t=turn: store.move(  # type: ignore[misc]
                        CTX, f"/{t}a", f"/{t}b/x", overwrite=False
                    ),
                    lambda t=turn: other.move(  # type: ignore[misc]
                        CTX, f"/{t}b", f"/{t}a/x", overwrite=False
                    ),
                ]
            )
            assert sum(name.startswith(f"{turn}") for name in names(store)) == 1
            store.delete(CTX, f"/{names(store)[0]}")

    def test_a_file_that_is_replaced_all_the_time_is_never_missed(
        self, store: Store, other: Store
    ) -> None:
        contents = [str(number).encode() * 20_000 for number in range(2)]
        put(store, "/a", contents[0])

        def replace() -> None:
            for number in range(60):
                if number % 2:
                    put(store, "/a", contents[number // 2 % 2])
                else:
                    put(store, "/b", contents[number // 2 % 2])
                    store.move(CTX, "/b", "/a", overwrite=True)

        def look() -> None:
            assert read(other, "/a") in contents
            assert "a" in names(other)

        watch(replace, look)

    def test_a_folder_that_is_replaced_all_the_time_is_never_missed(
        self, store: Store, other: Store
    ) -> None:
        build(store, {"/d": None, "/d/0": b"", "/d/1": b""})

        def replace() -> None:
            for number in range(30):
                build(store, {"/e": None, f"/e/{number}": b"", f"/e/{number + 1}": b""})
                store.move(CTX, "/e", "/d", overwrite=True)

        def look() -> None:
            found = find(other, "/d")
            if found is None and not store.swaps_at_once:
                until(lambda: find(other, "/d") is not None, "the folder to be back")
            else:
                assert found is not None
                assert found.is_folder

        watch(replace, look)
        assert other.stat(CTX, "/d").is_folder

    def test_a_copied_tree_appears_at_once_and_whole(self, store: Store, other: Store) -> None:
        build(store, {"/d": None, **{f"/d/{number}": b"x" for number in range(20)}})
        store.create_folder(CTX, "/d/z")
        put(store, "/d/z/last", b"x")

        def copy() -> None:
            for number in range(15):
                store.copy(CTX, "/d", f"/copy{number}", overwrite=False)

        def look() -> None:
            for name in names(other):
                assert len(names(other, f"/{name}")) == 21
                assert other.stat(CTX, f"/{name}/z/last").size == 1

        watch(copy, look)

    def test_a_deleted_tree_disappears_at_once(self, store: Store, other: Store) -> None:
        members = [f"/d/{number}" for number in range(20)]

        def delete() -> None:
            for _ in range(15):
                build(store, {"/t": None, **{"/t" + path[2:]: b"x" for path in members}})
                store.move(CTX, "/t", "/d", overwrite=False)
                store.delete(CTX, "/d")

        def look() -> None:
            seen = [find(other, path) for path in ("/d", *members)]
            back = [find(other, path) for path in ("/d", *members)]
            if None in seen and any(seen[seen.index(None) :]):
                # It came again while we looked: it is another one then.
                assert seen[0] is None or back[0] is None or seen[0].id != back[0].id

        watch(delete, look)

    def test_members_created_at_the_same_time_are_all_there(
        self, store: Store, other: Store
    ) -> None:
        race(
            [
                lambda number=number: [  # type: ignore[misc]
                    put((store, other)[number % 2], f"/{number}-{turn}", b"1") for turn in range(10)
                ]
                for number in range(THREADS)
            ]
        )
        assert len(names(store)) == THREADS * 10
