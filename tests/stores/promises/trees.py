"""Making folders, deleting, moving and copying."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from davstore.errors import (
    Exists,
    Forbidden,
    IntoItself,
    NotAFolder,
    NotFound,
    ParentMissing,
    StoreError,
)
from davstore.stores.base import Store, Transfer, Update
from tests.stores.harness import (
    CTX,
    LONG_AGO,
    Harness,
    build,
    find,
    names,
    pattern,
    put,
    read,
    settle,
    tree,
)

PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}
OTHER = {"{urn:x}shape": '<shape xmlns="urn:x">round</shape>'}


class Folders(Harness):
    def test_a_new_folder_is_empty_and_has_times_of_now(self, store: Store) -> None:
        before = time.time()
        node = store.create_folder(CTX, "/d")
        assert (node.name, node.is_folder, node.size, node.props) == ("d", True, 0, {})
        assert before - 2 <= node.created <= time.time() + 2
        assert before - 2 <= node.modified <= time.time() + 2
        assert store.stat(CTX, "/d") == node
        assert names(store, "/d") == []

    def test_a_folder_is_not_created_over_anything(self, store: Store) -> None:
        build(store, {"/d": None, "/d/a": b"content"})
        for path in ("/d", "/d/a", "/"):
            with pytest.raises(Exists):
                store.create_folder(CTX, path)
        assert tree(store) == {"d": None, "d/a": b"content"}

    def test_a_folder_needs_its_parent(self, store: Store) -> None:
        put(store, "/a", b"")
        with pytest.raises(ParentMissing):
            store.create_folder(CTX, "/nothing/d")
        with pytest.raises(NotAFolder):
            store.create_folder(CTX, "/a/d")
        assert tree(store) == {"a": b""}

    def test_every_change_of_the_entries_changes_the_folders_time(self, store: Store) -> None:
        build(store, {"/d": None, "/e": None, "/elsewhere": b"1"})
        changes: dict[str, Callable[[], object]] = {
            "create": lambda: put(store, "/d/a", b"1"),
            "folder": lambda: store.create_folder(CTX, "/d/sub"),
            "move in": lambda: store.move(CTX, "/elsewhere", "/d/b", overwrite=False),
            "rename": lambda: store.move(CTX, "/d/b", "/d/c", overwrite=False),
            "copy in": lambda: store.copy(CTX, "/d/c", "/d/b", overwrite=False),
            "move out": lambda: store.move(CTX, "/d/b", "/e/b", overwrite=False),
            "delete": lambda: store.delete(CTX, "/d/a"),
            "delete a folder": lambda: store.delete(CTX, "/d/sub"),
        }
        for what, change in changes.items():
            store.update(CTX, "/d", Update(modified=LONG_AGO))
            assert store.stat(CTX, "/d").modified == LONG_AGO
            change()
            assert store.stat(CTX, "/d").modified > LONG_AGO, what

    def test_a_move_out_changes_the_time_of_both_folders(self, store: Store) -> None:
        build(store, {"/d": None, "/e": None, "/d/a": b"1"})
        for path in ("/d", "/e"):
            store.update(CTX, path, Update(modified=LONG_AGO))
        store.move(CTX, "/d/a", "/e/a", overwrite=False)
        assert store.stat(CTX, "/d").modified > LONG_AGO
        assert store.stat(CTX, "/e").modified > LONG_AGO


class Deleting(Harness):
    def test_a_deleted_file_is_gone(self, store: Store) -> None:
        build(store, {"/a": b"1", "/b": b"2"})
        store.delete(CTX, "/a")
        assert tree(store) == {"b": b"2"}
        assert find(store, "/a") is None

    def test_a_deleted_folder_is_gone_with_everything_below(self, store: Store) -> None:
        build(store, {"/d": None, "/d/e": None, "/d/e/a": b"1", "/d/b": b"2", "/c": b"3"})
        store.delete(CTX, "/d")
        assert tree(store) == {"c": b"3"}
        for path in ("/d", "/d/e", "/d/e/a", "/d/b"):
            assert find(store, path) is None
        settle(store)
        assert tree(store) == {"c": b"3"}

    def test_deleting_nothing_is_not_found(self, store: Store) -> None:
        put(store, "/a", b"")
        for path in ("/nothing", "/nothing/below", "/a/below"):
            with pytest.raises(NotFound):
                store.delete(CTX, path)

    def test_the_root_cannot_be_deleted(self, store: Store) -> None:
        put(store, "/a", b"1")
        with pytest.raises(Forbidden):
            store.delete(CTX, "/")
        assert tree(store) == {"a": b"1"}

    def test_what_is_created_where_something_was_deleted_is_new(self, store: Store) -> None:
        put(store, "/a", b"old", content_type="text/old")
        old = store.update(CTX, "/a", Update(set_props=PROP))
        store.delete(CTX, "/a")
        new = put(store, "/a", b"new").node
        assert (new.props, new.content_type) == ({}, None)
        assert new.etag != old.etag
        build(store, {"/d": None, "/d/x": b"1"})
        store.update(CTX, "/d", Update(set_props=PROP))
        store.update(CTX, "/d/x", Update(set_props=PROP))
        store.delete(CTX, "/d")
        assert store.create_folder(CTX, "/d").props == {}
        assert names(store, "/d") == []
        assert put(store, "/d/x", b"1").node.props == {}


class Transfers(Harness):
    """What MOVE and COPY have in common."""

    @pytest.fixture(params=["move", "copy"])
    def transfer(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def call(
        self, store: Store, transfer: str, source: str, target: str, overwrite: bool = False
    ) -> Transfer:
        if transfer == "move":
            return store.move(CTX, source, target, overwrite=overwrite)
        return store.copy(CTX, source, target, overwrite=overwrite)

    def refused(
        self,
        store: Store,
        transfer: str,
        source: str,
        target: str,
        error: type[StoreError],
        *,
        overwrite: bool = True,
    ) -> None:
        before = tree(store)
        with pytest.raises(error):
            self.call(store, transfer, source, target, overwrite)
        assert tree(store) == before

    def test_a_missing_source_is_not_found(self, store: Store, transfer: str) -> None:
        build(store, {"/a": b"1"})
        self.refused(store, transfer, "/nothing", "/b", NotFound)
        self.refused(store, transfer, "/nothing", "/a", NotFound)
        self.refused(store, transfer, "/a/below", "/b", NotFound)

    def test_the_targets_folder_has_to_be_there(self, store: Store, transfer: str) -> None:
        build(store, {"/a": b"1", "/f": b"2", "/d": None})
        for source in ("/a", "/d"):
            self.refused(store, transfer, source, "/nothing/b", ParentMissing)
            self.refused(store, transfer, source, "/f/b", NotAFolder)

    def test_without_overwrite_an_existing_target_stays(self, store: Store, transfer: str) -> None:
        build(store, {"/a": b"1", "/b": b"2", "/d": None, "/e": None, "/e/x": b"3"})
        for source in ("/a", "/d"):
            for target in ("/b", "/e"):
                self.refused(store, transfer, source, target, Exists, overwrite=False)

    def test_the_root_is_neither_moved_nor_replaced(self, store: Store, transfer: str) -> None:
        build(store, {"/a": b"1", "/d": None})
        self.refused(store, transfer, "/", "/d/root", Forbidden)
        self.refused(store, transfer, "/d", "/", Forbidden)

    def test_nothing_goes_into_itself_or_onto_itself(self, store: Store, transfer: str) -> None:
        build(store, {"/d": None, "/d/e": None, "/d/e/f": None, "/a": b"1"})
        self.refused(store, transfer, "/d", "/d", IntoItself)
        self.refused(store, transfer, "/a", "/a", IntoItself)
        self.refused(store, transfer, "/d", "/d/new", IntoItself)
        self.refused(store, transfer, "/d", "/d/e/new", IntoItself)
        self.refused(store, transfer, "/d", "/d/e", IntoItself)
        self.refused(store, transfer, "/a", "/a/new", IntoItself)

    def test_nothing_replaces_a_folder_that_it_lies_in(self, store: Store, transfer: str) -> None:
        build(store, {"/d": None, "/d/e": None, "/d/e/a": b"1"})
        self.refused(store, transfer, "/d/e", "/d", IntoItself)
        self.refused(store, transfer, "/d/e/a", "/d", IntoItself)

    def test_a_name_that_only_begins_like_the_source_is_not_within_it(
        self, store: Store, transfer: str
    ) -> None:
        build(store, {"/d": None, "/d/a": b"1"})
        assert self.call(store, transfer, "/d", "/d2").created
        assert read(store, "/d2/a") == b"1"

    @pytest.mark.parametrize("target", ["file", "folder", "full folder"])
    @pytest.mark.parametrize("source", ["file", "folder", "full folder"])
    def test_overwriting_puts_the_source_in_the_targets_place_wholly(
        self, store: Store, transfer: str, source: str, target: str
    ) -> None:
        for path, kind in (("/s", source), ("/t", target)):
            if kind == "file":
                put(store, path, path.encode())
            else:
                store.create_folder(CTX, path)
            if kind == "full folder":
                build(store, {f"{path}/x": None, f"{path}/x/y{path[1]}": path.encode()})
                put(store, f"{path}/only in {path[1]}", b"")
        store.update(CTX, "/s", Update(set_props=PROP))
        store.update(CTX, "/t", Update(set_props=OTHER))
        before = tree(store, "/s") if source != "file" else {}
        assert self.call(store, transfer, "/s", "/t", True) == Transfer(created=False)
        settle(store)
        node = store.stat(CTX, "/t")
        assert node.props == PROP
        assert node.is_folder == (source != "file")
        assert names(store) == (["t"] if transfer == "move" else ["s", "t"])
        if source == "file":
            assert read(store, "/t") == b"/s"
        else:
            assert tree(store, "/t") == before

    def test_a_tree_arrives_whole_with_all_its_properties(
        self, store: Store, transfer: str
    ) -> None:
        build(store, {"/d": None, "/d/e": None, "/d/e/f": None, "/d/e/a": b"1", "/to": None})
        put(store, "/d/big", pattern(2_000_000), content_type="image/x", modified=LONG_AGO)
        for path in ("/d", "/d/e", "/d/e/a", "/d/big"):
            store.update(CTX, path, Update(set_props={"{urn:x}at": f"<at>{path}</at>"}))
        before = tree(store, "/d")
        assert self.call(store, transfer, "/d", "/to/d").created
        assert tree(store, "/to/d") == before
        for path in ("/d", "/d/e", "/d/e/a", "/d/big"):
            assert store.stat(CTX, f"/to{path}").props == {"{urn:x}at": f"<at>{path}</at>"}
        big = store.stat(CTX, "/to/d/big")
        assert (big.content_type, int(big.modified)) == ("image/x", int(LONG_AGO))
        if transfer == "move":
            assert names(store) == ["to"]
        else:
            assert tree(store, "/d") == before
