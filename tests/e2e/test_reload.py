"""SIGHUP: a changed configuration is taken over, a wrong one is not, and no client notices."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.load import Load
from tests.components.processes import descendants, free_port, is_alive, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DavServer]:
    with DavServer(tmp_path / "home", tmp_path / "root", settings={"workers": 2}) as running:
        (tmp_path / "root" / "file.txt").write_bytes(b"content")
        yield running


def _shares(server: DavServer, **others: Path) -> dict[str, Any]:
    for root in others.values():
        root.mkdir(exist_ok=True)
    added = {f"/{name}": {"root": str(root)} for name, root in others.items()}
    return {"/": server.settings["shares"]["/"], **added}


def _await_reloads(server: DavServer, count: int) -> None:
    said = "Reloaded"
    server.wait_until(lambda: server.said().count(said) >= count, 30, f"{count} reloads")


def _await_content(client: Client, path: str, wanted: str) -> None:
    wait_until(lambda: client("GET", path).text == wanted, 10, f"{wanted!r} in {path}")


def _await_answers(load: Load, count: int) -> None:
    wait_until(lambda: load.count >= count, 30, f"{count} answers")


def test_no_request_fails_while_the_configuration_changes_under_load(
    server: DavServer, tmp_path: Path
) -> None:
    client = Client(server.address)
    with Load(server.address) as load:
        for number, workers in enumerate([3, 1, 2], 1):
            before = load.count
            server.reload(
                {"workers": workers, "shares": _shares(server, second=tmp_path / str(number))}
            )
            _await_reloads(server, number)
            (tmp_path / str(number) / "where.txt").write_text(str(number))
            _await_content(client, "/second/where.txt", str(number))
            _await_answers(load, before + 100)
    assert load.failures == []
    assert load.count > 300
    # Two workers and the housekeeper; all others have ended, since nobody asks them anything.
    wait_until(lambda: len(descendants(server.pid)) == 3, 40, "the end of all old workers")
    assert server.stop() == 0
    assert "is killed" not in server.said()


def test_a_running_download_outlives_the_reload_and_its_connection_ends_cleanly(
    server: DavServer, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20) * 64
    (tmp_path / "root" / "large.bin").write_bytes(content)
    old = descendants(server.pid)
    with Client(server.address).connection() as busy, Client(server.address).connection() as idle:
        idle.request("GET", "/file.txt")
        assert idle.getresponse().read() == b"content"
        link = idle.sock
        busy.request("GET", "/large.bin")
        with busy.getresponse() as response:
            first = response.read(100)
            server.reload({"dav": {"infinite_depth": True}})
            _await_reloads(server, 1)
            assert first + response.read() == content
        # This connection's process is old; it has one more answer, and says that it was the last.
        idle.request("PROPFIND", "/", headers={"Depth": "infinity"})
        assert idle.sock is link
        with idle.getresponse() as response:
            assert (response.status, response.getheader("Connection")) == (403, "close")
            response.read()
        idle.request("PROPFIND", "/", headers={"Depth": "infinity"})
        with idle.getresponse() as response:
            assert response.status == 207
            response.read()
    wait_until(lambda: not any(map(is_alive, old)), 20, "the end of the old processes")


def test_a_wrong_configuration_is_told_in_full_and_changes_nothing(
    server: DavServer, tmp_path: Path
) -> None:
    old = descendants(server.pid)
    kept = dict(server.settings)
    wrong = {"workers": "many", "shares": {"/": {"root": str(tmp_path / "absent")}}}
    with Load(server.address, kept=1, fresh=1) as load:
        server.reload(wrong)
        server.wait_until(lambda: "the old workers go on" in server.said(), 20, "its word")
    assert load.failures == []
    lines = [line for line in server.said().splitlines() if "Not reloading: " in line]
    assert len(lines) == 2, lines
    assert any("workers" in line and "many" in line for line in lines)
    assert any("shares" in line and str(tmp_path / "absent") in line for line in lines)
    assert descendants(server.pid) == old
    server.config.write_text(": not YAML [")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_until(lambda: server.said().count("the old workers go on") == 2, 20, "its word")
    assert "Traceback" not in server.said()
    # What is right again is taken.
    server.reload({**kept, "workers": 1})
    _await_reloads(server, 1)
    wait_until(lambda: len(descendants(server.pid)) == 2, 40, "one worker and a housekeeper")


def test_a_share_that_cannot_be_opened_stops_the_reload_and_not_the_server(
    server: DavServer, tmp_path: Path
) -> None:
    # Right as far as it can be read; only trying it tells.
    other = tmp_path / "other-state"
    other.mkdir()
    (other / "locks.db").write_bytes(b"no database" * 1000)
    server.reload({"state": str(other)})
    server.wait_until(lambda: "the old workers go on" in server.said(), 20, "its word")
    assert str(other) in server.said()
    assert "Traceback" not in server.said()
    assert Client(server.address)("GET", "/file.txt").status == 200


def test_what_needs_a_restart_stays_and_is_told(server: DavServer) -> None:
    port = free_port()
    server.reload({"listen": {"host": "127.0.0.1", "port": port}, "admin": {"port": 0}})
    _await_reloads(server, 1)
    assert "listen: stays as it is until davstore is started again" in server.said()
    assert "admin: stays as it is until davstore is started again" in server.said()
    assert Client(server.address)("GET", "/file.txt").status == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_users_and_log_change_with_the_configuration(server: DavServer) -> None:
    client = Client(server.address)
    assert client("GET", "/file.txt").status == 200
    server.add_user("alice", "secret")
    server.reload({"log": {"format": "json"}})
    _await_reloads(server, 1)
    assert client("GET", "/file.txt").status == 401
    assert Client(server.address, "alice", "secret")("GET", "/file.txt").status == 200
    wait_until(lambda: '"user": "alice"' in server.said(), 10, "an access record in JSON")
    assert '"message": "Reloaded"' in server.said()


def test_two_signals_at_once_end_with_the_configuration_that_was_there_last(
    server: DavServer, tmp_path: Path
) -> None:
    server.reload({"shares": _shares(server, first=tmp_path / "first")})
    server.wait_until(lambda: "Reloading" in server.said(), 10, "its beginning")
    server.reload({"shares": _shares(server, second=tmp_path / "second")})
    client = Client(server.address)
    _await_reloads(server, 2)
    # Those of before may answer for a moment still: they have been told, and are about to leave.
    wait_until(lambda: client("PROPFIND", "/first/", Depth="0").status == 404, 10, "its end")
    assert client("PROPFIND", "/second/", Depth="0").status == 207
    assert server.said().count("Reloaded") == 2
    assert server.stop() == 0


def test_a_stop_in_the_middle_of_a_reload_is_a_graceful_one(server: DavServer) -> None:
    pids = server.pids()
    with contextlib.closing(socket.create_connection(server.address, timeout=20)) as link:
        server.reload({"workers": 3})
        server.wait_until(lambda: "Reloading" in server.said(), 10, "its beginning")
        os.kill(server.pid, signal.SIGTERM)
        link.sendall(b"GET /file.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.recv(65536).startswith(b"HTTP/1.1 200")
    assert server._process is not None
    assert server._process.wait(20) == 0
    assert not any(map(is_alive, pids))
    assert "Traceback" not in server.said()


class _Begun(DavServer):
    """One that counts as started as soon as it has made its state folder."""

    def wait_ready(self, seconds: float = 30) -> None:
        self.wait_until(self.state.exists, seconds, "its state folder")


def test_a_signal_before_it_serves_does_not_end_it(tmp_path: Path) -> None:
    with _Begun(tmp_path / "home", tmp_path / "root") as server:
        os.kill(server.pid, signal.SIGHUP)
        DavServer.wait_ready(server)
        assert Client(server.address)("OPTIONS", "/").status == 200
        assert server.stop() == 0
