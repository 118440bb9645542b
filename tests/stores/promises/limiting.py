"""Deadlines, and the counters of use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from davstore.errors import DeadlineExceeded, Exists, PreconditionFailed
from davstore.stores.base import Context, Effect, HasUsage, Node, Store, Update
from tests.stores.harness import (
    CTX,
    Harness,
    MustNotExist,
    build,
    names,
    pattern,
    put,
    settle,
    tree,
    until,
    used,
)


class Limiting(Harness):
    @pytest.mark.parametrize(
        "call",
        [
            lambda store, ctx: store.stat(ctx, "/a"),
            lambda store, ctx: list(store.list(ctx, "/d")),
            lambda store, ctx: store.open(ctx, "/a"),
            lambda store, ctx: store.upload(ctx, "/new"),
            lambda store, ctx: store.create_folder(ctx, "/new"),
            lambda store, ctx: store.delete(ctx, "/a"),
            lambda store, ctx: store.move(ctx, "/a", "/new", overwrite=True),
            lambda store, ctx: store.copy(ctx, "/d", "/new", overwrite=True),
            lambda store, ctx: store.update(ctx, "/a", Update(modified=1.0)),
        ],
        ids=["stat", "list", "open", "upload", "folder", "delete", "move", "copy", "update"],
    )
    def test_past_its_deadline_a_call_does_nothing(
        self, store: Store, call: Callable[[Store, Context], object]
    ) -> None:
        build(store, {"/a": b"1", "/d": None, "/d/x": b"2"})
        before = [store.stat(CTX, path) for path in ("/a", "/d", "/d/x")]
        with pytest.raises(DeadlineExceeded):
            call(store, Context(deadline=time.monotonic() - 0.001))
        assert [store.stat(CTX, path) for path in ("/a", "/d", "/d/x")] == before
        assert tree(store) == {"a": b"1", "d": None, "d/x": b"2"}

    def test_an_upload_past_its_deadline_is_not_committed(self, store: Store) -> None:
        put(store, "/a", b"old")
        ctx = Context(deadline=time.monotonic() + 0.2)
        with store.upload(ctx, "/a") as upload:
            upload.write(b"new")
            until(lambda: time.monotonic() > (ctx.deadline or 0), "the deadline")
            with pytest.raises(DeadlineExceeded):
                upload.commit()
        assert tree(store) == {"a": b"old"}

    def test_within_its_deadline_a_call_does_its_work(self, store: Store) -> None:
        store.create_folder(Context(deadline=time.monotonic() + 60), "/d")
        assert names(store) == ["d"]


class RefusesTheSecondTime:
    """A condition that stops holding while the work is done."""

    def __init__(self) -> None:
        self.asked = 0

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        self.asked += 1
        if self.asked > 1:
            raise PreconditionFailed(path)


class Counting(Harness):
    @pytest.fixture(autouse=True)
    def only_with_usage(self, store: Store) -> None:
        if not isinstance(store, HasUsage):
            pytest.skip("this store does not count what it holds")

    def test_the_usage_follows_every_change(self, store: Store) -> None:
        start = used(store)
        put(store, "/a", pattern(100_000))
        assert used(store) == start + 100_000
        put(store, "/a", pattern(30_000))
        assert used(store) == start + 30_000
        build(store, {"/d": None, "/d/e": None, "/d/e/x": b"12345", "/d/y": b"123"})
        assert used(store) == start + 30_008
        store.copy(CTX, "/d", "/f", overwrite=False)
        assert used(store) == start + 30_016
        store.move(CTX, "/d/y", "/y", overwrite=False)
        assert used(store) == start + 30_016
        store.move(CTX, "/y", "/a", overwrite=True)
        assert used(store) == start + 16
        store.copy(CTX, "/a", "/f", overwrite=True)
        assert used(store) == start + 11
        store.delete(CTX, "/d")
        assert used(store) == start + 6
        store.delete(CTX, "/a")
        store.delete(CTX, "/f")
        assert used(store) == start

    @pytest.mark.parametrize("verb", ["copy", "move"])
    def test_what_replaces_another_kind_is_counted_once(self, store: Store, verb: str) -> None:
        start = used(store)
        build(store, {"/d": None, "/d/x": b"12345", "/d/y": b"12", "/a": b"123", "/f": b"1"})
        transfer = store.copy if verb == "copy" else store.move
        transfer(CTX, "/d", "/a", overwrite=True)
        assert used(store) == start + (15 if verb == "copy" else 8)
        transfer(CTX, "/f", "/a", overwrite=True)
        assert used(store) == start + (9 if verb == "copy" else 1)

    def test_what_did_not_happen_is_not_counted(self, store: Store) -> None:
        build(store, {"/a": b"123", "/c": b"1"})
        start = used(store)
        with store.upload(CTX, "/b") as upload:
            upload.write(pattern(100_000))
        with pytest.raises(PreconditionFailed):
            put(store, "/a", b"12345", guard=MustNotExist())
        with pytest.raises(Exists):
            store.copy(CTX, "/a", "/c", overwrite=False)
        settle(store)
        assert used(store) == start

    def test_a_copy_that_is_refused_at_its_end_is_not_counted(self, store: Store) -> None:
        build(store, {"/a": b"123", "/d": None, "/d/e": None, "/d/e/x": b"45678"})
        start = used(store)
        for source in ("/a", "/d"):
            with contextlib.suppress(PreconditionFailed):
                store.copy(CTX, source, "/b", overwrite=False, guard=RefusesTheSecondTime())
                store.delete(CTX, "/b")  # this store asks once only
            assert used(store) == start

    def test_instances_count_together(self, store: Store, other: Store) -> None:
        start = used(store)
        put(store, "/a", b"123")
        put(other, "/b", b"12345")
        assert used(store) == used(other) == start + 8

    def test_what_is_available_is_a_number_of_bytes_or_unlimited(self, store: Store) -> None:
        assert isinstance(store, HasUsage)
        available = store.usage(CTX).available
        assert available is None or available >= 0
