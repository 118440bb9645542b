"""A store and the twin in memory are given the same calls and have to agree, whatever these are.

def test_it_does_what_the_twin_does(self, opener: Opener) -> None:
    run_machine(opener)
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from davstore import paths
from davstore.errors import (
    Exists,
    IntoItself,
    IsAFolder,
    NotAFolder,
    NotFound,
    ParentMissing,
    StoreError,
)
from davstore.stores.base import Committed, HasUsage, Node, Store, Transfer, Update
from davstore.stores.memory import MemoryStore
from tests.stores.harness import (
    CTX,
    LONG_AGO,
    MustHave,
    MustNotExist,
    Opener,
    Refusal,
    attributes,
    attributes_of_tree,
    build,
    find,
    opened,
    put,
    settle,
    used,
)

NAMES = ("a", "b", "ä")
PATHS = tuple(
    "/" + "/".join(names)
    for depth in (1, 2, 3)
    for names in itertools.product(NAMES, repeat=depth)
    if depth < 3 or "ä" not in names
)
SIZES = (0, 1, 5, 4096, 16_384, 16_385, 70_000)

#: Errors of which any will do where several apply.
PLACES = (NotFound, ParentMissing, NotAFolder, IsAFolder, Exists, IntoItself)

a_path = st.sampled_from(PATHS)
a_target = st.one_of(a_path, a_path, a_path, st.just("/"))


class StoreMachine(RuleBasedStateMachine):
    """Compares outcomes after each call, and the whole trees at the end of each."""

    opener: ClassVar[Opener]

    def __init__(self) -> None:
        super().__init__()
        self.twin = MemoryStore()
        self.opening = contextlib.ExitStack()
        self.store = self.opening.enter_context(opened(type(self).opener))
        clear(self.store)
        self.start = used(self.store) if isinstance(self.store, HasUsage) else 0
        self.counter = 0

    def teardown(self) -> None:
        try:
            self.compare_usage()
        finally:
            self.opening.close()

    @initialize()
    def plant_a_tree(self) -> None:
        for store in (self.store, self.twin):
            build(store, {"/a": None, "/a/a": None, "/a/a/a": b"x", "/b": b"y", "/a/b": b"z"})

    def both(self, call: Callable[[Store], object]) -> None:
        """The same call to both; they agree on the result or on the kind of failure."""
        wanted, got = outcome(self.twin, call), outcome(self.store, call)
        if isinstance(wanted, PLACES) and isinstance(got, PLACES):
            return
        if isinstance(wanted, StoreError) or isinstance(got, StoreError):
            assert type(wanted) is type(got), f"the twin: {wanted!r}, the store: {got!r}"
        else:
            assert plain(wanted) == plain(got)

    @rule(path=a_target, size=st.sampled_from(SIZES), typed=st.booleans())
    def write(self, path: str, size: int, typed: bool) -> None:
        content = self.content(size)
        content_type = "text/x" if typed else None
        self.both(lambda store: put(store, path, content, content_type=content_type))

    @rule(path=a_path, size=st.sampled_from(SIZES))
    def write_at_a_time(self, path: str, size: int) -> None:
        content = self.content(size)
        self.both(lambda store: put(store, path, content, modified=LONG_AGO))

    @rule(path=a_path)
    def write_what_must_be_new(self, path: str) -> None:
        content = self.content(3)
        self.both(lambda store: put(store, path, content, guard=MustNotExist()))

    @rule(path=a_path, stale=st.booleans())
    def write_what_must_match(self, path: str, stale: bool) -> None:
        content = self.content(3)

        def call(store: Store) -> object:
            node = find(store, path)
            tag = node.etag if node and not stale else "stale"
            return put(store, path, content, guard=MustHave(tag))

        self.both(call)

    @rule(path=a_path, size=st.sampled_from(SIZES))
    def break_off_an_upload(self, path: str, size: int) -> None:
        def call(store: Store) -> object:
            with store.upload(CTX, path) as upload:
                upload.write(b"x" * size)
                return upload.commit(expected_length=size + 1)

        self.both(call)

    @rule(path=a_target)
    def create_folder(self, path: str) -> None:
        self.both(lambda store: store.create_folder(CTX, path))

    @rule(path=a_path, refused=st.booleans())
    def delete(self, path: str, refused: bool) -> None:
        guard = Refusal() if refused else None
        self.both(lambda store: store.delete(CTX, path, guard))

    @rule(source=a_path, to=a_target, overwrite=st.booleans())
    def move(self, source: str, to: str, overwrite: bool) -> None:
        self.both(lambda store: store.move(CTX, source, to, overwrite=overwrite))

    @rule(source=a_path, to=a_path)
    def move_that_the_target_refuses(self, source: str, to: str) -> None:
        guard = Refusal(to)
        self.both(lambda store: store.move(CTX, source, to, overwrite=True, guard=guard))

    @rule(source=a_path, to=a_target, overwrite=st.booleans(), recursive=st.booleans())
    def copy(self, source: str, to: str, overwrite: bool, recursive: bool) -> None:
        self.both(
            lambda store: store.copy(CTX, source, to, overwrite=overwrite, recursive=recursive)
        )

    @rule(path=a_target, name=st.sampled_from(["{urn:x}p", "{}q"]), value=st.text(max_size=3))
    def set_property(self, path: str, name: str, value: str) -> None:
        self.both(lambda store: store.update(CTX, path, Update({name: value})))

    @rule(path=a_path)
    def remove_properties(self, path: str) -> None:
        change = Update(remove_props=["{urn:x}p", "{}q"], modified=LONG_AGO)
        self.both(lambda store: store.update(CTX, path, change))

    @rule(path=a_path)
    def move_away_and_back(self, path: str) -> None:
        """And meet the same node there."""
        node = find(self.store, path)
        target = "/moved"
        self.both(lambda store: store.move(CTX, path, target, overwrite=True))
        if node and (moved := find(self.store, target)):
            assert moved.id == node.id
        self.both(lambda store: store.move(CTX, target, path, overwrite=True))

    @rule()
    def do_background_duties(self) -> None:
        settle(self.store)

    @invariant()
    def the_trees_are_the_same(self) -> None:
        assert attributes_of_tree(self.store) == attributes_of_tree(self.twin)

    def content(self, size: int) -> bytes:
        self.counter += 1
        return (f"{self.counter}." * (size // 2 + 1)).encode()[:size]

    def compare_usage(self) -> None:
        if isinstance(self.store, HasUsage):
            assert used(self.store) - self.start == used(self.twin)


def outcome(store: Store, call: Callable[[Store], object]) -> object:
    try:
        return call(store)
    except StoreError as error:
        return error


def plain(result: object) -> object:
    """A result without what differs from store to store."""
    if isinstance(result, Committed):
        return attributes(result.node), result.created
    if isinstance(result, Node):
        return attributes(result)
    if isinstance(result, Transfer):
        return result
    assert result is None
    return None


def clear(store: Store) -> None:
    """Remove what the run before left, so that every run begins with the same nothing."""
    for node in list(store.list(CTX, "/")):
        store.delete(CTX, paths.join("/", node.name))
    store.update(CTX, "/", Update(remove_props=list(store.stat(CTX, "/").props)))
    settle(store)


def run_machine(opener: Opener, examples: int = 60, steps: int = 30) -> None:
    """The same runs every time; no more than about 20 s with a store on disk."""

    class Machine(StoreMachine):
        pass

    Machine.opener = staticmethod(opener)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
