"""Connections that break at chosen places, and servers that die: what was begun ends well."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from davstore.client import Client, InFolder, Progress, Unreachable
from davstore.client.unfinished import Unfinished
from davstore.discovery import Discovery, Node
from tests.components.cutting import Cuts, CuttingProxy, places
from tests.components.davserver import DavServer
from tests.components.http import Answer
from tests.components.http import Client as Http
from tests.components.processes import wait_until

MIB = 1 << 20
SIZE = 20 * MIB + 4321

#: What heads of requests and answers may add.
HEADS = 64 << 10


@contextmanager
def through(
    server: DavServer, cuts: Cuts, unfinished: Unfinished | None = None
) -> Iterator[Client]:
    with CuttingProxy(server.address, cuts) as proxy:
        with Client(proxy.url, unfinished=unfinished) as client:
            yield client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.mark.parametrize("seed", range(3))
def test_an_upload_sends_again_what_broke_and_no_more(
    server: DavServer, place: str, source: Path, seed: int
) -> None:
    cuts = Cuts(places(seed, 5, SIZE))
    with through(server, cuts) as client:
        assert client.upload(source, f"{place}/a").size == SIZE
    assert (cuts.made, cuts.left) == (5, 0)
    assert cuts.up <= SIZE + 5 * 8 * MIB + HEADS
    assert server.root is not None
    assert (server.root / place[1:] / "a").read_bytes() == source.read_bytes()


def test_the_lost_answer_to_the_last_piece_costs_nothing(
    server: DavServer, place: str, source: Path
) -> None:
    """The whole arrives, and the connection breaks before anything is answered."""
    answers = Cuts()
    seen: list[int] = []

    def note(done: int, size: int) -> None:
        if done == size:
            seen.append(answers.down)

    with through(server, answers) as client:
        client.upload(source, f"{place}/a", progress=note)
    # All answers but that to the last piece had come then.
    cuts = Cuts([seen[0] + 1], downwards=True)
    with through(server, cuts) as client:
        assert client.upload(source, f"{place}/b").size == SIZE
    assert cuts.made == 1
    assert cuts.up <= SIZE + HEADS


def test_another_process_goes_on_with_an_upload(
    server: DavServer, place: str, source: Path, tmp_path: Path
) -> None:
    known = InFolder(tmp_path / "state")
    with CuttingProxy(server.address, Cuts()) as proxy:
        port = proxy.port
        with Client(proxy.url, unfinished=known) as client:
            with pytest.raises(_Interrupted):
                client.upload(source, f"{place}/a", progress=_interrupt_after(12 * MIB))
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "state").iterdir())) == 1
    cuts = Cuts()
    told = _Told()
    with CuttingProxy(server.address, cuts, port=port) as proxy:
        with Client(proxy.url, unfinished=known) as client:
            client.upload(source, f"{place}/a", progress=told)
    assert told.first == 8 * MIB
    assert cuts.up <= SIZE - 8 * MIB + HEADS
    assert list((tmp_path / "state").iterdir()) == []
    assert server.root is not None
    assert (server.root / place[1:] / "a").read_bytes() == source.read_bytes()


class _Interrupted(Exception):
    pass


class _Told:
    """Progress: how far it was when it was first told."""

    first = -1

    def __call__(self, done: int, size: int) -> None:
        if self.first < 0:
            self.first = done


def _interrupt_after(most: int) -> Progress:
    def progress(done: int, _: int) -> None:
        if done > most:
            raise _Interrupted

    return progress


def test_a_changed_file_is_not_gone_on_with(files: Client, place: str, source: Path) -> None:
    with pytest.raises(_Interrupted):
        files.upload(source, f"{place}/a", progress=_interrupt_after(12 * MIB))
    source.write_bytes(os.urandom(SIZE))
    told = _Told()
    files.upload(source, f"{place}/a", progress=told)
    assert told.first == 0


def test_a_download_goes_on_where_it_broke(
    server: DavServer, files: Client, place: str, source: Path, tmp_path: Path
) -> None:
    files.upload(source, f"{place}/a")
    cuts = Cuts(places(1, 5, SIZE), downwards=True)
    target = tmp_path / "target"
    with through(server, cuts) as client:
        client.download(f"{place}/a", target)
    assert cuts.made == 5
    assert target.read_bytes() == source.read_bytes()
    # What was on its way in buffers is lost, and no more.
    assert cuts.down <= SIZE + 5 * 2 * MIB + HEADS


def test_another_try_goes_on_with_a_download_unless_the_file_is_another(
    server: DavServer, files: Client, place: str, source: Path, tmp_path: Path
) -> None:
    files.upload(source, f"{place}/a")
    target = tmp_path / "folder" / "target"
    target.parent.mkdir()
    target.write_bytes(b"before")
    for is_replaced in (False, True):
        with pytest.raises(_Interrupted):
            files.download(f"{place}/a", target, progress=_interrupt_after(12 * MIB))
        assert target.read_bytes() == b"before"
        if is_replaced:
            source.write_bytes(os.urandom(SIZE))
            files.upload(source, f"{place}/a")
        told = _Told()
        files.download(f"{place}/a", target, progress=told)
        assert (told.first < MIB) if is_replaced else (told.first >= 12 * MIB)
        assert target.read_bytes() == source.read_bytes()
        target.write_bytes(b"before")


def test_a_download_begins_anew_when_the_file_changes_in_the_middle(
    server: DavServer, files: Client, place: str, source: Path, tmp_path: Path
) -> None:
    files.upload(source, f"{place}/a")
    first = source.read_bytes()
    source.write_bytes(os.urandom(SIZE))
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target"

    def replace(done: int, _size: int) -> None:
        if done >= 5 * MIB and source.stat().st_size:
            files.upload(source, f"{place}/a")
            (tmp_path / "second").write_bytes(source.read_bytes())
            source.write_bytes(b"")

    cuts = Cuts([12 * MIB], downwards=True)
    with through(server, cuts) as client:
        client.download(f"{place}/a", target, progress=replace)
    assert cuts.made == 1
    assert target.read_bytes() == (tmp_path / "second").read_bytes() != first
    assert list(target.parent.iterdir()) == [target]


def test_a_download_goes_on_at_another_node(
    server: DavServer, files: Client, place: str, source: Path, tmp_path: Path
) -> None:
    files.upload(source, f"{place}/a")
    cuts = [Cuts([5 * MIB], downwards=True), Cuts([5 * MIB], downwards=True)]
    with ExitStack() as stack:
        nodes = [stack.enter_context(CuttingProxy(server.address, each)) for each in cuts]
        client = stack.enter_context(Client(Known(node.port for node in nodes)))
        began = time.monotonic()
        client.download(f"{place}/a", tmp_path / "target")
        assert time.monotonic() - began < 10
    assert [each.made for each in cuts] == [1, 1]
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert sum(each.down for each in cuts) <= SIZE + 2 * 2 * MIB + HEADS


class Known(Discovery):
    """Nodes at these ports, whatever Consul says."""

    def __init__(self, ports: Iterable[int]) -> None:
        super().__init__("http://127.0.0.1:1", "known")
        self._nodes = [Node(str(port), "127.0.0.1", port, "http", (), ("/",)) for port in ports]

    def in_turn(self) -> list[Node]:
        self._nodes.append(self._nodes.pop(0))
        return list(self._nodes)


def test_a_part_that_was_spoiled_on_the_disk_is_fetched_again(
    files: Client, place: str, source: Path, tmp_path: Path
) -> None:
    files.upload(source, f"{place}/a")
    target = tmp_path / "folder" / "target"
    target.parent.mkdir()
    with pytest.raises(_Interrupted):
        files.download(f"{place}/a", target, progress=_interrupt_after(12 * MIB))
    (part,) = target.parent.iterdir()
    with part.open("r+b") as file:
        file.write(b"spoiled")
    files.download(f"{place}/a", target)
    assert target.read_bytes() == source.read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_a_listing_goes_on_where_it_broke(server: DavServer, place: str) -> None:
    assert server.root is not None
    for number in range(1000):
        (server.root / place[1:] / f"{number:04}").touch()
    cuts = Cuts([100_000], downwards=True)
    with through(server, cuts) as client:
        names = [entry.name for entry in client.list(place)]
    assert cuts.made == 1
    assert names == [f"{number:04}" for number in range(1000)]


@pytest.mark.parametrize("what", ["delete", "move", "copy", "mkdir", "upload"])
def test_a_lost_answer_is_no_failure(
    server: DavServer, files: Client, place: str, what: str
) -> None:
    """It was carried out, and the second try says that there is nothing to do."""
    files.upload(io.BytesIO(b"content"), f"{place}/a")
    with through(server, Cuts([1], downwards=True)) as client:
        match what:
            case "delete":
                client.delete(f"{place}/a")
            case "move":
                client.move(f"{place}/a", f"{place}/b")
            case "copy":
                client.copy(f"{place}/a", f"{place}/b")
            case "mkdir":
                client.mkdir(f"{place}/b")
            case "upload":
                client.upload(io.BytesIO(b"content"), f"{place}/b", overwrite=False)
    names = [entry.name for entry in files.list(place)]
    assert names == {"delete": [], "move": ["b"]}.get(what, ["a", "b"])


def test_a_server_that_is_gone_is_told_in_time(tmp_path: Path) -> None:
    server = DavServer(tmp_path / "home", tmp_path / "root").start()
    with Client(server.url, patience=0.5) as client:
        client.stat("/")
        server.kill9()
        with pytest.raises(Unreachable, match=f"127.0.0.1:{server.port} does not answer"):
            client.stat("/")


def test_a_piece_is_not_sent_in_vain_while_the_upload_is_in_use(
    server: DavServer, place: str, source: Path, tmp_path: Path
) -> None:
    """Somebody else's request holds it, and takes its time."""
    state = tmp_path / "state"
    cuts = Cuts()
    with ExitStack() as stack:
        client = stack.enter_context(through(server, cuts, unfinished=InFolder(state)))
        with pytest.raises(_Interrupted):
            client.upload(source, f"{place}/a", progress=_interrupt_after(12 * MIB))
        (kept,) = state.iterdir()
        address = json.loads(kept.read_bytes())["address"]
        ask = Http(server.address)
        wait_until(lambda: _piece(ask, address).status == 204, 10, "the end of the interrupted one")
        holder = stack.enter_context(socket.create_connection(server.address))
        holder.sendall(_head(address) + source.read_bytes()[8 * MIB : 13 * MIB])
        wait_until(lambda: _piece(ask, address).status == 409, 10, "a hold")
        before = cuts.up
        pool = stack.enter_context(ThreadPoolExecutor(1))
        uploading = pool.submit(client.upload, source, f"{place}/a")
        # Some have been refused by then: each such request has less than 1,000 bytes.
        wait_until(lambda: cuts.up > before + 3000, 20, "a few refusals")
        assert cuts.up < before + MIB
        assert not uploading.done()
        holder.close()
        assert uploading.result(30).size == SIZE
    assert cuts.up <= before + SIZE - 8 * MIB + HEADS


_PIECE = {
    "Tus-Resumable": "1.0.0",
    "Content-Type": "application/offset+octet-stream",
    "Upload-Offset": str(8 * MIB),
}


def _piece(ask: Http, address: str) -> Answer:
    """Of a piece that has no bytes."""
    return ask("PATCH", address, **{name.replace("-", "_"): _PIECE[name] for name in _PIECE})


def _head(address: str) -> bytes:
    """Of a piece that is larger than what follows; with a checksum, so that nothing is kept."""
    fields = {**_PIECE, "Host": "127.0.0.1", "Content-Length": str(8 * MIB)}
    fields["Upload-Checksum"] = "sha1 " + base64.b64encode(bytes(20)).decode()
    lines = [f"PATCH {address} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields), "", ""]
    return "\r\n".join(lines).encode()
