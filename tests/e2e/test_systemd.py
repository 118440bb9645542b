"""davstore under a service manager: its sockets, what it is told, and the units that we ship."""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from davstore.cli import main
from davstore.config import Config
from davstore.config.model import Limits
from davstore.server.housekeeper import LEAVE_WITHIN
from tests.components.found import require
from tests.components.http import Client
from tests.server.test_systemd import launched

TOP = Path(__file__).parents[2]
SERVICE = TOP / "config/davstore.service"
SOCKET = TOP / "config/davstore.socket"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the service manager hears how things are."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(str(tmp_path / "notify"))
        hearing.settimeout(30)
        yield hearing


@contextlib.contextmanager
def _service(
    folder: Path, sockets: dict[str, socket.socket], **settings: object
) -> Iterator[subprocess.Popen[str]]:
    """davstore over `folder`/root, given these sockets by name."""
    (folder / "root").mkdir(exist_ok=True)
    file = folder / "davstore.yaml"
    given = {"shares": {"/": str(folder / "root")}, "workers": 2, "admin": {"port": 0}, **settings}
    file.write_text(yaml.safe_dump(given))
    argv = launched(list(sockets.values()), "-m", "davstore", "serve", "--config", str(file))
    env = {
        **os.environ,
        "NOTIFY_SOCKET": str(folder / "notify"),
        "LISTEN_FDNAMES": ":".join(sockets),
    }
    fds = [sock.fileno() for sock in sockets.values()]
    with subprocess.Popen(
        argv, pass_fds=fds, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _heard(manager: socket.socket) -> str:
    return manager.recv(1000).decode().split("\n")[0]


def test_it_serves_at_the_managers_sockets_and_says_how_things_are(
    tmp_path: Path, manager: socket.socket
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as files,
        socket.create_server(("127.0.0.1", 0)) as admin,
        _service(tmp_path, {"admin": admin, "davstore": files}) as process,
    ):
        assert _heard(manager) == "READY=1"
        (tmp_path / "root" / "file.txt").write_text("content")
        assert Client(files.getsockname())("GET", "/file.txt").text == "content"
        assert Client(admin.getsockname())("GET", "/healthz").status == 200
        process.send_signal(signal.SIGHUP)
        assert [_heard(manager), _heard(manager)] == ["RELOADING=1", "READY=1"]
        assert Client(files.getsockname())("GET", "/file.txt").text == "content"
        process.send_signal(signal.SIGTERM)
        assert _heard(manager) == "STOPPING=1"
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        # For the next one: who connects meanwhile waits for it.
        socket.create_connection(files.getsockname(), timeout=10).close()
        assert f"at http://127.0.0.1:{files.getsockname()[1]}/" in said
        assert f"admin at http://127.0.0.1:{admin.getsockname()[1]}/" in said
        assert "stays as it is" not in said


def test_connections_that_come_between_stop_and_start_are_served(
    tmp_path: Path, manager: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as files:
        for _ in range(2):
            # It is there before anybody takes it.
            early = socket.create_connection(files.getsockname(), timeout=30)
            with _service(tmp_path, {"davstore": files}) as process:
                with early as link:
                    link.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert link.recv(65536).startswith(b"HTTP/1.1 200")
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)
                assert process.returncode == 0


def test_the_managers_address_is_judged_in_place_of_the_configured_one(
    tmp_path: Path, manager: socket.socket
) -> None:
    listen = {"host": "127.0.0.1", "port": 8080}
    with (
        socket.create_server(("0.0.0.0", 0)) as files,
        _service(tmp_path, {"davstore": files}, listen=listen) as process,
    ):
        said, _ = process.communicate(timeout=30)
    # Without users it would let everybody in.
    assert process.returncode == 2
    assert "listen.host" in said
    assert "0.0.0.0" in said


def _unit(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(file.read_text())
    return parser


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    program = tmp_path / "davstore"
    program.touch(mode=0o755)
    for unit in (SERVICE, SOCKET):
        shutil.copy(unit, tmp_path)
    # Where it is installed on the machine of a user.
    copy = tmp_path / SERVICE.name
    copy.write_text(copy.read_text().replace("/opt/davstore/bin/davstore", str(program)))
    argv = [str(require("systemd-analyze")), "verify", str(copy), str(tmp_path / SOCKET.name)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_service_runs_is_a_command_that_there_is() -> None:
    service = _unit(SERVICE)["Service"]
    program, command, *arguments = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("davstore", "serve")
    serve = main.get_command(click.Context(main), command)
    assert serve is not None
    with serve.make_context(command, arguments) as context:
        given = context.params
    assert given["config_file"] == Path("/etc/davstore/davstore.yaml")
    # All that it writes has to lie where the unit lets it.
    assert Path(given["state"]).parent == Path("/var/lib") / service["StateDirectory"]
    assert shlex.split(service["ExecReload"]) == ["/bin/kill", "-HUP", "$MAINPID"]


def test_the_service_has_the_time_that_a_stop_can_take() -> None:
    service = _unit(SERVICE)["Service"]
    margins = 2 * 5  # what ends late, and the housekeeper after it
    assert int(service["TimeoutStopSec"]) > LEAVE_WITHIN + Limits().drain_timeout + margins
    # A signal to all of the group would have the workers end before the node has left.
    assert service["KillMode"] == "mixed"


def test_the_socket_is_the_one_that_davstore_looks_for() -> None:
    unit = _unit(SOCKET)["Socket"]
    assert unit["FileDescriptorName"] == "davstore"
    assert unit["ListenStream"].endswith(f":{Config().listen.port}")
