"""What only happens when the store, the disk or somebody else gets in the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from davstore.errors import Corrupt, Unavailable
from davstore.stores.base import Attributes, Context, Node, Reader, Upload
from davstore.stores.memory import MemoryStore
from davstore.transfer import contents, fetching, local, pending, sending
from davstore.transfer.exporting import Export
from davstore.transfer.importing import Import
from davstore.transfer.tally import Stopped, Tally
from tests.components.content import files, lay_out, names_on_disk, read_tree

CTX = Context()


def bring(tmp_path: Path, store: MemoryStore, *, jobs: int = 1, checksum: bool = False) -> Tally:
    """Import tmp_path/src into the root of the store."""
    tally = Tally()
    (tmp_path / "state").mkdir(exist_ok=True)
    work = Import(
        tmp_path / "src", store, "/", tally=tally, pending=tmp_path / "state/imports",
        jobs=jobs, checksum=checksum,
    )  # fmt: skip
    with closing(work):
        work.run(lambda: None)
    return tally


def take_out(tmp_path: Path, store: MemoryStore, *, checksum: bool = False) -> Tally:
    """Export the whole store into tmp_path/out."""
    tally = Tally()
    (tmp_path / "out").mkdir(exist_ok=True)
    work = Export(store, "/", tmp_path / "out", tally=tally, jobs=2, checksum=checksum)
    with closing(work):
        work.run(lambda: None)
    return tally


def filled(content: dict[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    fill(store, content)
    return store


def fill(store: MemoryStore, content: dict[str, bytes]) -> None:
    for path, data in content.items():
        with store.upload(CTX, path, Attributes(modified=1_500_000_000)) as upload:
            upload.write(data)
            upload.commit()


def read(store: MemoryStore, path: str) -> bytes:
    with store.open(CTX, path) as reader:
        return b"".join(reader.chunks(0, reader.node.size))


def reasons(tally: Tally) -> dict[str, str]:
    return dict(tally.left_out)


class Meddling(MemoryStore):
    """Calls `meddle` with each piece that an upload gets; what it returns is written."""

    def __init__(self, meddle: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._meddle = meddle

    def upload(self, ctx: Context, path: str, attributes: Attributes = Attributes()) -> Upload:
        upload = super().upload(ctx, path, attributes)
        write = upload.write
        upload.write = lambda data: write(self._meddle(bytes(data)))  # type: ignore[method-assign]
        return upload


class TestImport:
    def test_what_became_something_else_on_its_way_is_left_out(self, tmp_path: Path) -> None:
        lay_out(tmp_path / "src", {"a": b"right"})
        store = Meddling(lambda data: data.replace(b"r", b"l"))
        tally = bring(tmp_path, store)
        assert "digest" in reasons(tally)[str(tmp_path / "src/a")]
        assert list(store.list(CTX, "/")) == []

    @pytest.mark.parametrize("mode", ["ab", "r+b"])
    def test_a_file_that_changes_while_it_is_read_is_left_out(
        self, tmp_path: Path, mode: str
    ) -> None:
        lay_out(tmp_path / "src", {"a": b"1" * 10})

        def change(data: bytes) -> bytes:
            with (tmp_path / "src/a").open(mode) as file:
                file.write(b"2")
            return data

        store = Meddling(change)
        tally = bring(tmp_path, store)
        assert "changed while it was read" in reasons(tally)[str(tmp_path / "src/a")]
        assert list(store.list(CTX, "/")) == []

    def test_it_ends_when_the_storage_is_gone(self, tmp_path: Path) -> None:
        lay_out(tmp_path / "src", files(1, 200))

        class Gone(MemoryStore):
            def upload(
                self, ctx: Context, path: str, attributes: Attributes = Attributes()
            ) -> Upload:
                raise Unavailable(path)

        tally = Tally()
        work = Import(tmp_path / "src", Gone(), "/", tally=tally, pending=tmp_path, jobs=1)
        with closing(work), pytest.raises(Stopped):
            work.run(lambda: None)
        assert tally.stopped is not None
        assert "10 files in a row failed" in tally.stopped
        assert len(tally.left_out) == 10

    def test_a_fault_of_ours_is_not_hidden(self, tmp_path: Path) -> None:
        lay_out(tmp_path / "src", files(1, 20))

        def fail(data: bytes) -> bytes:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            bring(tmp_path, Meddling(fail), jobs=3)

    def test_a_listing_that_breaks_off_is_not_taken_for_an_empty_folder(
        self, tmp_path: Path
    ) -> None:
        lay_out(tmp_path / "src", {"a": b"new", "b": b"new", "c": b"new"})

        class Breaking(MemoryStore):
            def list(
                self, ctx: Context, path: str, after: str | None = None, limit: int | None = None
            ) -> Iterator[Node]:
                return broken_off(super().list(ctx, path, after, limit))

        def broken_off(nodes: Iterator[Node]) -> Iterator[Node]:
            yield next(nodes)
            raise Corrupt("/")

        store = Breaking()
        fill(store, {"/a": b"old", "/b": b"old", "/c": b"old"})
        assert len(bring(tmp_path, store).left_out) == 3
        assert [read(store, path) for path in ("/a", "/b", "/c")] == [b"old"] * 3

    def test_a_large_folder_is_compared_by_the_page(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "_PAGE", 7)
        tree = {f"{number:03}": b"1" for number in range(50)}
        lay_out(tmp_path / "src", tree)
        store = MemoryStore()
        assert bring(tmp_path, store, jobs=4).files == 50
        again = bring(tmp_path, store, jobs=4)
        assert (again.files, again.there, again.seen) == (0, 50, (50, 50))
        assert take_out(tmp_path, store).files == 50
        assert read_tree(tmp_path / "out") == tree

    def test_by_checksum_content_without_a_digest_is_read(self, tmp_path: Path) -> None:
        lay_out(tmp_path / "src", {"a": b"12", "b": b"34"})
        store = MemoryStore(digests=())
        assert bring(tmp_path, store).files == 2
        os.utime(tmp_path / "src/a", (5, 5))
        tally = bring(tmp_path, store, checksum=True)
        assert (tally.files, tally.there) == (0, 2)
        assert store.stat(CTX, "/a").modified == 5
        assert take_out(tmp_path, store, checksum=True).files == 2
        (tmp_path / "out/b").write_bytes(b"43")
        assert take_out(tmp_path, store, checksum=True).files == 1


class TestLargeFiles:
    """With a store that loses its connection after some pieces."""

    @pytest.fixture(autouse=True)
    def small_is_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sending, "LARGE", 100)
        monkeypatch.setattr(sending, "RENEW", 30)
        monkeypatch.setattr("davstore.transfer.local.PIECE", 20)

    def interrupted(self, tmp_path: Path, data: bytes) -> Meddling:
        """A store that has the half of a file."""
        lay_out(tmp_path / "src", {"a": data})
        got: list[int] = []

        def lose(piece: bytes) -> bytes:
            got.append(len(piece))
            if len(got) == 6:
                raise Unavailable("/a")
            return piece

        store = Meddling(lose)
        assert len(bring(tmp_path, store).left_out) == 1
        assert len(list((tmp_path / "state/imports").iterdir())) == 1
        return store

    def test_only_the_rest_is_sent(self, tmp_path: Path) -> None:
        data = os.urandom(197)
        store = self.interrupted(tmp_path, data)
        resumed = store.resume
        offsets = []

        def resume(ctx: Context, upload_id: str) -> Upload:
            upload = resumed(ctx, upload_id)
            offsets.append(upload.offset)
            return upload

        store.resume = resume  # type: ignore[method-assign]
        assert bring(tmp_path, store).files == 1
        assert offsets == [100]
        assert read(store, "/a") == data
        assert list((tmp_path / "state/imports").iterdir()) == []

    def test_what_was_damaged_meanwhile_is_sent_anew(self, tmp_path: Path) -> None:
        data = os.urandom(197)
        store = self.interrupted(tmp_path, data)
        (kept,) = store._uploads.values()
        kept.content[50] ^= 1
        assert bring(tmp_path, store).files == 1
        assert read(store, "/a") == data
        assert store._uploads == {}

    def test_another_import_of_it_is_not_disturbed(self, tmp_path: Path) -> None:
        store = self.interrupted(tmp_path, os.urandom(197))
        (kept,) = store._uploads
        store.resume(CTX, kept)
        assert "Another import" in reasons(bring(tmp_path, store))[str(tmp_path / "src/a")]
        assert kept in store._uploads

    @pytest.mark.parametrize("record", [b"", b"[]", b"{}", b"\xff", b'{"upload": 1}'])
    def test_a_record_that_cannot_be_read_costs_nothing_but_time(
        self, tmp_path: Path, record: bytes
    ) -> None:
        data = os.urandom(197)
        store = self.interrupted(tmp_path, data)
        (place,) = (tmp_path / "state/imports").iterdir()
        place.write_bytes(record)
        assert bring(tmp_path, store).files == 1
        assert read(store, "/a") == data

    def test_records_whose_lease_is_over_are_removed(self, tmp_path: Path) -> None:
        store = self.interrupted(tmp_path, os.urandom(197))
        (place,) = (tmp_path / "state/imports").iterdir()
        old = place.stat().st_mtime - pending.LEASE - 60
        os.utime(place, (old, old))
        (tmp_path / "src/a").unlink()
        bring(tmp_path, store)
        assert not place.exists()


class Lying(MemoryStore):
    """Its contents do not have their digests."""

    def open(self, ctx: Context, path: str) -> Reader:
        reader = super().open(ctx, path)
        reader.node = reader.node._replace(digests={"sha256": "0" * 64})
        return reader


class TestExport:
    def test_content_without_its_digest_is_left_out(self, tmp_path: Path) -> None:
        store = Lying()
        fill(store, {"/a": b"new"})
        lay_out(tmp_path / "out", {"a": b"as it was"})
        tally = take_out(tmp_path, store)
        assert reasons(tally) == {"/a": "The stored content does not have its digest."}
        assert read_tree(tmp_path / "out") == {"a": b"as it was"}

    @pytest.mark.parametrize("name", ["../evil", "..", "a/b", "a\0b", ""])
    def test_a_name_that_leads_out_of_the_folder_is_left_out(
        self, tmp_path: Path, name: str
    ) -> None:
        class Evil(MemoryStore):
            def list(
                self, ctx: Context, path: str, after: str | None = None, limit: int | None = None
            ) -> Iterator[Node]:
                nodes = super().list(ctx, path, after, limit)
                return (node._replace(name=name) for node in nodes)

        store = Evil()
        fill(store, {"/a": b"1"})
        assert len(take_out(tmp_path, store).left_out) == 1
        assert names_on_disk(tmp_path) == ["out"]

    def test_half_a_file_is_gone_on_with_and_a_damaged_half_is_not(self, tmp_path: Path) -> None:
        data = os.urandom(300_000)
        store = filled({"/good": data, "/bad": data, "/long": data})
        self.leave_part(tmp_path, store, "/good", data[:200_000])
        self.leave_part(tmp_path, store, "/bad", b"0" * 200_000)
        self.leave_part(tmp_path, store, "/long", data + b"1")
        assert take_out(tmp_path, store).files == 3
        assert read_tree(tmp_path / "out") == {"good": data, "bad": data, "long": data}

    def test_a_file_that_another_export_writes_is_left_to_it(self, tmp_path: Path) -> None:
        store = filled({"/a": b"1"})
        part = self.leave_part(tmp_path, store, "/a", b"")
        folder = os.open(tmp_path / "out", os.O_RDONLY)
        held = fetching._held(part.name, folder)
        assert reasons(take_out(tmp_path, store)) == {"/a": "Another export is writing this file."}
        os.close(held)
        os.close(folder)
        assert take_out(tmp_path, store).files == 1

    def test_names_that_are_one_to_the_file_system_do_not_replace_each_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def look(name: str, folder: int) -> os.stat_result | None:
            return found(name.lower(), folder)

        found = local.look
        for module in ("exporting", "fetching"):
            monkeypatch.setattr(f"davstore.transfer.{module}.look", look)
        lay_out(tmp_path / "out", {"b": b"mine"})
        tally = take_out(tmp_path, filled({"/A": b"1", "/B": b"2"}))
        assert reasons(tally) == {"/B": fetching.SAME_NAME}

    def leave_part(self, tmp_path: Path, store: MemoryStore, path: str, data: bytes) -> Path:
        node = store.stat(CTX, path)
        (tmp_path / "out").mkdir(exist_ok=True)
        folder = os.open(tmp_path / "out", os.O_RDONLY)
        with fetching._part(folder, node.name, node) as part:
            os.write(part.fd, data)
        os.close(folder)
        return tmp_path / "out" / part.name
