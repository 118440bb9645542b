"""What sets MOVE and COPY apart, and changes of attributes."""

from __future__ import annotations

import time

import pytest

from davstore.errors import IntoItself, NotFound, QuotaExceeded
from davstore.stores.base import Store, Transfer, Update
from tests.stores.harness import (
    CTX,
    LONG_AGO,
    Harness,
    build,
    digests_of,
    find,
    names,
    put,
    read,
    tree,
)
from tests.stores.promises.trees import OTHER, PROP

MAX_PROPS_BYTES = 1 << 20


class Moving(Harness):
    def test_a_moved_file_carries_all_of_its_attributes(self, store: Store) -> None:
        put(store, "/a", b"content", content_type="text/x", modified=LONG_AGO)
        before = store.update(CTX, "/a", Update(set_props=PROP))
        assert store.move(CTX, "/a", "/b", overwrite=False) == Transfer(created=True)
        after = store.stat(CTX, "/b")
        assert after == before._replace(name="b", etag=after.etag)
        assert dict(after.digests) == digests_of(b"content", self.kept_digests)

    def test_moving_over_a_file_leaves_nothing_of_that_file(self, store: Store) -> None:
        put(store, "/a", b"content", content_type="text/x", modified=LONG_AGO)
        before = store.update(CTX, "/a", Update(set_props=PROP))
        put(store, "/b", b"other content", content_type="text/y")
        target = store.update(CTX, "/b", Update(set_props=OTHER))
        assert store.move(CTX, "/a", "/b", overwrite=True) == Transfer(created=False)
        after = store.stat(CTX, "/b")
        assert after == before._replace(name="b", etag=after.etag)
        assert after.etag != target.etag

    def test_a_moved_folder_and_all_within_it_keep_their_ids_and_times(self, store: Store) -> None:
        build(store, {"/d": None, "/d/e": None, "/d/e/a": b"1", "/to": None})
        paths = ("/d", "/d/e", "/d/e/a")
        before = [store.stat(CTX, path) for path in paths]
        store.move(CTX, "/d", "/to/d", overwrite=False)
        after = [store.stat(CTX, f"/to{path}") for path in paths]
        assert [node.id for node in after] == [node.id for node in before]
        assert [node.modified for node in after] == [node.modified for node in before]
        assert [node.created for node in after] == [node.created for node in before]
        assert [node.etag for node in after][2] == before[2].etag

    def test_a_move_there_and_back_is_as_if_nothing_happened(self, store: Store) -> None:
        put(store, "/a", b"content")
        before = store.update(CTX, "/a", Update(set_props=PROP))
        store.move(CTX, "/a", "/b", overwrite=False)
        store.move(CTX, "/b", "/a", overwrite=False)
        after = store.stat(CTX, "/a")
        assert after == before._replace(etag=after.etag)

    def test_a_move_changes_the_case_of_a_name(self, store: Store) -> None:
        put(store, "/a", b"1")
        store.move(CTX, "/a", "/A", overwrite=False)
        assert tree(store) == {"A": b"1"}

    def test_properties_do_not_stay_behind_at_the_old_path(self, store: Store) -> None:
        build(store, {"/d": None, "/d/a": b"1"})
        store.update(CTX, "/d/a", Update(set_props=PROP))
        store.move(CTX, "/d", "/e", overwrite=False)
        build(store, {"/d": None, "/d/a": b"1"})
        assert store.stat(CTX, "/d/a").props == {}
        assert store.stat(CTX, "/e/a").props == PROP


class Copying(Harness):
    def test_a_copy_is_another_node_with_the_same_attributes(self, store: Store) -> None:
        before = time.time()
        put(store, "/a", b"content", content_type="text/x", modified=LONG_AGO)
        source = store.update(CTX, "/a", Update(set_props=PROP))
        assert store.copy(CTX, "/a", "/b", overwrite=False) == Transfer(created=True)
        copy = store.stat(CTX, "/b")
        assert copy.id != source.id
        assert (copy.props, copy.content_type, copy.size) == (PROP, "text/x", 7)
        assert int(copy.modified) == int(LONG_AGO)
        assert copy.created >= before - 2
        assert dict(copy.digests) == digests_of(b"content", self.kept_digests)
        assert store.stat(CTX, "/a") == source

    def test_a_copy_over_a_file_changes_that_files_entity_tag(self, store: Store) -> None:
        build(store, {"/a": b"same", "/b": b"same"})
        before = store.stat(CTX, "/b").etag
        assert not store.copy(CTX, "/a", "/b", overwrite=True).created
        assert store.stat(CTX, "/b").etag != before

    def test_the_entity_tag_of_a_copy_never_repeats(self, store: Store) -> None:
        put(store, "/a", b"same")
        seen = [store.stat(CTX, "/a").etag]
        for _ in range(20):
            store.copy(CTX, "/a", "/b", overwrite=True)
            seen.append(store.stat(CTX, "/b").etag)
        assert len(set(seen)) == len(seen)

    @pytest.mark.parametrize("recursive", [True, False])
    def test_a_file_is_not_copied_to_a_path_below_itself(
        self, store: Store, recursive: bool
    ) -> None:
        put(store, "/a", b"1")
        for target in ("/a/b", "/a/b/c"):
            with pytest.raises(IntoItself):
                store.copy(CTX, "/a", target, overwrite=True, recursive=recursive)
        assert tree(store) == {"a": b"1"}

    def test_source_and_copy_are_independent_of_each_other(self, store: Store) -> None:
        build(store, {"/d": None, "/d/a": b"1", "/d/b": b"2"})
        store.update(CTX, "/d/a", Update(set_props=PROP))
        store.copy(CTX, "/d", "/e", overwrite=False)
        put(store, "/d/a", b"changed")
        store.update(CTX, "/d/a", Update(set_props=OTHER, remove_props=list(PROP)))
        store.delete(CTX, "/d/b")
        put(store, "/e/new", b"3")
        assert tree(store, "/e") == {"a": b"1", "b": b"2", "new": b"3"}
        assert store.stat(CTX, "/e/a").props == PROP
        store.delete(CTX, "/d")
        assert read(store, "/e/a") == b"1"

    def test_a_copy_that_is_not_recursive_takes_the_folder_without_its_members(
        self, store: Store
    ) -> None:
        build(store, {"/d": None, "/d/a": b"1", "/d/e": None, "/t": None, "/t/old": b"2"})
        store.update(CTX, "/d", Update(set_props=PROP))
        for target, created in (("/new", True), ("/t", False)):
            outcome = store.copy(CTX, "/d", target, overwrite=True, recursive=False)
            assert outcome == Transfer(created=created)
            assert store.stat(CTX, target).props == PROP
            assert names(store, target) == []

    def test_a_copy_that_is_not_recursive_takes_a_file_whole(self, store: Store) -> None:
        put(store, "/a", b"1")
        store.copy(CTX, "/a", "/b", overwrite=False, recursive=False)
        assert read(store, "/b") == b"1"

    def test_a_folder_without_its_members_can_be_copied_into_itself(self, store: Store) -> None:
        build(store, {"/d": None, "/d/a": b"1"})
        store.update(CTX, "/d", Update(set_props=PROP))
        assert store.copy(CTX, "/d", "/d/in", overwrite=False, recursive=False).created
        assert tree(store, "/d") == {"a": b"1", "in": None}
        assert store.stat(CTX, "/d/in").props == PROP

    def test_a_folder_without_its_members_does_not_replace_one_that_it_lies_in(
        self, store: Store
    ) -> None:
        build(store, {"/d": None, "/d/e": None})
        for target in ("/d", "/d/e"):
            with pytest.raises(IntoItself):
                store.copy(CTX, "/d/e", target, overwrite=True, recursive=False)
        assert tree(store) == {"d": None, "d/e": None}


class Updating(Harness):
    def test_properties_are_set_replaced_and_removed(self, store: Store) -> None:
        build(store, {"/a": b"1", "/d": None})
        for path in ("/a", "/d", "/"):
            node = store.update(CTX, path, Update(set_props=PROP | OTHER))
            assert node.props == PROP | OTHER
            change = Update(set_props={"{urn:x}shape": "<s/>"}, remove_props=list(PROP))
            assert store.update(CTX, path, change).props == {"{urn:x}shape": "<s/>"}
            assert store.stat(CTX, path).props == {"{urn:x}shape": "<s/>"}

    def test_removing_a_property_that_is_not_there_is_no_error(self, store: Store) -> None:
        put(store, "/a", b"")
        assert store.update(CTX, "/a", Update(remove_props=["{urn:x}none"])).props == {}

    def test_property_names_with_any_characters_stay_apart(self, store: Store) -> None:
        put(store, "/a", b"")
        wanted = {name: f"<p>{name}</p>" for name in ("{}p", "{$x}p", "{a.b}p.q", "{a}P", "{ä}中")}
        store.update(CTX, "/a", Update(set_props=wanted))
        assert store.stat(CTX, "/a").props == wanted
        store.update(CTX, "/a", Update(remove_props=["{a.b}p.q", "{$x}p"]))
        assert set(store.stat(CTX, "/a").props) == {"{}p", "{a}P", "{ä}中"}

    def test_an_update_sets_the_modification_time(self, store: Store) -> None:
        build(store, {"/a": b"content", "/d": None})
        for path in ("/a", "/d"):
            assert store.update(CTX, path, Update(modified=LONG_AGO)).modified == LONG_AGO
            assert store.stat(CTX, path).modified == LONG_AGO

    def test_the_time_that_a_write_tells_is_the_one_that_is_kept(self, store: Store) -> None:
        """Also where a store keeps fewer digits than came, and where nobody gave one."""
        for number, modified in enumerate((LONG_AGO + 0.1239567, -0.0005, None)):
            written = put(store, f"/{number}", b"content", modified=modified).node
            assert store.stat(CTX, f"/{number}").modified == written.modified
            assert store.stat(CTX, f"/{number}").created == written.created

    def test_content_and_digests_are_not_touched_by_an_update(self, store: Store) -> None:
        before = put(store, "/a", b"content").node
        after = store.update(CTX, "/a", Update(set_props=PROP, modified=LONG_AGO))
        assert read(store, "/a") == b"content"
        kept = ("id", "size", "etag", "digests", "created")
        assert [getattr(after, key) for key in kept] == [getattr(before, key) for key in kept]
        assert store.stat(CTX, "/a") == after

    def test_properties_alone_do_not_change_the_modification_time_of_a_file(
        self, store: Store
    ) -> None:
        before = put(store, "/a", b"content", modified=LONG_AGO).node
        assert store.update(CTX, "/a", Update(set_props=PROP)).modified == before.modified

    def test_updating_nothing_is_not_found(self, store: Store) -> None:
        put(store, "/a", b"")
        for path in ("/nothing", "/nothing/below", "/a/below"):
            with pytest.raises(NotFound):
                store.update(CTX, path, Update(set_props=PROP))
            assert find(store, path) is None

    def test_more_than_a_mebibyte_of_properties_is_refused_and_changes_nothing(
        self, store: Store
    ) -> None:
        put(store, "/a", b"")
        before = store.update(CTX, "/a", Update(set_props=PROP))
        large = {"{urn:x}large": "x" * (MAX_PROPS_BYTES + 1)}
        with pytest.raises(QuotaExceeded):
            store.update(
                CTX, "/a", Update(set_props=large, remove_props=list(PROP), modified=LONG_AGO)
            )
        assert store.stat(CTX, "/a") == before

    def test_the_limit_of_properties_holds_for_all_of_a_nodes_together(self, store: Store) -> None:
        put(store, "/a", b"")
        half = {"{urn:x}one": "x" * (MAX_PROPS_BYTES // 2)}
        store.update(CTX, "/a", Update(set_props=half))
        other_half = {"{urn:x}two": "ü" * (MAX_PROPS_BYTES // 4 + 1)}
        with pytest.raises(QuotaExceeded):
            store.update(CTX, "/a", Update(set_props=other_half))
        assert store.stat(CTX, "/a").props == half
        assert (
            store.update(CTX, "/a", Update(set_props=other_half, remove_props=list(half))).props
            == other_half
        )
