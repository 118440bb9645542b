"""Stopping, and dying: running transfers end well, dead workers are replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.content import Stream, litter
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.processes import (
    ServerProcess,
    descendants,
    free_port,
    is_alive,
    wait_until,
)

ROOT = Path(__file__).parents[2]
SIZE = 64 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DavServer]:
    with DavServer(tmp_path / "home", tmp_path / "root") as running:
        yield running


def _exit_status(server: DavServer) -> int:
    """Once it has ended. Not by stop(), whose signal could be the second one, which cuts."""
    assert server._process is not None
    return server._process.wait(20)


def test_a_download_that_runs_when_the_server_is_asked_to_stop_comes_to_its_end(
    server: DavServer, tmp_path: Path
) -> None:
    stream = Stream(SIZE)
    with (tmp_path / "root" / "large.bin").open("wb") as file:
        file.writelines(stream.blocks())
    with Client(server.address, timeout=60).connection() as connection:
        connection.request("GET", "/large.bin")
        with connection.getresponse() as response:
            first = response.read(100)
            os.kill(server.pid, signal.SIGTERM)
            server.await_refusal()
            whole = first + response.read()
    assert whole == b"".join(stream.blocks())
    assert _exit_status(server) == 0


def test_an_upload_that_runs_when_the_server_is_asked_to_stop_is_acknowledged_and_kept(
    server: DavServer, tmp_path: Path
) -> None:
    half = b"h" * 1_000_000
    with socket.create_connection(server.address, timeout=60) as link:
        head = (
            f"PUT /file.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * len(half)}\r\n\r\n"
        )
        link.sendall(head.encode() + half)
        wait_until(lambda: litter(tmp_path / "root"), 10, "the upload's beginning")
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        link.sendall(half)
        assert link.recv(65536).startswith(b"HTTP/1.1 201")
    assert _exit_status(server) == 0
    assert (tmp_path / "root" / "file.bin").read_bytes() == half * 2
    assert not litter(tmp_path / "root")


def test_a_server_without_requests_stops_at_once_although_connections_are_open(
    server: DavServer,
) -> None:
    pids = server.pids()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            link = stack.enter_context(socket.create_connection(server.address, timeout=20))
            link.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.recv(65536).startswith(b"HTTP/1.1 200")
            stack.enter_context(socket.create_connection(server.address, timeout=20))
        assert server.stop(seconds=10) == 0
    assert not any(map(is_alive, pids))


def _children(server: DavServer) -> list[int]:
    """Workers and housekeeper, without what these may have started for a moment."""
    listed = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii")
    return [pid for pid in map(int, listed.split()) if is_alive(pid)]


def _await_others(server: DavServer, gone: list[int], count: int) -> None:
    def replaced() -> bool:
        children = _children(server)
        return len(children) == count and not set(children) & set(gone)

    wait_until(replaced, 20, f"{count} processes in place of {gone}")


def test_a_worker_that_died_is_replaced_and_no_request_stays_unanswered_for_long(
    server: DavServer,
) -> None:
    client = Client(server.address)
    count = len(_children(server))
    for _ in range(3):
        before = _children(server)
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        _await_others(server, before, count)
        assert client("OPTIONS", "/").status == 200
        assert client("PUT", "/file.txt", b"content").status in (201, 204)


def test_the_death_of_one_worker_does_not_disturb_a_transfer_in_another_one(
    tmp_path: Path,
) -> None:
    stream = Stream(SIZE)
    with DavServer(tmp_path / "home", tmp_path / "root", settings={"workers": 4}) as server:
        with (tmp_path / "root" / "large.bin").open("wb") as file:
            file.writelines(stream.blocks())
        with Client(server.address, timeout=60).connection() as connection:
            connection.request("GET", "/large.bin")
            with connection.getresponse() as response:
                whole = response.read(100)
                busy = _pid_with_file(server, "large.bin")
                for pid in _children(server):
                    if pid != busy:
                        os.kill(pid, signal.SIGKILL)
                whole += response.read()
        assert whole == b"".join(stream.blocks())


def _pid_with_file(server: DavServer, name: str) -> int:
    """The process that has a file of this name open."""
    for pid in server.pids():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if entry.readlink().name == name:
                    return pid
    raise AssertionError(f"no process of {server.pids()} has {name} open")


def test_a_second_request_to_stop_ends_everything_at_once(
    server: DavServer, tmp_path: Path
) -> None:
    (tmp_path / "root" / "large.bin").write_bytes(bytes(SIZE))
    pids = server.pids()
    with socket.create_connection(server.address, timeout=20) as link:
        link.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.recv(1000).startswith(b"HTTP/1.1 200")
        os.kill(server.pid, signal.SIGTERM)
        server.await_refusal()
        process = server._process
        assert process is not None

        def has_ended() -> bool:
            os.kill(server.pid, signal.SIGTERM)
            return process.poll() is not None

        # One that comes within a second is taken for the first one.
        wait_until(has_ended, 5, "its end at once")
        assert process.poll() == 1
    assert not any(map(is_alive, pids))


def test_a_clean_stop_leaves_no_sign_of_life_that_the_next_start_would_count_after(
    server: DavServer,
) -> None:
    alive = server.state / "alive"
    assert Client(server.address)("PUT", "/file.txt", b"content").status == 201
    wait_until(lambda: len(list(alive.iterdir())) == len(server.pids()) - 1, 10, "all signs")
    assert server.stop() == 0
    assert list(alive.iterdir()) == []


def test_no_worker_starts_another_program(tmp_path: Path) -> None:
    # wsgidav asks for the platform's name, and Python asks uname(1) for a part of it.
    programs, calls = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    (programs / "uname").write_text(f"#!/bin/sh\necho $PPID >> {calls}\necho unknown\n")
    (programs / "uname").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    with DavServer(tmp_path / "home", tmp_path / "root", env={"PATH": path}) as server:
        assert Client(server.address)("OPTIONS", "/").status == 200
        assert not calls.exists() or set(calls.read_text().split()) == {str(server.pid)}


def test_it_serves_without_standard_output_and_stops_gracefully(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        server.stop()
    port = free_port()
    argv = [*server.argv, "--port", str(port)]
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *argv]
    with Mute(shell, tmp_path / "mute.log", port) as mute:
        assert Client(mute.address)("OPTIONS", "/").status == 200
        assert mute.stop() == 0
        assert "Traceback" not in mute.said()


class Mute(ServerProcess):
    name = "davstore without output"

    def __init__(self, argv: list[str], log: Path, port: int) -> None:
        super().__init__(argv, log)
        self.port = port


def _make_run(folder: Path) -> list[str]:
    """The command `make run` for what is installed here, with everything else in `folder`."""
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in ("pyproject.toml", "requirements.lock"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    (folder / ".venv" / ".base").touch()
    return ["make", "-f", str(ROOT / "Makefile"), "-C", str(folder), "run"]


def test_an_interrupt_from_the_keyboard_ends_make_run_gracefully(tmp_path: Path) -> None:
    terminal, other = os.openpty()
    argv = ["setsid", "--ctty", *_make_run(tmp_path)]
    env = {**os.environ, "DAVSTORE_LISTEN__PORT": "0", "DAVSTORE_STATE": str(tmp_path / "state")}
    with (
        os.fdopen(terminal, "r+b", buffering=0) as keyboard,
        subprocess.Popen(argv, stdin=other, stdout=other, stderr=other, env=env) as process,
    ):
        os.close(other)
        said = b""
        while b"at http://" not in said:
            said += keyboard.read(1000)
        pids = descendants(process.pid)
        keyboard.write(b"\x03")
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            while piece := keyboard.read(1000):
                said += piece
        process.wait(20)
    assert not any(map(is_alive, pids))
    assert b"Traceback" not in said
    assert b"another one follows" not in said
    assert list((tmp_path / "state" / "alive").iterdir()) == []
