"""A real davfs2 mount: what people do with files, then byte for byte after a second mount."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.components import content
from tests.components.davfs import davfs_mount
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.e2e.conftest import Place


@pytest.mark.slow
def test_a_davfs2_mount_writes_appends_renames_deletes_and_copies_byte_for_byte(
    server: DavServer, place: Place, tmp_path: Path
) -> None:
    tree = content.files(7, 60)
    local = tmp_path / "local"
    content.lay_out(local, tree)
    url = server.url.rstrip("/") + place.path

    with davfs_mount(url, tmp_path / "davfs") as mounted:
        (mounted / "written.txt").write_bytes(b"first line\n")
        (mounted / "doomed.txt").write_bytes(b"goes away")
        (mounted / "before.txt").write_bytes(b"renamed")
        (mounted / "large.bin").write_bytes(b"davfs" * 1_000_000)
        with (mounted / "written.txt").open("ab") as file:
            file.write(b"second line\n")
        (mounted / "before.txt").rename(mounted / "after Ü #?.txt")
        (mounted / "doomed.txt").unlink()
        subprocess.run(["cp", "-r", str(local), str(mounted / "copied")], check=True)
        (mounted / "copied").rename(mounted / "kept")
        subprocess.run(["cp", "-r", str(mounted / "kept"), str(mounted / "again")], check=True)
        shutil.rmtree(mounted / "again")
        (mounted / "written.txt").write_bytes((mounted / "written.txt").read_bytes() + b"third\n")

    expected = {
        "written.txt": b"first line\nsecond line\nthird\n",
        "after Ü #?.txt": b"renamed",
        "large.bin": b"davfs" * 1_000_000,
    } | {f"kept/{name}": data for name, data in tree.items()}
    assert content.read_tree(place.folder) == expected

    with davfs_mount(url, tmp_path / "davfs") as mounted:
        found = content.read_tree(mounted)
    assert {name: data for name, data in found.items() if "lost+found" not in name} == expected


def test_a_file_that_davfs2_holds_open_is_locked_for_others_until_it_is_closed(
    server: DavServer, place: Place, client: Client, tmp_path: Path
) -> None:
    with davfs_mount(server.url.rstrip("/") + place.path, tmp_path / "davfs") as mounted:
        with (mounted / "open.txt").open("wb") as file:
            file.write(b"mine")
            file.flush()
            assert client("PUT", f"{place.path}open.txt", b"theirs").status == 423
    assert (place.folder / "open.txt").read_bytes() == b"mine"
    assert client("PUT", f"{place.path}open.txt", b"theirs").status == 204
