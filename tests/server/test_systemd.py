"""sd_notify(3) and sd_listen_fds(3), each fault of what was handed over included."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from davstore.server.plan import Stage
from davstore.server.systemd import Notifier

#: Takes the sockets over, and tells their names and ports, and what is left in the environment.
_TELL = """
import os, sys
from davstore.errors import ConfigError
from davstore.server.systemd import inherited_sockets
try:
    found = inherited_sockets()
except ConfigError as error:
    print("refused:", error)
else:
    print(*(f"{name}={sock.getsockname()[1]}" for name, sock in found.items()))
    print(*(sock.get_inheritable() for sock in found.values()), sep="", end="")
print([name for name in os.environ if name.startswith("LISTEN_")])
"""

#: As the service manager does it: sockets from 3 on, and whose they are; then the program.
LAUNCH = """
import os, sys
count = int(sys.argv[1])
for at, fd in enumerate(map(int, sys.argv[2 : 2 + count])):
    os.dup2(fd, 50 + at)
for at in range(count):
    os.dup2(50 + at, 3 + at)
    os.close(50 + at)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(sys.executable, [sys.executable, *sys.argv[2 + count :]])
"""


def launched(sockets: list[socket.socket], *arguments: str) -> list[str]:
    """The command that runs Python with `arguments`, and hands over `sockets` (see pass_fds)."""
    fds = [str(sock.fileno()) for sock in sockets]
    return [sys.executable, "-c", LAUNCH, str(len(sockets)), *fds, *arguments]


def _told(sockets: list[socket.socket], names: str | None = None) -> str:
    env = os.environ | ({} if names is None else {"LISTEN_FDNAMES": names})
    return subprocess.run(
        launched(sockets, "-c", _TELL),
        pass_fds=[sock.fileno() for sock in sockets],
        env=env,
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout


def _listening(stack: contextlib.ExitStack, count: int) -> list[socket.socket]:
    return [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


@pytest.mark.parametrize(
    ("names", "files", "admin"),
    [
        (None, 0, None),
        ("davstore", 0, None),
        ("admin", None, 0),
        ("admin:davstore", 1, 0),
        ("davstore.socket:admin", 0, 1),
    ],
)
def test_sockets_are_taken_by_name_else_the_first_one_is_the_files(
    names: str | None, files: int | None, admin: int | None
) -> None:
    with contextlib.ExitStack() as stack:
        sockets = _listening(stack, 1 if names is None else names.count(":") + 1)
        ports = [sock.getsockname()[1] for sock in sockets]
        told = _told(sockets, names).splitlines()
    wanted = {
        f"{name}={ports[at]}"
        for name, at in (("davstore", files), ("admin", admin))
        if at is not None
    }
    assert set(told[0].split()) == wanted
    # Nothing is left for the children, neither words nor descriptors.
    assert told[1] == "False" * len(wanted) + "[]"


def test_sockets_that_are_of_no_use_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        two = _listening(stack, 2)
        assert "a second socket for 'davstore'" in _told(two)
        datagrams = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(tmp_path / "socket"))
        local.listen()
        silent = stack.enter_context(socket.socket())
        for wrong in (datagrams, local, silent):
            assert "is no listening TCP socket" in _told([wrong])


def test_sockets_of_another_process_are_not_taken() -> None:
    env = os.environ | {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    argv = [sys.executable, "-c", _TELL]
    done = subprocess.run(argv, env=env, capture_output=True, check=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["", "[]"]


@pytest.mark.parametrize("is_abstract", [False, True])
def test_each_stage_is_told_to_the_service_manager(tmp_path: Path, is_abstract: bool) -> None:
    name = f"@davstore-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": name, "HOME": "/"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(name.replace("@", "\0", 1))
        notifier = Notifier.from_environment(environ)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        for stage in Stage:
            notifier(stage)
        ready, reloading, stopping = (manager.recv(1000).decode().split("\n") for _ in range(3))
    assert environ == {"HOME": "/"}
    assert (ready[0], reloading[0], stopping[0]) == ("READY=1", "RELOADING=1", "STOPPING=1")
    key, _, moment = reloading[1].partition("=")
    assert key == "MONOTONIC_USEC"
    assert before <= int(moment) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_service_manager_that_is_not_there_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "absent")})(Stage.READY)
    assert "could not be told" in caplog.text
    caplog.clear()
    Notifier.from_environment({})(Stage.READY)
    assert caplog.text == ""
