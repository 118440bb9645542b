"""Uploads: visibility, what is replaced and what is kept, lengths and digests."""

from __future__ import annotations

import hashlib
import time

import pytest

from davstore.errors import (
    DigestMismatch,
    IsAFolder,
    LengthMismatch,
    NotAFolder,
    ParentMissing,
)
from davstore.stores.base import DIGESTS, Attributes, Store, Update
from tests.stores.harness import (
    CTX,
    Harness,
    Opener,
    build,
    digests_of,
    find,
    names,
    opened,
    pattern,
    put,
    read,
    settle,
    tree,
)

PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}


class Writing(Harness):
    def test_nothing_of_an_upload_is_visible_before_its_commit(self, store: Store) -> None:
        with store.upload(CTX, "/a") as upload:
            upload.write(b"some")
            assert find(store, "/a") is None
            assert names(store) == []
            committed = upload.commit()
        assert committed.created
        assert committed.node == store.stat(CTX, "/a")
        assert read(store, "/a") == b"some"

    def test_until_its_commit_an_upload_leaves_the_old_content_readable(self, store: Store) -> None:
        put(store, "/a", b"old")
        with store.upload(CTX, "/a") as upload:
            upload.write(b"newer")
            assert read(store, "/a") == b"old"
            assert names(store) == ["a"]
            assert not upload.commit().created
        assert read(store, "/a") == b"newer"

    def test_an_upload_counts_the_bytes_that_it_received(self, store: Store) -> None:
        with store.upload(CTX, "/a") as upload:
            assert (upload.path, upload.offset) == ("/a", 0)
            upload.write(b"12345")
            upload.write(memoryview(b"678"))
            upload.write(b"")
            assert upload.offset == 8

    def test_an_aborted_upload_changes_nothing_and_leaves_nothing(self, store: Store) -> None:
        put(store, "/a", b"old")
        before = store.stat(CTX, "/a")
        upload = store.upload(CTX, "/a")
        upload.write(b"half of the ne")
        assert not upload.is_over
        upload.abort()
        upload.abort()
        assert upload.is_over
        settle(store)
        assert store.stat(CTX, "/a") == before
        assert tree(store) == {"a": b"old"}

    def test_leaving_the_context_without_commit_aborts(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError), store.upload(CTX, "/a") as upload:
            upload.write(b"half")
            raise ZeroDivisionError
        assert upload.is_over
        assert names(store) == []

    def test_sizes_around_every_border_come_back_byte_for_byte(self, store: Store) -> None:
        borders = {0, 1, 4095, 4096, self.inline_limit, self.inline_limit + 1, 1 << 20}
        borders |= {self.chunk_size - 1, 3 * self.chunk_size, 3 * self.chunk_size + 1}
        for size in sorted(borders):
            content = pattern(size)
            node = put(store, f"/{size}", content).node
            assert node.size == size
            assert read(store, f"/{size}") == content, f"size {size}"

    def test_a_file_can_grow_and_shrink_across_every_border(self, store: Store) -> None:
        for size in (0, 10, 100_000, self.inline_limit, 2_500_000, 3, 0):
            put(store, "/a", pattern(size))
            assert store.stat(CTX, "/a").size == size
            assert read(store, "/a") == pattern(size)

    def test_replacing_keeps_id_creation_time_and_dead_properties(self, store: Store) -> None:
        put(store, "/a", b"old")
        before = store.update(CTX, "/a", Update(set_props=PROP))
        after = put(store, "/a", b"new").node
        assert (after.id, after.created, after.props) == (before.id, before.created, PROP)
        assert store.stat(CTX, "/a") == after

    def test_the_entity_tag_never_repeats_not_even_for_the_same_bytes_in_one_second(
        self, store: Store
    ) -> None:
        tags = [put(store, "/a", b"same", modified=1_600_000_000.0).node.etag for _ in range(100)]
        assert len(set(tags)) == 100
        assert store.stat(CTX, "/a").etag == tags[-1]

    def test_the_entity_tag_does_not_repeat_after_delete_and_create(self, store: Store) -> None:
        tags = []
        for _ in range(30):
            tags.append(put(store, "/a", b"same", modified=1_600_000_000.0).node.etag)
            store.delete(CTX, "/a")
        assert len(set(tags)) == 30

    def test_the_entity_tag_stays_the_same_while_the_content_does(self, store: Store) -> None:
        tag = put(store, "/a", b"content").node.etag
        store.update(CTX, "/a", Update(set_props=PROP))
        put(store, "/b", b"content")
        assert store.stat(CTX, "/a").etag == tag
        assert store.stat(CTX, "/b").etag != tag

    def test_a_new_file_has_times_of_now(self, store: Store) -> None:
        before = time.time()
        node = put(store, "/a", b"x").node
        assert before - 2 <= node.created <= time.time() + 2
        assert before - 2 <= node.modified <= time.time() + 2

    def test_a_modification_time_that_the_client_gives_is_kept(self, store: Store) -> None:
        node = put(store, "/a", b"x", modified=1_234_567_890.0).node
        assert int(node.modified) == 1_234_567_890
        assert store.stat(CTX, "/a") == node

    def test_the_content_type_is_what_the_last_upload_said(self, store: Store) -> None:
        assert put(store, "/a", b"x").node.content_type is None
        assert put(store, "/a", b"x", content_type="text/x").node.content_type == "text/x"
        assert store.stat(CTX, "/a").content_type == "text/x"
        assert put(store, "/a", b"x").node.content_type is None

    def test_the_configured_digests_are_kept_from_the_commit_on(self, store: Store) -> None:
        for size in (0, 5, 100_000):
            content = pattern(size)
            node = put(store, "/a", content).node
            assert dict(node.digests) == digests_of(content, self.kept_digests)
            assert store.stat(CTX, "/a") == node

    @pytest.mark.parametrize("length", [0, 4, 6])
    def test_another_length_than_announced_changes_nothing(self, store: Store, length: int) -> None:
        put(store, "/a", b"old")
        before = store.stat(CTX, "/a")
        for path in ("/a", "/b"):
            upload = store.upload(CTX, path)
            upload.write(b"12345")
            with pytest.raises(LengthMismatch):
                upload.commit(expected_length=length)
            assert upload.is_over
        assert store.stat(CTX, "/a") == before
        assert tree(store) == {"a": b"old"}

    @pytest.mark.parametrize("algorithm", DIGESTS)
    def test_another_digest_than_announced_changes_nothing(
        self, store: Store, algorithm: str
    ) -> None:
        put(store, "/a", b"old")
        before = store.stat(CTX, "/a")
        wrong = hashlib.new(algorithm, b"something else").hexdigest()
        for path in ("/a", "/b"):
            upload = store.upload(CTX, path)
            upload.write(b"12345")
            with pytest.raises(DigestMismatch):
                upload.commit(expected_digests={algorithm: wrong})
            assert upload.is_over
        assert store.stat(CTX, "/a") == before
        assert tree(store) == {"a": b"old"}

    def test_right_digests_are_accepted_whether_they_are_kept_or_not(self, store: Store) -> None:
        content = pattern(300_000)
        for number, size in enumerate((0, 10, 300_000)):
            with store.upload(CTX, f"/{number}") as upload:
                for at in range(0, size, 70_000):
                    upload.write(content[at : min(at + 70_000, size)])
                upload.commit(
                    expected_length=size, expected_digests=digests_of(content[:size], DIGESTS)
                )
            assert read(store, f"/{number}") == content[:size]

    def test_one_wrong_digest_among_right_ones_is_enough(self, store: Store) -> None:
        claimed = digests_of(b"content", DIGESTS) | {"md5": "0" * 32}
        with pytest.raises(DigestMismatch), store.upload(CTX, "/a") as upload:
            upload.write(b"content")
            upload.commit(expected_digests=claimed)
        assert names(store) == []

    def test_an_upload_into_a_missing_folder_is_refused_early(self, store: Store) -> None:
        with pytest.raises(ParentMissing):
            store.upload(CTX, "/nothing/a")
        with pytest.raises(ParentMissing):
            store.upload(CTX, "/nothing/at/all/a")

    def test_an_upload_below_a_file_is_refused_early(self, store: Store) -> None:
        put(store, "/a", b"")
        with pytest.raises(NotAFolder):
            store.upload(CTX, "/a/b")

    def test_an_upload_onto_a_folder_is_refused_early(self, store: Store) -> None:
        store.create_folder(CTX, "/d")
        for path in ("/d", "/"):
            with pytest.raises(IsAFolder):
                store.upload(CTX, path)

    def test_a_folder_that_is_deleted_during_an_upload_makes_the_commit_fail(
        self, store: Store
    ) -> None:
        build(store, {"/d": None, "/d/e": None})
        with store.upload(CTX, "/d/e/a") as upload:
            upload.write(b"content")
            store.delete(CTX, "/d")
            with pytest.raises(ParentMissing):
                upload.commit()
        assert upload.is_over
        assert names(store) == []

    def test_a_folder_that_becomes_a_file_during_an_upload_makes_the_commit_fail(
        self, store: Store
    ) -> None:
        store.create_folder(CTX, "/d")
        with store.upload(CTX, "/d/a") as upload:
            upload.write(b"content")
            store.delete(CTX, "/d")
            put(store, "/d", b"now a file")
            with pytest.raises(NotAFolder):
                upload.commit()
        assert tree(store) == {"d": b"now a file"}

    def test_a_target_that_becomes_a_folder_during_an_upload_makes_the_commit_fail(
        self, store: Store
    ) -> None:
        with store.upload(CTX, "/a") as upload:
            upload.write(b"content")
            store.create_folder(CTX, "/a")
            with pytest.raises(IsAFolder):
                upload.commit()
        assert tree(store) == {"a": None}

    def test_of_two_uploads_to_one_path_the_later_commit_is_what_remains(
        self, store: Store, other: Store
    ) -> None:
        with store.upload(CTX, "/a") as first, other.upload(CTX, "/a") as second:
            first.write(b"first")
            second.write(b"second")
            assert second.commit().created
            assert not first.commit().created
        assert read(store, "/a") == b"first"
        assert read(other, "/a") == b"first"

    def test_uploads_have_ids_of_their_own(self, store: Store) -> None:
        with store.upload(CTX, "/a") as first, store.upload(CTX, "/a") as second:
            assert first.id != second.id

    def test_what_was_written_is_there_after_closing_and_opening_again(
        self, opener: Opener
    ) -> None:
        self.needs_durability()
        with opened(opener) as store:
            build(store, {"/d": None, "/d/a": b"content"})
            store.update(CTX, "/d/a", Update(set_props=PROP))
            store.update(CTX, "/d", Update(set_props=PROP))
            put(store, "/d/b", pattern(2_000_000), content_type="image/x")
            before = list(store.list(CTX, "/d"))
        with opened(opener) as again:
            assert list(again.list(CTX, "/d")) == before
            assert again.stat(CTX, "/d").props == PROP
            assert read(again, "/d/b") == pattern(2_000_000)

    def test_attributes_are_optional(self, store: Store) -> None:
        with store.upload(CTX, "/a", Attributes(modified=86_400.0)) as upload:
            node = upload.commit().node
        assert (node.size, int(node.modified), node.content_type) == (0, 86_400, None)
