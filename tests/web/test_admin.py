"""The admin listener of a real davstore: what it says, and that it goes on saying it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from davstore import __version__
from tests.components.admin import Admin
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.processes import is_alive, wait_until

_LOCK = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
#: Promised, in seconds: not ready after a share's failure, ready after its return.
_NOTICED = 5.0


def _server(home: Path) -> DavServer:
    return DavServer(home, home / "root", settings={"workers": 2}, arguments=("--admin-port", "0"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """One for all that change nothing about it but the counts."""
    with _server(tmp_path_factory.mktemp("admin")) as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


@pytest.fixture
def admin(server: DavServer) -> Admin:
    return Admin(server)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DavServer]:
    """A server of the test's own."""
    with _server(tmp_path / "home") as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


class Load:
    """Requests of many kinds, by several threads, and what they have to add up to."""

    def __init__(self, server: DavServer) -> None:
        self._client = Client(server.address)
        self.requests: Counter[tuple[str, str]] = Counter()
        self.sent = 0
        self.received = 0

    def run(self, rounds: int) -> None:
        with ThreadPoolExecutor(4) as pool:
            for done in pool.map(self._round, range(rounds)):
                for method, status, sent, received in done:
                    self.requests[method, str(status)] += 1
                    self.sent += sent
                    self.received += received

    def _round(self, number: int) -> list[tuple[str, int, int, int]]:
        path, size = f"/load-{number}", random.Random(number).randrange(1, 100_000)
        plan = [
            ("PUT", path, b"x" * size),
            ("GET", path, b""),
            ("HEAD", path, b""),
            ("PROPFIND", path, b""),
            ("GET", f"{path}-missing", b""),
            ("MKCOL", path, b""),
            ("BREW", path, b""),
            ("DELETE", path, b""),
        ]
        done = []
        for method, target, body in plan:
            answer = self._client(method, target, body, Depth="0")
            counted = "other" if method == "BREW" else method
            done.append((counted, answer.status, len(body), len(answer.body)))
        return done


def _workers_of(server: DavServer) -> set[str]:
    """The beginnings of the requests' ids in the access log: one for each worker."""
    ends = [line.split()[-1] for line in server.said().splitlines() if "HTTP/1.1" in line]
    return {end.partition("-")[0] for end in ends}


def test_what_two_workers_did_adds_up_to_what_was_asked(server: DavServer, admin: Admin) -> None:
    before, load = Counter(admin.requests()), Load(server)
    bytes_before = admin.value("davstore_received_bytes_total")
    sent_before = admin.value("davstore_sent_bytes_total")
    load.run(40)
    while len(_workers_of(server)) < 2:
        load.run(10)
    print(f"{sum(load.requests.values())} requests, {load.sent} bytes in, {load.received} out")
    wanted = before + load.requests
    # A response is counted once it has been sent, so its reader may be here earlier.
    wait_until(lambda: Counter(admin.requests()) == wanted, 5, f"{wanted}, {admin.requests()}")
    assert admin.value("davstore_received_bytes_total") - bytes_before == load.sent
    assert admin.value("davstore_sent_bytes_total") - sent_before == load.received
    timed = admin.value("davstore_request_duration_seconds_count")
    assert timed == sum(wanted.values())
    assert admin.value("davstore_request_duration_seconds_bucket", le="+Inf") == timed
    reads = sum(count for (method, _), count in wanted.items() if method in ("GET", "HEAD"))
    assert admin.value("davstore_request_duration_seconds_count", kind="read") == reads
    assert admin.value("davstore_request_duration_seconds_sum") > 0
    assert admin.value("davstore_running_requests") == 0
    assert admin.value("davstore_build_info", version=__version__) == 1


def test_open_connections_running_requests_and_locks_are_seen(
    server: DavServer, admin: Admin
) -> None:
    client = Client(server.address)
    assert client("PUT", "/locked", b"x").status in (201, 204)
    locked = client("LOCK", "/locked", _LOCK)
    assert locked.status == 200
    with ExitStack() as stack:
        for _ in range(3):
            link = stack.enter_context(socket.create_connection(server.address))
            link.sendall(b"PUT /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
        wait_until(lambda: admin.value("davstore_running_requests") == 3, 5, "3 requests")
        assert admin.value("davstore_open_connections") >= 3
        wait_until(lambda: admin.value("davstore_locks", share="/") == 1, 5, "the lock")
    wait_until(lambda: admin.value("davstore_running_requests") == 0, 5, "no request")
    token = locked.header("Lock-Token") or ""
    assert client("UNLOCK", "/locked", Lock_Token=token).status == 204
    wait_until(lambda: admin.value("davstore_locks", share="/") == 0, 5, "no lock")
    wait_until(lambda: admin.value("davstore_used_bytes", share="/") >= 1, 10, "the used bytes")
    assert admin.value("davstore_storage_latency_seconds_count", share="/") >= 1
    assert admin.value("davstore_share_up", share="/") == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_head_is_get_without_its_body_and_nobody_else_may_read_it(admin: Admin, path: str) -> None:
    get, head = admin.get(path), admin.client("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert int(head.header("Content-Length") or 0) > 0
    for answer in (get, head):
        assert answer.header("Cache-Control") == "no-store"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert get.header("Content-Type") == head.header("Content-Type")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        answer = admin.client(method, path, b"body")
        assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD"), method


def test_healthz_and_readyz_are_json(admin: Admin) -> None:
    health = json.loads(admin.get("/healthz").body)
    assert (health["alive"], health["version"]) == (True, __version__)
    report = admin.report()
    assert (report["ready"], report["reasons"]) == (True, [])
    assert report["shares"]["/"] | {"since": ""} == {"ok": True, "error": None, "since": ""}


@pytest.mark.parametrize("path", ["/", "/health", "/metrics/", "/readyz/x", "//healthz"])
def test_there_is_nothing_else(admin: Admin, path: str) -> None:
    assert admin.get(path).status == 404


def test_who_understands_openmetrics_gets_it(admin: Admin) -> None:
    plain = admin.get("/metrics")
    assert (plain.header("Content-Type") or "").startswith("text/plain; version=0.0.4")
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    opened = admin.get("/metrics", Accept=accept)
    assert (opened.header("Content-Type") or "").startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")
    for odd in ("application/openmetrics-text;version=x", "text/plain;version=", "*", ",;,="):
        assert admin.get("/metrics", Accept=odd).status == 200, odd


def test_a_killed_worker_is_a_restart_and_loses_nothing_that_was_counted(own: DavServer) -> None:
    admin, load = Admin(own), Load(own)
    load.run(20)
    wait_until(lambda: admin.requests() == load.requests, 5, "the counts before")
    victims = admin.workers()
    assert len(victims) == 2
    for restarts, victim in enumerate(victims, 1):
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not is_alive(victim), 5, "its end")  # noqa: B023
        assert admin.requests() == load.requests
        wait_until(
            lambda: admin.value("davstore_worker_restarts_total") == restarts,  # noqa: B023
            5,
            f"{restarts} restarts",
        )
        wait_until(lambda: admin.value("davstore_workers_ready") == 2, 10, "both workers")
    load.run(20)
    wait_until(lambda: admin.requests() == load.requests, 5, "the counts after")


def test_the_next_housekeeper_answers_at_the_same_address(own: DavServer) -> None:
    admin, load = Admin(own), Load(own)
    load.run(5)
    wait_until(lambda: admin.requests() == load.requests, 5, "the counts before")
    for _ in range(2):
        killed = admin.housekeeper()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not is_alive(killed), 5, "its end")  # noqa: B023
        began = time.monotonic()
        # Who asks meanwhile waits in the socket's queue.
        assert admin.is_ready()
        print(f"answered {time.monotonic() - began:.2f} s after the death")
        assert admin.requests() == load.requests
        assert admin.housekeeper() != killed


def test_a_reload_loses_no_count_and_no_question(own: DavServer) -> None:
    admin, load, over = Admin(own), Load(own), threading.Event()
    load.run(10)
    before, keeper = set(admin.workers()), admin.housekeeper()

    def ask() -> list[float]:
        """How long each answer took; every one of them has to say that it is ready."""
        took = []
        while not over.is_set():
            began = time.monotonic()
            assert admin.is_ready()
            took.append(time.monotonic() - began)
        return took

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            os.kill(own.pid, signal.SIGHUP)
            wait_until(lambda: not before & set(admin.workers()), 20, "other workers")
            wait_until(lambda: not is_alive(keeper), 20, "the old housekeeper's end")
            assert admin.housekeeper() != keeper
            load.run(10)
        finally:
            over.set()
        took = asking.result()
    print(f"ready {len(took)} times meanwhile, the slowest answer took {max(took):.2f} s")
    assert max(took) < 5, "whoever checks would have given up"
    wait_until(lambda: admin.requests() == load.requests, 5, "the counts")
    assert admin.value("davstore_workers_ready") == 2
    assert admin.value("davstore_worker_restarts_total") == 0


def test_the_slow_and_the_hostile_stop_nobody(server: DavServer, admin: Admin) -> None:
    keeper = admin.housekeeper()
    garbage = (b"\x00\xff" * 500, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01" + b"\x00" * 50)
    with ExitStack() as stack:

        def connect(data: bytes) -> socket.socket:
            link = stack.enter_context(socket.create_connection(admin.address, timeout=10))
            link.sendall(data)
            return link

        for _ in range(400):
            connect(b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for data in garbage:
            connect(data)
        huge = connect(b"GET /readyz HTTP/1.1\r\nX-Huge: " + b"x" * 100_000)
        assert huge.recv(64).startswith(b"HTTP/1.1 431")
        slowest = 0.0
        for path in ("/healthz", "/readyz", "/metrics") * 5:
            began = time.monotonic()
            assert admin.get(path).status == 200
            slowest = max(slowest, time.monotonic() - began)
        print(f"with 400 slow clients the slowest answer took {slowest * 1000:.1f} ms")
        assert slowest < 2
    assert admin.housekeeper() == keeper


def test_not_ready_while_the_shares_folder_is_away(own: DavServer) -> None:
    admin, root = Admin(own), own.root
    assert root is not None
    assert admin.is_ready()
    aside = root.with_name("aside")
    began = time.monotonic()
    root.rename(aside)
    wait_until(lambda: not admin.is_ready(), _NOTICED, "not ready")
    print(f"not ready {time.monotonic() - began:.2f} s after the folder went")
    report = admin.report()
    assert "cannot be reached" in report["shares"]["/"]["error"]
    assert str(root) not in json.dumps(report)
    assert admin.value("davstore_ready") == admin.value("davstore_share_up", share="/") == 0
    assert admin.get("/healthz").status == 200

    root.mkdir()
    wait_until(lambda: "Another folder" in admin.get("/readyz").text, _NOTICED, "another folder")
    root.rmdir()

    # A housekeeper that begins now cannot open the share, and says so.
    os.kill(admin.housekeeper(), signal.SIGKILL)
    wait_until(lambda: "is not there" in admin.get("/readyz").text, 10, "the next housekeeper")

    began = time.monotonic()
    aside.rename(root)
    wait_until(admin.is_ready, _NOTICED, "ready")
    print(f"ready {time.monotonic() - began:.2f} s after it came back")
    said = own.said()
    assert "Not ready: the share at /" in said
    assert said.rstrip().endswith("Ready"), own.tail()


def test_not_ready_while_the_state_cannot_be_written(own: DavServer) -> None:
    admin = Admin(own)
    assert admin.is_ready()
    aside = own.state.with_name("state-aside")
    own.state.rename(aside)
    wait_until(lambda: not admin.is_ready(), _NOTICED, "not ready")
    assert "The state folder cannot be written" in admin.report()["shares"]["/"]["error"]

    # A housekeeper that begins now says so as well, and makes no other in its place.
    os.kill(admin.housekeeper(), signal.SIGKILL)
    wait_until(lambda: "is not there" in admin.get("/readyz").text, 10, "the next housekeeper")
    assert not own.state.exists()
    aside.rename(own.state)
    wait_until(admin.is_ready, _NOTICED, "ready")


def test_not_ready_once_it_stops(own: DavServer) -> None:
    """While a request is still running: the balancer has to hear of it before the end."""
    admin = Admin(own)
    with socket.create_connection(own.address) as link:
        link.sendall(b"PUT /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
        wait_until(lambda: admin.value("davstore_running_requests") == 1, 5, "the request")
        with admin.client.connection() as kept:
            # A connection that is open already is answered as long as there is a housekeeper.
            kept.request("GET", "/readyz")
            assert kept.getresponse().read()
            os.kill(own.pid, signal.SIGTERM)

            def says_no() -> bool:
                try:
                    return not admin.is_ready()
                except OSError:
                    return True

            wait_until(says_no, 2, "not ready, or nobody there")
        link.sendall(b"other")
        assert link.recv(64).startswith(b"HTTP/1.1 201")
    wait_until(lambda: not is_alive(own.pid), 10, "its end")
    assert own.stop() == 0
