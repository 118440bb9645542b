"""What a folder store shows of a directory, and what it never reaches."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from davstore.errors import Forbidden, NotFound, ParentMissing, StoreError
from davstore.stores.base import Store, Update
from davstore.stores.folder import syscalls
from davstore.stores.folder.resolve import Means
from davstore.stores.folder.syscalls import Found, birth_time, look
from tests.stores.harness import CTX, build, find, names, opened, put, read, settle
from tests.stores.test_folder import open_folder

NFC = unicodedata.normalize("NFC", "Übergröße")
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture(params=["kernel", "portable"])
def means(request: pytest.FixtureRequest) -> Means:
    chosen: Means = request.param
    return chosen


@pytest.fixture
def store(tmp_path: Path, means: Means) -> Iterator[Store]:
    with opened(functools.partial(open_folder, tmp_path, "rename", means)) as store:
        yield store


@pytest.fixture
def share(tmp_path: Path, store: Store) -> Path:
    return tmp_path / "share"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the share, with a secret in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"secret")
    return outside


def test_a_name_in_nfd_on_disk_is_listed_and_found_in_nfc(store: Store, share: Path) -> None:
    (share / NFD / NFD).mkdir(parents=True)
    (share / NFD / NFD / NFD).write_bytes(b"content")
    assert names(store) == [NFC]
    path = f"/{NFC}/{NFC}/{NFC}"
    assert store.stat(CTX, path).name == NFC
    assert read(store, path) == b"content"
    assert names(store, f"/{NFC}/{NFC}") == [NFC]


def test_replacing_moving_and_deleting_find_the_name_in_nfd(store: Store, share: Path) -> None:
    (share / NFD).write_bytes(b"old")
    assert not put(store, f"/{NFC}", b"new").created
    assert [entry.name for entry in share.iterdir() if entry.is_file()] == [NFD]
    store.move(CTX, f"/{NFC}", "/plain", overwrite=False)
    assert names(store) == ["plain"]
    (share / NFD).mkdir()
    store.delete(CTX, f"/{NFC}")
    assert names(store) == ["plain"]


def test_of_twins_the_one_in_nfc_wins_and_the_log_says_so_once(
    store: Store, share: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (share / NFC).write_bytes(b"nfc")
    (share / NFD).write_bytes(b"nfd")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert names(store) == [NFC]
    assert read(store, f"/{NFC}") == b"nfc"
    assert sum("NFC" in record.message for record in caplog.records) == 1


def test_names_that_cannot_be_served_are_hidden_and_counted_in_the_log(
    store: Store, share: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (b"not-utf8-\xff", b"line\nbreak", b"\x01", b"c1-\xc2\x85"):
        (share / os.fsdecode(name)).write_bytes(b"")
    (share / "good").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert names(store) == ["good"]
    assert any("4 members" in record.message for record in caplog.records)


def test_fifos_sockets_and_devices_are_neither_listed_nor_found_nor_replaced(
    store: Store, share: Path
) -> None:
    os.mkfifo(share / "fifo")
    os.mknod(share / "null", 0o600 | 0o020000, os.makedev(1, 3))
    for path in ("/fifo", "/null"):
        assert find(store, path) is None
        with pytest.raises(NotFound):
            store.open(CTX, path)
        with pytest.raises(NotFound):
            store.delete(CTX, path)
        with pytest.raises(Forbidden):
            put(store, path, b"x")
    assert names(store) == []


def test_links_that_stay_inside_are_followed(store: Store, share: Path) -> None:
    build(store, {"/d": None, "/d/e": None, "/d/e/x": b"content", "/to": None})
    (share / "to" / "file").symlink_to("../d/e/x")
    (share / "to" / "folder").symlink_to("../d/e")
    (share / "to" / "chain").symlink_to("folder/../../to/file")
    assert names(store, "/to") == ["chain", "file", "folder"]
    assert read(store, "/to/file") == read(store, "/to/folder/x") == b"content"
    assert read(store, "/to/chain") == b"content"
    assert store.stat(CTX, "/to/folder").is_folder


def test_writing_through_a_link_replaces_what_it_points_to(store: Store, share: Path) -> None:
    build(store, {"/d": None, "/d/x": b"old", "/to": None})
    (share / "to" / "link").symlink_to("../d/x")
    assert not put(store, "/to/link", b"new").created
    assert (share / "to" / "link").is_symlink()
    assert read(store, "/d/x") == b"new"
    put(store, "/to/link", b"newer")
    assert (read(store, "/d/x"), read(store, "/to/link")) == (b"newer", b"newer")


def test_deleting_and_moving_act_on_the_link_itself(store: Store, share: Path) -> None:
    build(store, {"/d": None, "/d/x": b"content"})
    (share / "one").symlink_to("d/x")
    (share / "two").symlink_to("d")
    store.move(CTX, "/one", "/moved", overwrite=False)
    assert (share / "moved").is_symlink()
    store.delete(CTX, "/moved")
    store.delete(CTX, "/two")
    assert names(store) == ["d"]
    assert read(store, "/d/x") == b"content"


def test_a_move_onto_the_same_entry_by_way_of_a_link_is_refused(store: Store, share: Path) -> None:
    build(store, {"/d": None, "/d/x": b"content"})
    (share / "link").symlink_to("d")
    for source, target in (("/d/x", "/link/x"), ("/d", "/link/inside")):
        with pytest.raises(StoreError):
            store.move(CTX, source, target, overwrite=True)
    assert read(store, "/d/x") == b"content"


def test_a_move_onto_another_name_of_the_same_file_leaves_one_name(
    store: Store, share: Path
) -> None:
    put(store, "/a", b"content")
    (share / "b").hardlink_to(share / "a")
    store.move(CTX, "/a", "/b", overwrite=True)
    assert names(store) == ["b"]
    assert read(store, "/b") == b"content"


def test_links_that_lead_out_or_nowhere_are_not_there(
    store: Store, share: Path, outside: Path
) -> None:
    (share / "up").symlink_to("../outside")
    (share / "absolute").symlink_to(outside)
    (share / "file").symlink_to(outside / "x")
    (share / "nowhere").symlink_to("missing")
    (share / "loop").symlink_to("loop")
    assert names(store) == []
    for path in ("/up", "/absolute", "/file", "/nowhere", "/loop", "/up/x", "/absolute/x"):
        assert find(store, path) is None
        with pytest.raises(NotFound):
            store.open(CTX, path)
        with pytest.raises(NotFound):
            store.delete(CTX, path)
    for path in ("/up/new", "/absolute/new", "/up/x"):
        with pytest.raises(ParentMissing):
            put(store, path, b"x")
        with pytest.raises(ParentMissing):
            store.create_folder(CTX, path)
    for path in ("/up", "/file", "/nowhere"):
        with pytest.raises(Forbidden):
            put(store, path, b"x")
    assert sorted(entry.name for entry in outside.iterdir()) == ["x"]
    assert (outside / "x").read_bytes() == b"secret"


def _rounds(done: threading.Event) -> Iterator[None]:
    """Until `done`. Things stay as they are a little longer at times, or two threads may go in
    step for ever, and one of them always meets the same."""
    for stay in itertools.cycle([0.0] * 9 + [0.0005]):
        if done.wait(stay):
            return
        yield


def test_a_folder_that_is_swapped_for_a_link_all_the_time_never_leads_out(
    store: Store, share: Path, outside: Path
) -> None:
    build(store, {"/d": None, "/d/x": b"public", "/aside": None})
    (share / "aside" / "link").symlink_to("../../outside")
    done = threading.Event()

    def swap() -> None:
        for _ in _rounds(done):
            (share / "d").rename(share / "aside" / "d")
            (share / "aside" / "link").rename(share / "d")
            (share / "d").rename(share / "aside" / "link")
            (share / "aside" / "d").rename(share / "d")

    swapping = threading.Thread(target=swap)
    swapping.start()
    reads = writes = 0
    try:
        deadline = time.monotonic() + 30
        for number in itertools.count():
            if number >= 2000 and ((reads and writes) or time.monotonic() > deadline):
                break
            try:
                assert read(store, "/d/x") == b"public"
                reads += 1
            except (NotFound, Forbidden):
                pass
            try:
                if number % 4 == 0:
                    put(store, "/d/x", b"public")
                elif number % 4 == 1:
                    store.create_folder(CTX, "/d/sub")
                elif number % 4 == 2:
                    store.delete(CTX, "/d/sub")
                else:
                    assert set(names(store, "/d")) <= {"x", "sub"}
                writes += 1
            except StoreError:
                pass
    finally:
        done.set()
        swapping.join()
    print(f"{reads} reads and {writes} changes met the folder")
    assert reads
    assert writes
    assert [entry.name for entry in outside.iterdir()] == ["x"]
    assert (outside / "x").read_bytes() == b"secret"


def test_a_file_that_is_swapped_for_a_fifo_all_the_time_hangs_nobody(
    store: Store, share: Path
) -> None:
    put(store, "/x", b"content")
    (share / "d").mkdir()
    os.mkfifo(share / "d" / "fifo")
    done = threading.Event()

    def swap() -> None:
        for _ in _rounds(done):
            (share / "x").rename(share / "d" / "x")
            (share / "d" / "fifo").rename(share / "x")
            (share / "x").rename(share / "d" / "fifo")
            (share / "d" / "x").rename(share / "x")

    swapping = threading.Thread(target=swap)
    swapping.start()
    reads = tries = 0
    deadline = time.monotonic() + 30
    try:
        while tries < 1000 or (not reads and time.monotonic() < deadline):
            tries += 1
            with contextlib.suppress(NotFound):
                assert read(store, "/x") == b"content"
                reads += 1
    finally:
        done.set()
        swapping.join()
    assert reads


def test_a_copy_follows_links_and_reports_those_that_lead_to_a_folder_above(
    store: Store, share: Path
) -> None:
    build(store, {"/d": None, "/d/e": None, "/d/e/x": b"content", "/other": None})
    put(store, "/other/y", b"else")
    (share / "d" / "link").symlink_to("../other")
    (share / "d" / "file").symlink_to("e/x")
    (share / "d" / "e" / "up").symlink_to("..")
    transfer = store.copy(CTX, "/d", "/copy", overwrite=False)
    assert [failure.path for failure in transfer.failures] == ["/d/e/up"]
    assert not any(entry.is_symlink() for entry in (share / "copy").rglob("*"))
    assert read(store, "/copy/link/y") == b"else"
    assert read(store, "/copy/file") == b"content"
    assert names(store, "/copy/e") == ["x"]


def test_what_clients_do_not_see_goes_with_its_folder(store: Store, share: Path) -> None:
    store.create_folder(CTX, "/d")
    os.mkfifo(share / "d" / "fifo")
    (share / "d" / "out").symlink_to("/etc")
    store.move(CTX, "/d", "/e", overwrite=False)
    assert (share / "e" / "fifo").is_fifo()
    assert store.copy(CTX, "/e", "/f", overwrite=False).failures == ()
    assert list((share / "f").iterdir()) == []
    store.delete(CTX, "/e")
    settle(store)
    assert list((share / ".davstore~").iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_an_entry_is_seen_as_the_standard_library_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    os.utime(tmp_path / "file", ns=(1, 1_234_567_890_987_654_321))
    os.utime(tmp_path / "folder", ns=(1, -1_234_567_890_987_654_321))
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"no UTF-8")
    fields = [field for field in Found._fields if field != "born"] + ["st_mtime", "st_ctime"]
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in os.listdir(fd):  # noqa: PTH208
            seen, known = Found.of(look(fd, name)), os.stat(name, dir_fd=fd, follow_symlinks=False)
            assert [getattr(seen, field) for field in fields] == [
                getattr(known, field) for field in fields
            ]
            assert seen.born == birth_time(fd, name)
            monkeypatch.setattr(syscalls, "_statx", None)
            assert Found.of(look(fd, name)) == seen._replace(born=None)
            monkeypatch.undo()
        with pytest.raises(FileNotFoundError):
            look(fd, "gone")
    finally:
        os.close(fd)


def test_a_listing_follows_every_change_of_what_it_has_listed_before(
    store: Store, share: Path
) -> None:
    """By other programs too, which keep inode, size and time; twins of one inode as well."""
    file = share / "file"
    file.write_bytes(b"first")
    first = file.stat()
    seen = {node.etag for node in store.list(CTX, "/")}
    for content in (b"other", b"third"):
        before = file.stat().st_ctime_ns
        while file.stat().st_ctime_ns == before:  # the kernel's clock has ticks
            file.write_bytes(content)
            os.utime(file, ns=(first.st_atime_ns, first.st_mtime_ns))
        (node,) = store.list(CTX, "/")
        assert node == store.stat(CTX, "/file") and node.etag not in seen
        seen.add(node.etag)
    store.update(CTX, "/file", Update({"{x:}p": "<p/>"}))
    assert [node.props for node in store.list(CTX, "/")] == [{"{x:}p": "<p/>"}]
    (share / "twin").hardlink_to(file)
    assert names(store) == ["file", "twin"]
    file.unlink()
    file.mkdir()
    assert [(node.name, node.is_folder) for node in store.list(CTX, "/")] == [
        ("file", True),
        ("twin", False),
    ]
    file.rmdir()
    os.mkfifo(file)
    assert names(store) == ["twin"]
