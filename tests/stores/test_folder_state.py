"""What the folder store remembers beside the files, and files that others change."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from davstore.errors import Forbidden, FormatTooNew, NotFound, QuotaExceeded
from davstore.stores.base import DIGESTS, HasUsage, Store, Update
from davstore.stores.folder import FolderStore
from tests.stores.harness import (
    CTX,
    attributes_of_tree,
    build,
    digests_of,
    find,
    names,
    opened,
    pattern,
    put,
    read,
    settle,
    used,
)

PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}


def open_share(
    home: Path, share: str = "share", digests: Sequence[str] = ("sha1", "sha256"), **settings: Any
) -> Store:
    (home / share).mkdir(exist_ok=True)
    return FolderStore(
        home / share,
        state=home / "state",
        share=f"/{share}",
        durability="rename",
        digests=digests,
        **settings,
    )


@pytest.mark.parametrize("kept", [(), ("md5",), ("sha256",), DIGESTS], ids="+".join)
def test_the_digests_that_are_kept_are_those_that_are_configured(
    tmp_path: Path, kept: tuple[str, ...]
) -> None:
    content = pattern(100_000)
    with opened(functools.partial(open_share, tmp_path, digests=kept)) as store:
        assert dict(put(store, "/a", content).node.digests) == digests_of(content, kept)
        with store.upload(CTX, "/b") as upload:
            upload.write(content)
            upload.commit(expected_digests=digests_of(content, DIGESTS))
        assert dict(store.stat(CTX, "/b").digests) == digests_of(content, kept)


def test_a_file_that_somebody_else_changed_has_a_new_tag_and_no_digests(tmp_path: Path) -> None:
    with opened(functools.partial(open_share, tmp_path)) as store:
        put(store, "/a", b"content", content_type="text/x")
        before = store.update(CTX, "/a", Update(PROP))
        with (tmp_path / "share" / "a").open("r+b") as file:
            file.write(b"CONTENT")
        after = store.stat(CTX, "/a")
        assert after.etag != before.etag
        assert (after.digests, after.content_type) == ({}, None)
        assert (after.id, after.props) == (before.id, PROP)
        assert [node.etag for node in store.list(CTX, "/")] == [after.etag]
        store.move(CTX, "/a", "/b", overwrite=False)
        assert store.stat(CTX, "/b").digests == {}
        assert put(store, "/b", b"new").node.digests == digests_of(b"new", ("sha1", "sha256"))


def test_the_time_alone_set_back_by_somebody_else_does_not_bring_the_old_tag_back(
    tmp_path: Path,
) -> None:
    with opened(functools.partial(open_share, tmp_path)) as store:
        before = put(store, "/a", b"content").node
        file = tmp_path / "share" / "a"
        found = file.stat()
        file.write_bytes(b"CONTENT")
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
        after = store.stat(CTX, "/a")
        assert after.etag != before.etag
        assert after.digests == {}


def test_files_that_somebody_else_put_there_are_served_and_can_be_changed(tmp_path: Path) -> None:
    with opened(functools.partial(open_share, tmp_path)) as store:
        (tmp_path / "share" / "d").mkdir()
        (tmp_path / "share" / "d" / "x").write_bytes(b"outside")
        assert read(store, "/d/x") == b"outside"
        assert store.update(CTX, "/d/x", Update(PROP)).props == PROP
        store.move(CTX, "/d", "/e", overwrite=False)
        assert store.stat(CTX, "/e/x").props == PROP


def test_a_walk_counts_what_others_put_there(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "x").write_bytes(b"12345")
    with opened(functools.partial(open_share, tmp_path)) as store:
        assert isinstance(store, HasUsage)
        assert store.usage(CTX).used is None
        assert used(store) == 5
        (tmp_path / "share" / "y").write_bytes(b"123")
        settle(store, 4e9)
        assert store.usage(CTX).used == 8


def test_two_shares_with_one_state_folder_do_not_meet(tmp_path: Path) -> None:
    with (
        opened(functools.partial(open_share, tmp_path, "one")) as one,
        opened(functools.partial(open_share, tmp_path, "two")) as two,
    ):
        build(one, {"/d": None, "/d/a": b"1"})
        one.update(CTX, "/d/a", Update(PROP))
        build(two, {"/d": None, "/d/a": b"22"})
        assert two.stat(CTX, "/d/a").props == {}
        two.delete(CTX, "/d")
        settle(two)
        assert one.stat(CTX, "/d/a").props == PROP
        assert (used(one), used(two)) == (1, 0)


def test_a_share_that_is_read_only_is_read_and_not_changed(tmp_path: Path) -> None:
    with opened(functools.partial(open_share, tmp_path)) as store:
        build(store, {"/a": b"1", "/d": None})
        before = attributes_of_tree(store)
    with opened(functools.partial(open_share, tmp_path, read_only=True)) as store:
        assert attributes_of_tree(store) == before
        for change in (
            lambda: store.upload(CTX, "/b"),
            lambda: store.upload(CTX, "/a"),
            lambda: store.create_folder(CTX, "/e"),
            lambda: store.delete(CTX, "/a"),
            lambda: store.move(CTX, "/a", "/b", overwrite=False),
            lambda: store.copy(CTX, "/a", "/b", overwrite=False),
            lambda: store.update(CTX, "/a", Update(PROP)),
        ):
            with pytest.raises(Forbidden):
                change()
        settle(store)
        assert attributes_of_tree(store) == before


def test_a_quota_bounds_uploads_and_copies_but_lets_a_file_be_replaced(tmp_path: Path) -> None:
    with opened(functools.partial(open_share, tmp_path, quota=100_000)) as store:
        assert isinstance(store, HasUsage)
        used(store)
        put(store, "/a", pattern(60_000))
        assert store.usage(CTX) == (60_000, 40_000)
        with pytest.raises(QuotaExceeded):
            put(store, "/b", pattern(40_001))
        with pytest.raises(QuotaExceeded):
            store.copy(CTX, "/a", "/b", overwrite=False)
        put(store, "/a", pattern(90_000))
        put(store, "/b", pattern(10_000))
        assert names(store) == ["a", "b"]
        assert used(store) == 100_000


def test_a_state_file_of_a_newer_davstore_is_refused_and_not_touched(tmp_path: Path) -> None:
    with opened(functools.partial(open_share, tmp_path)) as store:
        put(store, "/a", b"1")
    db = sqlite3.connect(tmp_path / "state" / "nodes.db")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version + 1}")
    db.close()
    with pytest.raises(FormatTooNew) as refusal:
        open_share(tmp_path)
    assert "nodes.db" in str(refusal.value)
    db = sqlite3.connect(tmp_path / "state" / "nodes.db")
    assert db.execute("PRAGMA user_version").fetchone() == (version + 1,)
    db.close()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        FolderStore(
            tmp_path / "nothing",
            state=tmp_path / "state",
            share="/",
            durability="full",
            digests=(),
        )
    assert not (tmp_path / "nothing").exists()


def test_properties_of_what_others_deleted_do_not_come_back_with_a_new_file(
    tmp_path: Path,
) -> None:
    with opened(functools.partial(open_share, tmp_path)) as store:
        put(store, "/a", b"1")
        store.update(CTX, "/a", Update(PROP))
        (tmp_path / "share" / "a").unlink()
        assert find(store, "/a") is None
        assert put(store, "/a", b"2").node.props == {}
