"""Looking, listing, opening."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from davstore.errors import IsAFolder, NotAFolder, NotFound
from davstore.stores.base import Store, Update
from tests.stores.harness import CTX, Harness, build, names, pattern, put, read


class Reading(Harness):
    def test_the_root_is_a_folder_that_is_always_there(self, store: Store) -> None:
        root = store.stat(CTX, "/")
        assert root.is_folder
        assert (root.name, root.size, root.props) == ("", 0, {})
        assert list(store.list(CTX, "/")) == []

    def test_stat_of_a_file_tells_its_name_kind_and_size(self, store: Store) -> None:
        put(store, "/a.txt", b"twelve bytes")
        node = store.stat(CTX, "/a.txt")
        assert (node.name, node.is_folder, node.size) == ("a.txt", False, 12)
        assert node.id
        assert node.etag

    def test_stat_of_nothing_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound) as caught:
            store.stat(CTX, "/nothing")
        assert caught.value.path == "/nothing"

    def test_stat_below_a_missing_folder_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.stat(CTX, "/nothing/below")

    def test_a_path_that_runs_through_a_file_is_not_found(self, store: Store) -> None:
        put(store, "/a.txt", b"x")
        with pytest.raises(NotFound):
            store.stat(CTX, "/a.txt/below")
        with pytest.raises(NotFound):
            store.open(CTX, "/a.txt/below")
        with pytest.raises(NotFound):
            store.list(CTX, "/a.txt/below")

    def test_every_node_has_an_id_of_its_own(self, store: Store) -> None:
        build(store, {"/a": None, "/b": None, "/a/x": b"1", "/b/x": b"1"})
        assert len({store.stat(CTX, path).id for path in ("/", "/a", "/b", "/a/x", "/b/x")}) == 5

    def test_a_listed_node_is_equal_to_the_node_that_stat_gives(self, store: Store) -> None:
        build(store, {"/d": None, "/d/sub": None, "/d/file": b"content"})
        put(store, "/d/typed", b"{}", content_type="application/json")
        store.update(CTX, "/d/file", Update(set_props={"{urn:x}p": '<p xmlns="urn:x">1</p>'}))
        store.update(CTX, "/d/sub", Update(set_props={"{urn:x}q": '<q xmlns="urn:x"/>'}))
        listed = list(store.list(CTX, "/d"))
        assert [node.name for node in listed] == ["file", "sub", "typed"]
        assert listed == [store.stat(CTX, f"/d/{node.name}") for node in listed]

    def test_members_come_in_the_order_of_code_points(self, store: Store) -> None:
        members = ["Z", "a", "B", "ä", "z", "10", "9", "é", "中", "\U0001f600", "\uffee", "_", "~"]
        for name in members:
            put(store, f"/{name}", b"")
        assert names(store) == sorted(members)

    def test_an_opened_folder_is_the_folder_and_its_members(self, store: Store) -> None:
        build(store, {"/d": None, "/d/a": b"1", "/d/b": None, "/d/b/c": b"2", "/e": b""})
        for path in ("/", "/d", "/d/b"):
            folder, members = store.open_folder(CTX, path)
            assert folder == store.stat(CTX, path)
            assert list(members) == list(store.list(CTX, path))
        with pytest.raises(NotAFolder):
            store.open_folder(CTX, "/e")
        with pytest.raises(NotFound):
            store.open_folder(CTX, "/nothing")

    def test_a_listing_holds_the_members_only_and_not_what_is_deeper(self, store: Store) -> None:
        build(store, {"/a": None, "/a/b": None, "/a/b/c": b"", "/ab": b""})
        assert names(store, "/") == ["a", "ab"]
        assert names(store, "/a") == ["b"]

    def test_after_and_limit_page_through_a_folder(self, store: Store) -> None:
        members = [f"{number:02}" for number in range(10)]
        for name in members:
            put(store, f"/{name}", b"")
        assert names(store, limit=3) == members[:3]
        assert names(store, after="02", limit=3) == members[3:6]
        assert names(store, after="08") == ["09"]
        assert names(store, after="09") == []
        assert names(store, limit=0) == []

    def test_after_need_not_be_a_member(self, store: Store) -> None:
        for name in ("b", "d"):
            put(store, f"/{name}", b"")
        assert names(store, after="a") == ["b", "d"]
        assert names(store, after="c") == ["d"]
        assert names(store, after="e") == []

    def test_ten_thousand_members_are_listed_each_once_and_in_order(self, store: Store) -> None:
        members = sorted(f"{number * 7919 % 10_000:x}" for number in range(10_000))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: store.create_folder(CTX, f"/{name}"), members))
        assert names(store) == members
        paged: list[str] = []
        while page := names(store, after=paged[-1] if paged else None, limit=999):
            paged += page
        assert paged == members

    def test_a_listing_survives_changes_of_the_folder_meanwhile(self, store: Store) -> None:
        for number in range(50):
            put(store, f"/{number:02}", b"")
        listing = store.list(CTX, "/")
        seen = [next(listing).name]
        store.delete(CTX, "/49")
        store.delete(CTX, "/30")
        put(store, "/99", b"")
        seen += [node.name for node in listing]
        assert seen == sorted(set(seen))
        assert set(seen) >= {f"{number:02}" for number in range(50)} - {"30", "49"}

    def test_listing_a_file_is_not_a_folder_at_the_call_itself(self, store: Store) -> None:
        put(store, "/a.txt", b"")
        with pytest.raises(NotAFolder):
            store.list(CTX, "/a.txt")

    def test_listing_nothing_is_not_found_at_the_call_itself(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.list(CTX, "/nothing")

    def test_opening_nothing_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.open(CTX, "/nothing")

    def test_opening_a_folder_is_refused(self, store: Store) -> None:
        store.create_folder(CTX, "/d")
        for path in ("/d", "/"):
            with pytest.raises(IsAFolder):
                store.open(CTX, path)

    def test_a_reader_tells_the_node_that_it_reads(self, store: Store) -> None:
        put(store, "/a", b"abc")
        with store.open(CTX, "/a") as reader:
            assert reader.node == store.stat(CTX, "/a")

    @pytest.mark.parametrize(
        ("start", "length"),
        [(0, 0), (0, 1), (0, 3_000_000), (1, 4095), (4096, 4096), (1_048_575, 2), (2_999_999, 1)],
    )
    def test_a_range_gives_exactly_its_bytes(self, store: Store, start: int, length: int) -> None:
        content = pattern(3_000_000)
        put(store, "/big", content)
        with store.open(CTX, "/big") as reader:
            pieces = list(reader.chunks(start, length))
            assert b"".join(pieces) == content[start : start + length]
            assert max(map(len, pieces), default=0) <= 4 << 20

    def test_many_ranges_can_be_read_from_one_reader_in_any_order(self, store: Store) -> None:
        content = pattern(200_000)
        put(store, "/big", content)
        with store.open(CTX, "/big") as reader:
            for start in (150_000, 0, 65_535, 199_990):
                assert b"".join(reader.chunks(start, 10)) == content[start : start + 10]

    def test_a_span_if_offered_holds_the_same_bytes_as_the_chunks(self, store: Store) -> None:
        content = pattern(70_000)
        put(store, "/big", content)
        with store.open(CTX, "/big") as reader:
            span = reader.span(1000, 60_000)
            if span is not None:
                assert span.length == 60_000
                assert os.pread(span.fd, span.length, span.offset) == content[1000:61_000]

    def test_a_reader_keeps_its_version_while_the_file_is_replaced(self, store: Store) -> None:
        old = pattern(3_000_000)
        put(store, "/a", old)
        with store.open(CTX, "/a") as reader:
            pieces = reader.chunks(0, len(old))
            first = next(pieces)
            put(store, "/a", b"new")
            assert first + b"".join(pieces) == old
            assert b"".join(reader.chunks(10, 100)) == old[10:110]
        assert read(store, "/a") == b"new"

    def test_a_reader_keeps_its_version_while_the_file_is_deleted(self, store: Store) -> None:
        old = pattern(3_000_000)
        store.create_folder(CTX, "/d")
        put(store, "/d/a", old)
        with store.open(CTX, "/d/a") as reader:
            store.delete(CTX, "/d")
            assert b"".join(reader.chunks(0, len(old))) == old

    def test_a_reader_keeps_its_version_while_the_file_is_moved_away(self, store: Store) -> None:
        build(store, {"/a": b"old", "/b": b"other"})
        with store.open(CTX, "/a") as reader:
            store.move(CTX, "/b", "/a", overwrite=True)
            assert b"".join(reader.chunks(0, 3)) == b"old"

    def test_a_reader_can_be_closed_twice(self, store: Store) -> None:
        put(store, "/a", b"abc")
        reader = store.open(CTX, "/a")
        reader.close()
        reader.close()

    def test_another_instance_sees_at_once_what_was_written(
        self, store: Store, other: Store
    ) -> None:
        build(store, {"/d": None, "/d/a": b"one"})
        assert names(other, "/d") == ["a"]
        put(store, "/d/a", b"two")
        assert read(other, "/d/a") == b"two"
        store.update(CTX, "/d/a", Update(set_props={"{urn:x}p": '<p xmlns="urn:x"/>'}))
        assert other.stat(CTX, "/d/a") == store.stat(CTX, "/d/a")
        other.move(CTX, "/d", "/e", overwrite=False)
        assert names(store) == ["e"]
        store.delete(CTX, "/e")
        assert names(other) == []
