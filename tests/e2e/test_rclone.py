"""rclone as a client: trees of files with difficult names, times and digests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.components import content
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.rclone import RcloneClient

SEED = 20240607


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """As the default, with MD5 too, which rclone takes from an ownCloud."""
    home = tmp_path_factory.mktemp("davstore")
    share = {"digests": ["md5", "sha1", "sha256"]}
    with DavServer(home, home / "root", share=share) as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


def _local_tree(folder: Path, count: int) -> dict[str, bytes]:
    print(f"seed {SEED}")
    tree = content.files(SEED, count)
    content.lay_out(folder, tree)
    return tree


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rclone_copies_syncs_checks_moves_and_purges_two_thousand_files_with_difficult_names(
    server: DavServer, tmp_path: Path
) -> None:
    assert server.root is not None
    local = tmp_path / "local"
    tree = _local_tree(local, 2000)
    rclone = RcloneClient(server.url, tmp_path)
    remote = rclone.remote("two thousand")
    many = "--transfers=8", "--checkers=8"

    rclone("copy", str(local), remote, *many)
    assert content.read_tree(server.root / "two thousand") == tree
    rclone("check", "--download", str(local), remote, *many)

    names = sorted(tree)
    for name in names[::10]:
        (local / name).unlink()
    for name in names[5::10]:
        (local / name).write_bytes(b"changed " + tree[name])
    content.lay_out(local / "new folder #1", content.files(SEED + 1, 50))
    rclone("sync", str(local), remote, "--size-only", *many)
    assert content.read_tree(server.root / "two thousand") == content.read_tree(local)
    rclone("check", "--download", str(local), remote, *many)

    folder = next(name for name in names if "/" in name).partition("/")[0]
    rclone("moveto", f"{remote}/{folder}", f"{remote}/moved? 100% 😀 #;+")
    (local / folder).rename(local / "moved? 100% 😀 #;+")
    file = next(name for name in names if "/" not in name and (local / name).exists())
    rclone("moveto", f"{remote}/{file}", f"{remote}/moved? 100% 😀 #;+/Übersicht & mehr")
    (local / file).rename(local / "moved? 100% 😀 #;+/Übersicht & mehr")
    rclone("check", "--download", str(local), remote, *many)

    back = tmp_path / "back"
    rclone("copy", remote, str(back), *many)
    assert content.read_tree(back) == content.read_tree(local)

    rclone("purge", remote)
    assert not (server.root / "two thousand").exists()


#: Vendor, the digests that rclone then compares, and whether it keeps times.
_VENDORS = [
    ("owncloud", {"md5", "sha1"}),
    ("fastmail", {"sha1"}),
    ("nextcloud", {"sha1"}),
    ("rclone", set[str]()),
]


@pytest.mark.parametrize(("vendor", "digests"), _VENDORS, ids=[name for name, _ in _VENDORS])
def test_rclone_finds_its_times_and_digests_again_whatever_server_it_takes_davstore_for(
    server: DavServer, tmp_path: Path, vendor: str, digests: set[str]
) -> None:
    local = tmp_path / "local"
    tree = _local_tree(local, 120)
    rclone = RcloneClient(server.url, tmp_path, vendor)
    remote = rclone.remote(f"as {vendor}")

    rclone("copy", str(local), remote)
    listed = json.loads(rclone.output("lsjson", "-R", "--files-only", "--hash", remote))
    assert {entry["Path"] for entry in listed} == set(tree)
    for entry in listed:
        expected = (local / entry["Path"]).stat()
        assert entry["Size"] == expected.st_size
        assert entry["ModTime"] == _as_rclone_writes(expected.st_mtime), entry
        assert set(entry.get("Hashes", {})) == digests, entry
    said = rclone("check", "-v", str(local), remote)
    assert "could not be checked" not in said or not digests, said
    assert "0 differences found" in said

    again = rclone("copy", "-v", str(local), remote)
    assert "There was nothing to transfer" in again, again


@pytest.mark.parametrize("vendor", ["owncloud", "fastmail", "nextcloud", "rclone"])
def test_rclone_sets_a_time_alone_and_finds_it_again_after_a_move_and_a_copy_on_the_server(
    server: DavServer, tmp_path: Path, vendor: str
) -> None:
    assert server.root is not None
    folder = f"times {vendor}"
    rclone = RcloneClient(server.url, tmp_path, vendor)
    local = tmp_path / "a.txt"
    local.write_bytes(b"some content")
    os.utime(local, (1_400_000_000, 1_400_000_000))
    rclone("copyto", str(local), rclone.remote(f"{folder}/a.txt"))
    rclone("moveto", rclone.remote(f"{folder}/a.txt"), rclone.remote(f"{folder}/b.txt"))
    rclone("copyto", rclone.remote(f"{folder}/b.txt"), rclone.remote(f"{folder}/c.txt"))
    kept = {path.name: int(path.stat().st_mtime) for path in (server.root / folder).iterdir()}
    assert kept == {"b.txt": 1_400_000_000, "c.txt": 1_400_000_000}

    if vendor in ("owncloud", "nextcloud"):  # the others cannot set a time by itself
        os.utime(local, (1_450_000_000, 1_450_000_000))
        before = (server.root / folder / "b.txt").stat()
        rclone("copyto", str(local), rclone.remote(f"{folder}/b.txt"))
        after = (server.root / folder / "b.txt").stat()
        assert int(after.st_mtime) == 1_450_000_000
        assert after.st_ino == before.st_ino, "the content was uploaded again"


def test_an_upload_whose_digest_rclone_announced_wrongly_changes_nothing(
    server: DavServer, tmp_path: Path
) -> None:
    client = Client(server.address)
    good = "SHA1:a9993e364706816aba3e25717850c26c9cd0d89d"  # of "abc" (FIPS 180, appendix A)
    assert client("PUT", "/checked.txt", b"abc", OC_Checksum=good).status == 201
    assert client("PUT", "/checked.txt", b"abd", OC_Checksum=good).status == 400
    assert client("GET", "/checked.txt").body == b"abc"


def test_rclone_reads_a_file_that_another_program_put_into_the_folder(
    server: DavServer, tmp_path: Path
) -> None:
    assert server.root is not None
    (server.root / "from outside").mkdir()
    shutil.copyfile(__file__, server.root / "from outside" / "file.py")
    rclone = RcloneClient(server.url, tmp_path, "owncloud")
    assert rclone.output("cat", rclone.remote("from outside/file.py")) == Path(__file__).read_text(
        encoding="utf-8"
    )


def _as_rclone_writes(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
