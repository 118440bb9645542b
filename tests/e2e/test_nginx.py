"""davstore behind a real nginx that runs from the sample configuration."""

from __future__ import annotations

import http.client
import itertools
import re
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.components import litmus
from tests.components.davserver import DavServer
from tests.components.http import Answer, Client, ask, hrefs
from tests.components.nginx import Nginx
from tests.components.processes import descendants, free_port, wait_until
from tests.components.rclone import RcloneClient
from tests.components.upstreams import Upstream
from tests.server.certificate import make_certificate

MIB = 1 << 20

#: nginx here; the clients come from other addresses of this machine.
TRUSTED = {"proxy": {"trusted": ["127.0.0.1"]}}
CLIENT = "127.0.0.2"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that nginx's workers, who are another user when root starts it, can enter."""
    folder = tmp_path_factory.mktemp("nginx")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def node(place: Path) -> Iterator[DavServer]:
    with DavServer(place / "node", place / "root", settings=TRUSTED) as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


@pytest.fixture(scope="module")
def front(place: Path, node: DavServer) -> Iterator[Nginx]:
    """nginx at the root of its host, without TLS."""
    with Nginx(place / "front", [node.port]) as running:
        yield running


@pytest.fixture(scope="module")
def drive(place: Path, node: DavServer) -> Iterator[Nginx]:
    """nginx with TLS, and the same node below /drive."""
    nginx = Nginx(place / "drive", [node.port], tls=True, prefix=True)
    make_certificate(nginx.home)
    with nginx as running:
        yield running


def secure(nginx: Nginx, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
    context = ssl.create_default_context(cafile=nginx.home / "certificate.pem")
    link = http.client.HTTPSConnection("localhost", nginx.port, timeout=30, context=context)
    try:
        return ask(link, method, target, body, headers)
    finally:
        link.close()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
def test_nginx_finds_nothing_wrong_with_the_sample(tmp_path: Path, tls: bool, prefix: bool) -> None:
    nginx = Nginx(tmp_path / "home", [1, 2, 3], tls=tls, prefix=prefix)
    make_certificate(nginx.home)
    argv = nginx.command("-t", "-g", f"pid {tmp_path}/pid;")
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


class TestBelowAPathAndBehindTls:
    def test_a_destination_is_the_one_that_the_client_sees(self, drive: Nginx) -> None:
        assert secure(drive, "PUT", "/drive/a.txt", b"a").status == 201
        there = f"{drive.url}drive/b.txt"
        assert secure(drive, "MOVE", "/drive/a.txt", Destination=there).status == 201
        assert secure(drive, "GET", "/drive/b.txt").body == b"a"
        elsewhere = "https://other.example/drive/c.txt"
        assert secure(drive, "MOVE", "/drive/b.txt", Destination=elsewhere).status == 502
        outside = f"{drive.url}c.txt"
        assert secure(drive, "MOVE", "/drive/b.txt", Destination=outside).status == 502

    def test_hrefs_and_links_lead_back(self, drive: Nginx) -> None:
        secure(drive, "MKCOL", "/drive/f")
        secure(drive, "PUT", "/drive/f/x y.txt".replace(" ", "%20"), b"a")
        found = hrefs(secure(drive, "PROPFIND", "/drive/f/", Depth="1"))
        assert found == ["/drive/f/", "/drive/f/x%20y.txt"]
        assert 'href="/drive/f/x%20y.txt"' in secure(drive, "GET", "/drive/f/").text

    def test_the_path_itself_needs_no_slash(self, drive: Nginx) -> None:
        assert hrefs(secure(drive, "PROPFIND", "/drive", Depth="0")) == ["/drive/"]

    @pytest.mark.parametrize("target", ["/", "/a.txt", "/drivers/a.txt", "/.davstore~once"])
    def test_nothing_is_there_beside_the_path(self, drive: Nginx, target: str) -> None:
        assert secure(drive, "GET", target).status == 404
        assert secure(drive, "PUT", target, b"a").status in (404, 405)

    @pytest.mark.parametrize("name", ["%3F", "%23", ";", "%25", "%C3%A4", "a+b", "%5C", "a%26b"])
    def test_names_arrive_as_they_were_written(self, drive: Nginx, name: str) -> None:
        target = f"/drive/{name}-1"
        assert secure(drive, "PUT", target, name.encode()).status == 201
        assert secure(drive, "GET", target).body == name.encode()
        there = f"{drive.url}drive/{name}-2"
        assert secure(drive, "MOVE", target, Destination=there).status == 201
        assert secure(drive, "DELETE", f"/drive/{name}-2").status == 204

    def test_a_slash_in_a_name_is_refused_and_not_taken_for_a_folder(self, drive: Nginx) -> None:
        secure(drive, "MKCOL", "/drive/slash")
        assert secure(drive, "PUT", "/drive/slash%2Fname", b"a").status == 400

    def test_litmus_finds_nothing(self, drive: Nginx, tmp_path: Path) -> None:
        report = litmus.run(f"{drive.url}drive/", tmp_path)
        assert report.status == 0, f"{report.table()}\n{report.output[-4000:]}"
        remarks = [remark for suite in report.suites for remark in suite.remarks]
        # litmus itself leaves this one out with TLS.
        assert remarks == [
            "2. expect100............. SKIPPED (skipping for SSL server)",
            "-> 1 test was skipped.",
        ]
        assert tuple(suite.name for suite in report.suites) == litmus.SUITES

    def test_rclone_copies_moves_and_finds_no_difference(
        self, drive: Nginx, tmp_path: Path
    ) -> None:
        source = tmp_path / "source"
        (source / "below").mkdir(parents=True)
        for number in range(20):
            (source / f"ä {number} #?.bin").write_bytes(bytes([number]) * 3000 * number)
            (source / "below" / f"{number};x.txt").write_text(str(number))
        rclone = RcloneClient(f"{drive.url}drive", tmp_path / "rclone", vendor="nextcloud")
        lax = "--no-check-certificate"
        rclone("copy", lax, str(source), rclone.remote("copied"))
        rclone("move", lax, rclone.remote("copied"), rclone.remote("moved"))
        rclone("check", lax, str(source), rclone.remote("moved"))
        rclone("moveto", lax, rclone.remote("moved/below/7;x.txt"), rclone.remote("moved/7.txt"))
        assert rclone.output("cat", lax, rclone.remote("moved/7.txt")) == "7"
        assert "copied/" not in rclone.output("lsf", lax, rclone.remote())


def test_litmus_finds_nothing_without_tls(front: Nginx, tmp_path: Path) -> None:
    report = litmus.run(front.url, tmp_path)
    assert report.is_perfect, f"{report.table()}\n{report.output[-4000:]}"


class TestWhatTheNodeIsTold:
    def test_a_client_cannot_say_who_it_is_nor_where(self, front: Nginx, node: DavServer) -> None:
        link = http.client.HTTPConnection(*front.address, timeout=30, source_address=(CLIENT, 0))
        spoofed = {
            "X-Forwarded-For": "192.0.2.66",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Prefix": "/evil",
            "Forwarded": "for=192.0.2.66;host=evil.example;proto=https",
            "Depth": "0",
        }
        answer = ask(link, "PROPFIND", "/?spoofed", b"", spoofed)
        assert (answer.status, hrefs(answer)) == (207, ["/"])
        link.close()
        line = wait_until(
            lambda: re.search(r'^(\S+) .*"PROPFIND /\?spoofed', node.said(), re.MULTILINE),
            10,
            "the line of the access log",
        )
        assert line[1] == CLIENT

    def test_a_client_that_reaches_the_node_itself_is_not_believed(self, node: DavServer) -> None:
        link = http.client.HTTPConnection(*node.address, timeout=30, source_address=(CLIENT, 0))
        answer = ask(link, "PROPFIND", "/?direct", b"", {"Depth": "0", "X-Forwarded-Prefix": "/e"})
        link.close()
        assert hrefs(answer) == ["/"]


class TestStreaming:
    def test_an_upload_arrives_while_it_is_sent(self, front: Nginx, node: DavServer) -> None:
        assert node.root is not None
        staging = node.root / ".davstore~"
        with socket.create_connection(front.address, timeout=30) as link:
            head = f"PUT /slow.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: {4 * MIB}\r\n\r\n"
            link.sendall(head.encode() + bytes(2 * MIB))
            wait_until(lambda: _largest(staging) >= MIB, 20, "the first MiB at the node")
            assert _spooled(front) == 0
            link.sendall(bytes(2 * MIB))
            assert link.recv(12) == b"HTTP/1.1 201"
        assert (node.root / "slow.bin").stat().st_size == 4 * MIB

    def test_a_chunked_upload_without_a_length_arrives(self, front: Nginx) -> None:
        pieces = iter([b"a" * 70_000, b"b" * 70_000])
        assert Client(front.address)("PUT", "/chunked.bin", pieces).status == 201
        assert Client(front.address)("GET", "/chunked.bin").body == b"a" * 70_000 + b"b" * 70_000

    def test_who_waits_to_be_told_to_go_on_is_told(self, front: Nginx) -> None:
        with socket.create_connection(front.address, timeout=30) as link:
            head = "PUT /expects.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
            link.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert link.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
            link.sendall(b"body")
            assert link.recv(12) == b"HTTP/1.1 201"

    @pytest.mark.parametrize("is_chunked", [False, True])
    def test_a_refusal_arrives_in_the_middle_of_a_large_upload(
        self, front: Nginx, is_chunked: bool
    ) -> None:
        client = Client(front.address)
        client("PUT", "/there.bin", b"a")
        for _ in range(5):
            body = iter([bytes(MIB)] * 20) if is_chunked else bytes(20 * MIB)
            assert client("PUT", "/there.bin", body, If_None_Match="*").status == 412
        assert client("GET", "/there.bin").body == b"a"

    def test_a_refused_chunked_upload_costs_the_next_request_nothing(self, front: Nginx) -> None:
        """nginx keeps a node's connection, unless it is told that the node closes it."""
        client = Client(front.address)
        client("PUT", "/there.bin", b"a")

        def refuse_and_write(number: int) -> list[int]:
            found = []
            for _ in range(40):
                body = iter([bytes(17_000)] * 5)
                found.append(client("PUT", "/there.bin", body, If_None_Match="*").status)
                found.append(client("PUT", f"/next-{number}.bin", b"a").status)
            return found

        with ThreadPoolExecutor(4) as pool:
            counts = Counter(itertools.chain(*pool.map(refuse_and_write, range(4))))
        assert counts[412] == counts[201] + counts[204] == 160, counts

    def test_a_large_download_never_lies_on_nginxs_disk(
        self, front: Nginx, node: DavServer
    ) -> None:
        assert node.root is not None
        size = 200 * MIB
        with (node.root / "large.bin").open("wb") as file:
            file.truncate(size)
        link = http.client.HTTPConnection(*front.address, timeout=30)
        link.request("GET", "/large.bin")
        answer = link.getresponse()
        left, spooled = size, 0
        while data := answer.read(8 * MIB):
            left -= len(data)
            spooled = max(spooled, _spooled(front))
        link.close()
        assert (answer.status, left, spooled) == (200, 0, 0)


def _largest(folder: Path) -> int:
    """Bytes of the largest file below `folder`, 0 without any."""
    sizes = [0]
    for file in folder.rglob("*"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:
            continue
    return max(sizes)


def _spooled(nginx: Nginx) -> int:
    """Bytes of all files below its folder that its workers have open, logs aside."""
    total = 0
    for worker in descendants(nginx.pid):
        for entry in Path(f"/proc/{worker}/fd").iterdir():
            try:
                name, size = entry.readlink(), entry.stat().st_size
            except OSError:
                continue
            if name.is_relative_to(nginx.home) and name.suffix != ".log":
                total += size
    return total


WRITES = ("PUT", "MKCOL", "DELETE", "MOVE", "COPY", "PROPPATCH", "LOCK", "UNLOCK", "PATCH", "POST")
READS = ("GET", "HEAD", "OPTIONS", "PROPFIND")


class TestANodeThatDies:
    @pytest.mark.parametrize("method", WRITES)
    def test_in_the_middle_of_a_change_has_it_not_repeated(self, place: Path, method: str) -> None:
        with (
            Upstream(b"") as dying,
            Upstream(OK) as other,
            Nginx(place / f"dying-{method}", [dying.port, other.port]) as nginx,
        ):
            answer = Client(nginx.address)(method, "/a", Destination="/b")
            assert answer.status == 502
            assert dying.heard == [f"{method} /a HTTP/1.1"]
            assert other.heard == []

    @pytest.mark.parametrize("method", READS)
    def test_in_the_middle_of_a_look_has_it_repeated(self, place: Path, method: str) -> None:
        with (
            Upstream(b"") as dying,
            Upstream(OK) as other,
            Nginx(place / f"dying-{method}", [dying.port, other.port]) as nginx,
        ):
            answer = Client(nginx.address)(method, "/a", b"<x/>" if method == "PROPFIND" else b"")
            assert answer.status == 200
            assert dying.heard == other.heard == [f"{method} /a HTTP/1.1"]

    def test_costs_one_change_at_most_and_no_look_at_all(
        self, place: Path, node: DavServer
    ) -> None:
        """Nobody listens at the first address; nginx leaves it alone once it knows."""
        with Nginx(place / "gone", [free_port(), node.port]) as nginx:
            client = Client(nginx.address)
            puts = [client("PUT", f"/gone-{number}", b"a").status for number in range(6)]
            assert sorted(puts) == [201, 201, 201, 201, 201, 502]
        with Nginx(place / "gone-too", [free_port(), node.port]) as nginx:
            client = Client(nginx.address)
            assert {client("GET", "/gone-5").status for _ in range(6)} == {200}
