"""What a client can do, and what it says when it cannot, at a real server."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest

from davstore.client import (
    Client,
    ClientError,
    Conflict,
    Exists,
    Locked,
    NoFace,
    NotFound,
    SourceChanged,
    Unauthenticated,
    Unreachable,
)
from tests.components.davserver import DavServer
from tests.components.http import Client as Http
from tests.components.processes import free_port
from tests.stores.mounts import mounted

#: More than one piece, and no multiple of anything.
LARGE = (9 << 20) + 12_345


def test_what_is_uploaded_is_downloaded(files: Client, place: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = f"{place}/100% ü #1?.txt"
    entry = files.upload(io.BytesIO(b"content"), path, progress=lambda *now: told.append(now))
    assert (entry.path, entry.name, entry.size, entry.is_folder) == (
        path,
        "100% ü #1?.txt",
        7,
        False,
    )
    assert entry.digests["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert told[-1] == (7, 7)
    assert files.stat(path) == entry
    assert files.download(path, tmp_path / "copy") == entry
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert [each.name for each in tmp_path.iterdir()] == ["copy"]


def test_a_large_file_goes_in_pieces_and_comes_back(
    files: Client, place: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(LARGE))
    told: list[int] = []
    entry = files.upload(source, f"{place}/large", progress=lambda done, _: told.append(done))
    assert entry.size == LARGE
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, LARGE)
    files.download(f"{place}/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_an_empty_file(files: Client, place: str, tmp_path: Path) -> None:
    assert files.upload(io.BytesIO(), f"{place}/empty").size == 0
    files.download(f"{place}/empty", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_an_open_file_is_read_from_where_it_stands(files: Client, place: str) -> None:
    source = io.BytesIO(b"not this, but this")
    source.seek(10)
    entry = files.upload(source, f"{place}/a")
    assert entry.digests["sha256"] == hashlib.sha256(b"but this").hexdigest()


@pytest.mark.parametrize("size", [7, LARGE])
def test_nothing_is_overwritten_unless_it_may(files: Client, place: str, size: int) -> None:
    files.upload(io.BytesIO(b"first"), f"{place}/a")
    with pytest.raises(Exists) as refused:
        files.upload(io.BytesIO(bytes(size)), f"{place}/a", overwrite=False)
    assert refused.value.status in (409, 412)
    assert files.stat(f"{place}/a").size == 5
    assert files.upload(io.BytesIO(bytes(size)), f"{place}/a").size == size
    assert files.upload(io.BytesIO(bytes(size)), f"{place}/b", overwrite=False).size == size


def test_the_tree(files: Client, place: str) -> None:
    assert files.mkdir(f"{place}/one/two", parents=True).is_folder
    files.upload(io.BytesIO(b"a"), f"{place}/one/a")
    files.copy(f"{place}/one", f"{place}/other")
    files.move(f"{place}/one/a", f"{place}/one/b")
    files.delete(f"{place}/one/two")
    assert [entry.name for entry in files.list(f"{place}/one")] == ["b"]
    assert [entry.name for entry in files.list(f"{place}/other/")] == ["a", "two"]
    with pytest.raises(Exists):
        files.move(f"{place}/other", f"{place}/one")
    files.move(f"{place}/other", f"{place}/one", overwrite=True)
    assert [entry.path for entry in files.list(f"{place}/one")] == [
        f"{place}/one/a",
        f"{place}/one/two",
    ]


def test_a_listing_comes_as_a_stream(files: Client, place: str, server: DavServer) -> None:
    assert server.root is not None
    folder = server.root / place[1:] / "many"
    folder.mkdir()
    for number in range(1500):
        (folder / f"{number:04}").touch()
    listing = files.list(f"{place}/many")
    assert next(listing).name == "0000"
    assert len(list(listing)) == 1499


def test_refusals_are_problem_documents(files: Client, place: str, server: DavServer) -> None:
    with pytest.raises(NotFound) as missing:
        files.stat(f"{place}/nothing")
    assert (missing.value.status, missing.value.code) == (404, "not-found")
    with pytest.raises(Conflict) as parentless:
        files.upload(io.BytesIO(b"a"), f"{place}/nothing/a")
    assert parentless.value.code == "parent-missing"
    files.upload(io.BytesIO(b"a"), f"{place}/a")
    with pytest.raises(Conflict) as no_folder:
        list(files.list(f"{place}/a"))
    assert no_folder.value.code == "not-a-folder"
    body = (
        '<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
        "<locktype><write/></locktype></lockinfo>"
    )
    assert Http(server.address)("LOCK", f"{place}/a", body).status == 200
    with pytest.raises(Locked) as locked:
        files.delete(f"{place}/a")
    assert locked.value.document["locks"] == [f"{place}/a"]


@pytest.mark.parametrize("path", ["/..", "/a/../b", "/line\nend", "/\ud800", "/" + "n" * 256])
def test_what_is_no_path_is_never_sent(files: Client, path: str) -> None:
    with pytest.raises(ClientError, match="is no path"):
        files.delete(path)


@pytest.mark.parametrize("size", [5, LARGE])
def test_a_folder_is_not_overwritten_by_a_file(files: Client, place: str, size: int) -> None:
    with pytest.raises(Conflict, match="a folder, not a file") as refused:
        files.upload(io.BytesIO(bytes(size)), place)
    assert (refused.value.status, refused.value.code) == (409, "is-a-folder")


def test_what_is_no_file_is_not_uploaded(files: Client, place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ClientError, match="is no file"):
        files.upload(tmp_path / "fifo", f"{place}/a")
    with pytest.raises(ClientError, match="is a folder"):
        files.upload(tmp_path, f"{place}/a")
    with pytest.raises(FileNotFoundError):
        files.upload(tmp_path / "nothing", f"{place}/a")
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        with pytest.raises(ClientError, match="pipe"):
            files.upload(pipe, f"{place}/a")
    assert list(files.list(place)) == []


class _Shrinking(io.BytesIO):
    """Has nothing more once it was asked how long it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        return b""


def test_a_file_that_changes_meanwhile_is_not_uploaded(
    files: Client, place: str, tmp_path: Path
) -> None:
    shrinking: BinaryIO = _Shrinking(b"content")
    with pytest.raises(SourceChanged):
        files.upload(shrinking, f"{place}/a")
    source = tmp_path / "source"
    source.write_bytes(bytes(LARGE))

    def write(done: int, _: int) -> None:
        with source.open("r+b") as file:
            file.write(b"changed")
        os.utime(source, (done, done))

    with pytest.raises(SourceChanged):
        files.upload(source, f"{place}/a", progress=write)
    assert list(files.list(place)) == []


def test_a_download_replaces_files_only(files: Client, place: str, tmp_path: Path) -> None:
    files.upload(io.BytesIO(b"content"), f"{place}/a")
    with pytest.raises(IsADirectoryError):
        files.download(f"{place}/a", tmp_path)
    with pytest.raises(FileExistsError):
        files.download(f"{place}/a", "/dev/null")
    (tmp_path / "there").write_bytes(b"before")
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "there").chmod(0o600)
    files.download(f"{place}/a", tmp_path / "link")
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o600  # as private as it was
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_bytes() == b"content"


def test_what_cannot_be_written_is_told_by_the_name_that_was_given(
    files: Client, place: str, tmp_path: Path
) -> None:
    files.upload(io.BytesIO(os.urandom(12 << 20)), f"{place}/a")
    disk = tmp_path / "disk"
    disk.mkdir()
    with pytest.raises(FileNotFoundError) as missing:
        files.download(f"{place}/a", disk / "none" / "a")
    assert missing.value.filename == str(disk / "none" / "a")
    with mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)):
        (disk / "a").write_bytes(b"before")
        with pytest.raises(OSError, match="No space left") as full:
            files.download(f"{place}/a", disk / "a")
        assert full.value.filename == str(disk / "a")
        assert (disk / "a").read_bytes() == b"before"
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        told: list[int] = []
        files.download(f"{place}/a", disk / "a", progress=lambda done, _: told.append(done))
        assert told[0] > 7 << 20  # it went on
        assert [each.name for each in disk.iterdir()] == ["a"]
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(OSError, match="Read-only") as fixed:
            files.download(f"{place}/a", disk / "a")
        assert fixed.value.filename == str(disk / "a")


def test_a_wrong_address_is_told_soon() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", patience=0.2) as nobody:
        with pytest.raises(Unreachable, match="Connection refused"):
            nobody.stat("/")
    for wrong in ("127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://host:port"):
        with pytest.raises(ClientError, match="has to be like"):
            Client(wrong)


def test_a_server_without_the_face_is_told(server: DavServer) -> None:
    with Client(server.url, rest_prefix="/elsewhere") as client:
        with pytest.raises(NoFace, match="not the REST face"):
            client.stat("/")


def test_users(tmp_path: Path) -> None:
    server = DavServer(tmp_path / "home", tmp_path / "root")
    server.add_user("ädä", "pass:wörd€")
    with server:
        host = server.url.removeprefix("http://")
        for url, auth in (
            (server.url, ("ädä", "pass:wörd€")),
            (f"http://%C3%A4d%C3%A4:pass%3Aw%C3%B6rd%E2%82%AC@{host}", None),
        ):
            with Client(url, auth=auth) as client:
                assert client.upload(io.BytesIO(b"a"), "/a").size == 1
        with Client(server.url, auth=("ädä", "sesame")) as stranger:
            with pytest.raises(Unauthenticated) as refused:
                stranger.stat("/")
    assert "sesame" not in repr(refused.value.args)
