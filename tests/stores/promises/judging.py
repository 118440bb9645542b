"""Guards: what they are asked, when, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davstore.errors import Locked, PreconditionFailed, StoreError
from davstore.stores.base import Effect, Guard, Store, Update
from tests.stores.harness import (
    CTX,
    Harness,
    MustHave,
    MustNotExist,
    Refusal,
    Witness,
    build,
    put,
    read,
    settle,
    tree,
)

PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}

#: Every kind of change, by what it does to the tree of `prepared`.
CHANGES: dict[str, Callable[[Store, Guard], object]] = {
    "create a file": lambda store, guard: put(store, "/new", b"new", guard=guard),
    "replace a file": lambda store, guard: put(store, "/a", b"new", guard=guard),
    "create a folder": lambda store, guard: store.create_folder(CTX, "/new", guard),
    "delete a file": lambda store, guard: store.delete(CTX, "/a", guard),
    "delete a tree": lambda store, guard: store.delete(CTX, "/d", guard),
    "move": lambda store, guard: store.move(CTX, "/a", "/new", overwrite=True, guard=guard),
    "move over": lambda store, guard: store.move(CTX, "/a", "/b", overwrite=True, guard=guard),
    "move a tree": lambda store, guard: store.move(CTX, "/d", "/e", overwrite=True, guard=guard),
    "copy": lambda store, guard: store.copy(CTX, "/a", "/new", overwrite=True, guard=guard),
    "copy over": lambda store, guard: store.copy(CTX, "/a", "/b", overwrite=True, guard=guard),
    "copy a tree": lambda store, guard: store.copy(CTX, "/d", "/e", overwrite=True, guard=guard),
    "copy a file over a tree": lambda store, guard: store.copy(
        CTX, "/a", "/e", overwrite=True, guard=guard
    ),
    "copy a tree over a file": lambda store, guard: store.copy(
        CTX, "/d", "/b", overwrite=True, guard=guard
    ),
    "update": lambda store, guard: store.update(CTX, "/a", Update(PROP, (), 1e9), guard),
}

#: What the guard is asked then: path and effect. What is "there" is looked up.
QUESTIONS: dict[str, set[tuple[str, Effect]]] = {
    "create a file": {("/new", Effect.CREATE)},
    "replace a file": {("/a", Effect.MODIFY)},
    "create a folder": {("/new", Effect.CREATE)},
    "delete a file": {("/a", Effect.REMOVE)},
    "delete a tree": {("/d", Effect.REMOVE)},
    "move": {("/a", Effect.REMOVE), ("/new", Effect.CREATE)},
    "move over": {("/a", Effect.REMOVE), ("/b", Effect.REMOVE)},
    "move a tree": {("/d", Effect.REMOVE), ("/e", Effect.REMOVE)},
    "copy": {("/new", Effect.CREATE)},
    "copy over": {("/b", Effect.MODIFY)},
    "copy a tree": {("/e", Effect.REMOVE)},
    "copy a file over a tree": {("/e", Effect.REMOVE)},
    "copy a tree over a file": {("/b", Effect.REMOVE)},
    "update": {("/a", Effect.MODIFY)},
}


class Judging(Harness):
    @pytest.fixture
    def prepared(self, store: Store) -> Store:
        build(
            store,
            {"/a": b"A", "/b": b"B", "/d": None, "/d/x": b"X", "/e": None, "/e/y": b"Y"},
        )
        return store

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_guard_is_asked_for_each_resource_with_its_node_and_the_effect(
        self, prepared: Store, change: str
    ) -> None:
        before = {f"/{node.name}": node for node in prepared.list(CTX, "/")}
        witness = Witness()
        CHANGES[change](prepared, witness)
        assert witness.asked == {
            (path, before[path].id if path in before else None, effect)
            for path, effect in QUESTIONS[change]
        }
        assert witness.nodes == {path: before.get(path) for path, _ in QUESTIONS[change]}

    @pytest.mark.parametrize("error", [PreconditionFailed, Locked])
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_refusal_at_any_resource_changes_nothing(
        self, prepared: Store, change: str, error: type[StoreError]
    ) -> None:
        content = tree(prepared)
        nodes = {path: prepared.stat(CTX, f"/{path}") for path in content}
        for path, _ in QUESTIONS[change]:
            with pytest.raises(error):
                CHANGES[change](prepared, Refusal(path, error))
        settle(prepared)
        assert tree(prepared) == content
        assert {path: prepared.stat(CTX, f"/{path}") for path in content} == nodes

    def test_a_guard_is_judged_at_commit_and_not_before(self, store: Store) -> None:
        witness = Witness()
        with store.upload(CTX, "/a") as upload:
            upload.write(b"mine")
            theirs = put(store, "/a", b"theirs").node
            upload.commit(guard=witness)
        assert witness.asked == {("/a", theirs.id, Effect.MODIFY)}

    def test_must_not_exist_refuses_what_came_into_being_during_the_upload(
        self, store: Store, other: Store
    ) -> None:
        with store.upload(CTX, "/a") as upload:
            upload.write(b"mine")
            put(other, "/a", b"theirs")
            with pytest.raises(PreconditionFailed):
                upload.commit(guard=MustNotExist())
            assert upload.is_over
        assert read(store, "/a") == b"theirs"

    def test_if_match_refuses_what_was_replaced_during_the_upload(
        self, store: Store, other: Store
    ) -> None:
        tag = put(store, "/a", b"seen").node.etag
        with store.upload(CTX, "/a") as upload:
            upload.write(b"mine")
            put(other, "/a", b"them")
            with pytest.raises(PreconditionFailed):
                upload.commit(guard=MustHave(tag))
        assert read(store, "/a") == b"them"

    def test_if_match_lets_the_right_version_through(self, store: Store) -> None:
        tag = put(store, "/a", b"1").node.etag
        for content in (b"2", b"3"):
            tag = put(store, "/a", content, guard=MustHave(tag)).node.etag
        with pytest.raises(PreconditionFailed):
            store.delete(CTX, "/a", MustHave("stale"))
        store.delete(CTX, "/a", MustHave(tag))
        with pytest.raises(PreconditionFailed):
            put(store, "/a", b"4", guard=MustHave(tag))
        assert tree(store) == {}

    def test_a_guard_sees_the_node_with_its_properties_and_digests(self, store: Store) -> None:
        put(store, "/a", b"content")
        node = store.update(CTX, "/a", Update(set_props=PROP))
        witness = Witness()
        store.delete(CTX, "/a", witness)
        assert witness.nodes == {"/a": node}
