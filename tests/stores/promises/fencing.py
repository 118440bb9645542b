"""The fence: it orders the taking of a lock and the writes that the lock must stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from davstore.errors import Locked
from davstore.stores.base import Effect, Fenced, Node, Store, Update
from tests.stores.harness import CTX, Harness, build, find, put


class LockedOnce:
    """A guard that refuses from the moment on at which `closed` is set."""

    def __init__(self) -> None:
        self.closed = False

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        if self.closed:
            raise Locked(path)
        # Widens the gap between the judgement and the change, into which nobody may slip.
        time.sleep(0.0005)


#: Writes at or below /d/e, which a fence there has to order.
FENCED_WRITES: dict[str, Callable[[Store, LockedOnce], object]] = {
    "replace the file": lambda store, guard: put(store, "/d/e/a", b"new", guard=guard),
    "create below": lambda store, guard: put(store, f"/d/e/{time.time_ns()}", b"", guard=guard),
    "create a folder": lambda store, guard: store.create_folder(
        CTX, f"/d/e/{time.time_ns()}", guard
    ),
    "update": lambda store, guard: store.update(
        CTX, "/d/e/a", Update({"{urn:x}t": f"<t>{time.time_ns()}</t>"}), guard
    ),
    "copy in": lambda store, guard: store.copy(
        CTX, "/from", f"/d/e/{time.time_ns()}", overwrite=True, guard=guard
    ),
    "rename": lambda store, guard: (
        store.move(CTX, "/d/e/a", "/d/e/b", overwrite=True, guard=guard),
        store.move(CTX, "/d/e/b", "/d/e/a", overwrite=True, guard=guard),
    ),
}


class Fencing(Harness):
    @pytest.mark.parametrize("write", FENCED_WRITES)
    def test_what_was_judged_before_a_fence_has_happened_within_it_and_nothing_follows(
        self, store: Store, other: Store, write: str
    ) -> None:
        if not isinstance(other, Fenced):
            pytest.skip("this store has no fence")
        for _ in range(8):
            if find(store, "/d"):
                store.delete(CTX, "/d")
            build(store, {"/d": None, "/d/e": None, "/d/e/a": b"old", "/d/e/b": b"old"})
            put(store, "/from", b"source")
            guard, begun, enough = LockedOnce(), threading.Event(), threading.Event()

            def keep_writing(
                guard: LockedOnce = guard,
                begun: threading.Event = begun,
                enough: threading.Event = enough,
            ) -> None:
                with pytest.raises(Locked):
                    while not enough.is_set():
                        FENCED_WRITES[write](store, guard)
                        begun.set()

            with ThreadPoolExecutor(2) as pool:
                writers = [pool.submit(keep_writing) for _ in range(1 + (write == "create below"))]
                try:
                    assert begun.wait(20)
                    with other.fence(CTX, "/d/e"):
                        within = snapshot(other)
                        time.sleep(0.002)  # for whoever could still write
                        guard.closed = True
                    wait(writers, timeout=20)
                finally:
                    enough.set()
                for writer in writers:
                    writer.result()
            assert snapshot(other) == within

    def test_a_fence_on_something_that_is_not_there_can_be_held(self, store: Store) -> None:
        if not isinstance(store, Fenced):
            pytest.skip("this store has no fence")
        with store.fence(CTX, "/unmapped"):
            assert find(store, "/unmapped") is None
        with store.fence(CTX, "/"):
            pass
        put(store, "/unmapped", b"1")

    def test_a_fence_opens_again_when_its_holder_fails(self, store: Store) -> None:
        if not isinstance(store, Fenced):
            pytest.skip("this store has no fence")
        with pytest.raises(ZeroDivisionError), store.fence(CTX, "/"):
            raise ZeroDivisionError
        put(store, "/a", b"1")


def snapshot(store: Store) -> list[Node]:
    """Everything below /d/e, with its attributes."""
    return list(store.list(CTX, "/d/e"))
