"""The folder store where the system refuses, others meddle, or there is no room."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from davstore.errors import Forbidden, QuotaExceeded, StoreError
from davstore.stores.base import Store, Sweepable, Update
from davstore.stores.folder import trash
from tests.stores.harness import (
    CTX,
    Refusal,
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
    tree,
)
from tests.stores.mounts import mounted
from tests.stores.promises.sharing import make, some_changes
from tests.stores.test_folder import open_folder

SEED = 71
NOBODY = 65_534
PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(functools.partial(open_folder, tmp_path, "rename")) as store:
        yield store


def litter(home: Path) -> list[Path]:
    return list((home / "share").glob("**/.davstore~/*"))


def test_a_sweeper_never_disturbs_what_replaces_a_tree(store: Store, tmp_path: Path) -> None:
    build(store, {"/d": None, "/d/a": b"1", "/t": None})
    done = threading.Event()

    def sweep() -> None:
        with opened(functools.partial(open_folder, tmp_path, "rename")) as other:
            assert isinstance(other, Sweepable)
            while not done.is_set():
                other.sweep(0.0, 1.0)

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for _ in range(150):
            assert not store.copy(CTX, "/d", "/t", overwrite=True).failures
            assert tree(store, "/t") == {"a": b"1"}
            store.move(CTX, "/t", "/u", overwrite=True)
            build(store, {"/t": None})
    finally:
        done.set()
        sweeping.join()
    settle(store)
    assert litter(tmp_path) == []


def test_what_a_copy_replaced_may_be_swept_before_it_is_thrown_away(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, with the sweeper at the worst moment."""
    build(store, {"/d": None, "/d/a": b"1", "/t": None, "/t/old": b"2"})
    store.update(CTX, "/d", Update(PROP))
    throw = trash.throw
    with opened(functools.partial(open_folder, tmp_path, "rename")) as other:

        def sweep_and_throw(*arguments: object) -> str:
            monkeypatch.setattr(trash, "throw", throw)
            settle(other)
            return throw(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(trash, "throw", sweep_and_throw)
        assert not store.copy(CTX, "/d", "/t", overwrite=True).created
    assert tree(store, "/t") == {"a": b"1"}
    assert store.stat(CTX, "/t").props == PROP
    settle(store)
    assert litter(tmp_path) == []


def test_a_copy_has_the_second_of_its_source_but_not_the_nanosecond(
    store: Store, tmp_path: Path
) -> None:
    """Inode, size, mtime and ctime of two copies could all be the same otherwise."""
    put(store, "/a", b"content")
    seen = set()
    for _ in range(20):
        store.copy(CTX, "/a", "/b", overwrite=True)
        seen.add((tmp_path / "share" / "b").stat().st_mtime_ns)
    assert len(seen) == 20
    source = (tmp_path / "share" / "a").stat().st_mtime_ns
    assert {mtime // 10**9 for mtime in seen} == {source // 10**9}
    assert source not in seen


def test_a_file_from_a_time_that_64_bits_of_nanoseconds_cannot_hold_is_copied(
    store: Store, tmp_path: Path
) -> None:
    put(store, "/a", b"content")
    year_2300 = 10_413_792_000
    os.utime(tmp_path / "share" / "a", (year_2300, year_2300))
    if (tmp_path / "share" / "a").stat().st_mtime != year_2300:
        return  # nor can this file system
    store.copy(CTX, "/a", "/b", overwrite=False)
    assert read(store, "/b") == b"content"
    store.move(CTX, "/b", "/c", overwrite=False)
    assert read(store, "/c") == b"content"


def test_set_user_id_does_not_stay_on_a_content_that_was_replaced(
    store: Store, tmp_path: Path
) -> None:
    put(store, "/a", b"program")
    (tmp_path / "share" / "a").chmod(0o6755)
    put(store, "/a", b"another program")
    assert (tmp_path / "share" / "a").stat().st_mode & 0o7777 == 0o755


def test_no_descriptor_is_left_open_whatever_was_done(store: Store) -> None:
    print(f"seed {SEED}")

    def work() -> None:
        for change in some_changes(SEED, 300):
            make(store, change)
        for error in (QuotaExceeded, Forbidden):
            for path in ("/x", "/x/y"):
                with contextlib.suppress(StoreError):
                    put(store, path, b"x", guard=Refusal(error=error))
        listing = iter(store.list(CTX, "/"))
        next(listing)
        del listing
        with contextlib.suppress(StoreError):
            store.open(CTX, "/")
        upload = store.upload(CTX, "/dropped")
        upload.write(b"x")
        del upload
        settle(store)

    work()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        work()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_link_in_the_place_of_the_reserved_folder_is_not_followed(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "share" / ".davstore~").symlink_to("../outside")
    with pytest.raises(StoreError):
        put(store, "/a", b"x")
    assert list((tmp_path / "outside").iterdir()) == []
    assert names(store) == []


@contextlib.contextmanager
def as_nobody() -> Iterator[Path]:
    """A place of somebody's who has no right to overrule permissions."""
    home = Path(tempfile.mkdtemp(prefix="davstore-test-"))
    os.chown(home, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield home
    finally:
        os.seteuid(0)
        shutil.rmtree(home)


def test_a_deleted_tree_with_read_only_folders_is_taken_apart_without_being_root() -> None:
    assert os.geteuid() == 0, "becoming somebody else needs root"
    with as_nobody() as home, opened(functools.partial(open_folder, home, "rename")) as store:
        build(store, {"/d": None, "/d/a": None, "/d/a/b": None, "/d/a/b/x": b"1"})
        for path in ("d/a/b", "d/a"):
            (home / "share" / path).chmod(0o500)
        store.delete(CTX, "/d")
        settle(store)
        assert names(store) == []
        assert litter(home) == []


def test_what_the_system_forbids_is_forbidden_and_changes_nothing() -> None:
    with as_nobody() as home, opened(functools.partial(open_folder, home, "rename")) as store:
        build(store, {"/d": None, "/d/a": b"1", "/e": None, "/e/b": b"2"})
        (home / "share" / "d").chmod(0o500)
        before = attributes_of_tree(store)
        for change in (
            lambda: put(store, "/d/a", b"new"),
            lambda: put(store, "/d/new", b"new"),
            lambda: store.delete(CTX, "/d/a"),
            lambda: store.create_folder(CTX, "/d/new"),
            lambda: store.move(CTX, "/d/a", "/new", overwrite=False),
            lambda: store.move(CTX, "/e/b", "/d/new", overwrite=False),
            lambda: store.move(CTX, "/e", "/d/a", overwrite=True),
            lambda: store.copy(CTX, "/e", "/d/a", overwrite=True),
            lambda: store.copy(CTX, "/e/b", "/d/new", overwrite=False),
        ):
            with pytest.raises(Forbidden):
                change()
            assert attributes_of_tree(store) == before
        settle(store)
        assert attributes_of_tree(store) == before
        assert litter(home) == []


def fill_up(store: Store, ballast: Path) -> None:
    """Leave no room to the state file, nor in the part of its log that it has already."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 512):
            pass
    chance = random.Random(SEED)
    with contextlib.suppress(StoreError):
        while True:
            store.update(CTX, "/b", Update({"{urn:x}p": chance.randbytes(2000).hex()}))


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Store, Path]]:
    """A store whose state folder has no room left, and what takes the room."""
    (tmp_path / "state").mkdir()
    options = ("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "state"))
    with mounted(*options), opened(functools.partial(open_folder, tmp_path)) as store:
        build(store, {"/a": b"1", "/b": b"2", "/d": None, "/d/x": b"3"})
        store.update(CTX, "/a", Update(PROP))
        ballast = tmp_path / "state" / "ballast"
        fill_up(store, ballast)
        yield store, ballast


def test_a_full_state_folder_costs_digests_but_no_content(
    full: tuple[Store, Path], caplog: pytest.LogCaptureFixture
) -> None:
    store, ballast = full
    assert put(store, "/a", b"new").created is False
    assert put(store, "/e", pattern(100_000)).created
    assert read(store, "/a") == b"new"
    assert store.stat(CTX, "/a").props == PROP
    store.delete(CTX, "/d")
    assert find(store, "/d") is None
    assert caplog.records
    ballast.unlink()
    assert dict(put(store, "/e", b"e").node.digests) == digests_of(b"e", ("sha1", "sha256"))
    settle(store)


def test_a_full_state_folder_refuses_what_needs_it_and_nothing_has_changed(
    full: tuple[Store, Path], tmp_path: Path
) -> None:
    store, ballast = full
    before = attributes_of_tree(store)
    for change in (
        lambda: store.move(CTX, "/a", "/c", overwrite=False),
        lambda: store.copy(CTX, "/d", "/c", overwrite=False),
        lambda: store.update(CTX, "/a", Update({"{urn:x}more": "<p/>"})),
    ):
        with pytest.raises(QuotaExceeded):
            change()
        assert attributes_of_tree(store) == before
    modified = store.stat(CTX, "/d/x").modified
    with pytest.raises(QuotaExceeded):
        store.update(CTX, "/d/x", Update(modified=1.0))
    assert store.stat(CTX, "/d/x").modified == modified
    before = attributes_of_tree(store)
    upload = store.upload(CTX, "/c")
    upload.write(b"x")
    with pytest.raises(QuotaExceeded):
        upload.persist(60)
    upload.abort()
    assert attributes_of_tree(store) == before
    ballast.unlink()
    settle(store)
    store.move(CTX, "/a", "/c", overwrite=False)
    assert store.stat(CTX, "/c").props == PROP
    assert litter(tmp_path) == []


def test_an_upload_that_cannot_be_thrown_away_tells_of_its_first_error(
    full: tuple[Store, Path], tmp_path: Path
) -> None:
    store, ballast = full
    os.truncate(ballast, 0)
    upload = store.upload(CTX, "/c")
    upload.write(b"x")
    upload.persist(60)
    fill_up(store, ballast)
    with pytest.raises(Forbidden):
        upload.commit(guard=Refusal(error=Forbidden))
    assert upload.is_over
    ballast.unlink()
    settle(store, 2e10)
    assert litter(tmp_path) == []
    assert find(store, "/c") is None
