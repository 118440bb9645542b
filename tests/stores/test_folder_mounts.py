"""Other file systems, and other parts of the same one, mounted within a share."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from davstore.stores.base import ResumableUploads, Store, Update
from tests.stores.harness import CTX, attributes, build, opened, put, read, settle, tree, used
from tests.stores.mounts import mounted
from tests.stores.test_folder import open_folder

PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}


@pytest.fixture(params=["another file system", "the same file system"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store with something mounted at /in/m."""
    (tmp_path / "elsewhere").mkdir()
    mount = tmp_path / "share" / "in" / "m"
    mount.mkdir(parents=True)
    options = ["-t", "tmpfs", "tmpfs"]
    if request.param == "the same file system":
        options = ["--bind", str(tmp_path / "elsewhere")]
    with mounted(*options, str(mount)):
        with opened(functools.partial(open_folder, tmp_path, "rename")) as store:
            yield store


def litter(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "share").glob("**/.davstore~/*"))


def test_files_are_written_and_replaced_there(store: Store, tmp_path: Path) -> None:
    build(store, {"/in/m/d": None, "/in/m/d/x": b"old"})
    assert not put(store, "/in/m/d/x", b"new").created
    assert tree(store) == {"in": None, "in/m": None, "in/m/d": None, "in/m/d/x": b"new"}
    assert litter(tmp_path) == []


def test_moves_across_the_border_carry_everything(store: Store, tmp_path: Path) -> None:
    build(store, {"/d": None, "/d/e": None, "/d/e/x": b"content"})
    store.update(CTX, "/d/e/x", Update(PROP))
    before = attributes(store.stat(CTX, "/d/e/x"))
    for source, target in (("/d", "/in/m/d"), ("/in/m/d/e", "/e"), ("/e/x", "/in/m/x")):
        assert store.move(CTX, source, target, overwrite=False).created
    assert tree(store, "/in/m") == {"d": None, "x": b"content"}
    assert attributes(store.stat(CTX, "/in/m/x")) == before
    settle(store)
    assert litter(tmp_path) == []
    assert used(store) == 7


def test_moves_across_the_border_replace_what_is_there(store: Store, tmp_path: Path) -> None:
    build(store, {"/d": None, "/d/x": b"1", "/in/m/t": None, "/in/m/t/old": b"23"})
    assert not store.move(CTX, "/d", "/in/m/t", overwrite=True).created
    assert tree(store) == {"in": None, "in/m": None, "in/m/t": None, "in/m/t/x": b"1"}
    build(store, {"/f": b"456"})
    assert not store.move(CTX, "/in/m/t/x", "/f", overwrite=True).created
    assert read(store, "/f") == b"1"
    settle(store)
    assert litter(tmp_path) == []
    assert used(store) == 1


def test_copies_and_deletions_work_there(store: Store, tmp_path: Path) -> None:
    build(store, {"/d": None, "/d/x": b"1"})
    store.copy(CTX, "/d", "/in/m/d", overwrite=False)
    store.copy(CTX, "/in/m/d", "/in/m/e", overwrite=False)
    store.delete(CTX, "/in/m/d")
    assert tree(store, "/in/m") == {"e": None, "e/x": b"1"}
    settle(store)
    assert litter(tmp_path) == []


def test_a_persistent_upload_is_resumed_there(store: Store, tmp_path: Path) -> None:
    upload = store.upload(CTX, "/in/m/x")
    upload.write(b"first ")
    upload_id = upload.persist(3600)
    upload.suspend()
    with opened(functools.partial(open_folder, tmp_path, "rename")) as other:
        assert isinstance(other, ResumableUploads)
        settle(other)
        with other.resume(CTX, upload_id) as resumed:
            resumed.write(b"second")
            resumed.commit()
    assert read(store, "/in/m/x") == b"first second"
    assert litter(tmp_path) == []
