"""`davstore put`, `get`, `ls`, `mv`, `rm`, `cp` as a user runs them, at real servers."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from davstore.cli import main
from tests.components.consul import ConsulAgent
from tests.components.cutting import Cuts, CuttingProxy
from tests.components.davserver import DavServer
from tests.components.processes import free_port, wait_until

MIB = 1 << 20


class Done(NamedTuple):
    status: int
    out: str
    err: str


class Here:
    """A folder in which commands are run, with a home of its own; in this process, unless a test
    wants otherwise: each start would take a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "HOME": str(folder / "home")}
        self.env.pop("XDG_STATE_HOME", None)
        (folder / "home").mkdir()

    def argv(self, *args: str) -> list[str]:
        """Of a process of its own."""
        return [sys.executable, "-m", "davstore", *args]

    def __call__(self, *args: str) -> Done:
        with contextlib.chdir(self.folder):
            done = CliRunner(env={**self.env, "XDG_STATE_HOME": None}).invoke(main, args)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    home = tmp_path_factory.mktemp("davstore")
    with DavServer(home, home / "root") as running:
        yield running


@pytest.fixture
def davstore(tmp_path: Path) -> Here:
    here = tmp_path / "here"
    here.mkdir()
    return Here(here)


@pytest.fixture
def place(server: DavServer, tmp_path: Path) -> str:
    """The URL of a folder of the test's own, with a slash at its end."""
    assert server.root is not None
    folder = server.root / tmp_path.name
    folder.mkdir()
    return f"{server.url}{tmp_path.name}/"


def test_files_there_and_back(davstore: Here, place: str) -> None:
    (davstore.folder / "a.txt").write_text("a")
    (davstore.folder / "b ü#.txt").write_text("bb")
    assert davstore("put", "a.txt", "b ü#.txt", place) == (0, "", "")
    assert davstore("ls", place) == (0, "a.txt\nb ü#.txt\n", "")
    assert davstore("cp", f"{place}a.txt", f"{place}c.txt") == (0, "", "")
    assert davstore("mv", f"{place}a.txt", f"{place}d.txt") == (0, "", "")
    assert davstore("rm", f"{place}c.txt") == (0, "", "")
    assert davstore("ls", place).out == "b ü#.txt\nd.txt\n"
    (davstore.folder / "back").mkdir()
    assert davstore("get", f"{place}d.txt", f"{place}b%20%C3%BC%23.txt", "back") == (0, "", "")
    assert (davstore.folder / "back" / "d.txt").read_text() == "a"
    assert (davstore.folder / "back" / "b ü#.txt").read_text() == "bb"
    assert davstore("get", f"{place}d.txt", "as this") == (0, "", "")
    assert (davstore.folder / "as this").read_text() == "a"


def test_a_listing_in_its_forms(davstore: Here, place: str, server: DavServer) -> None:
    assert server.root is not None
    (davstore.folder / "a").write_text("content")
    davstore("put", "a", place)
    (server.root / place.split("/")[-2] / "folder").mkdir()
    long = davstore("ls", "-l", place).out.splitlines()
    assert re.fullmatch(r" +7  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  a", long[0])
    assert re.fullmatch(r" +-  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  folder/", long[1])
    documents = list(map(json.loads, davstore("ls", "--json", place).out.splitlines()))
    assert [each["kind"] for each in documents] == ["file", "folder"]
    assert documents[0]["size"] == 7
    assert davstore("ls", f"{place}a").out == "a\n"


def test_who_reads_a_listing_may_have_enough(davstore: Here, place: str, server: DavServer) -> None:
    assert server.root is not None
    folder = server.root / place.split("/")[-2]
    for number in range(3000):
        (folder / f"a file with quite a long name, and the number {number:06}").touch()
    with subprocess.Popen(
        davstore.argv("ls", place),
        env=davstore.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("a file")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


def test_folders(davstore: Here, place: str, server: DavServer) -> None:
    assert server.root is not None
    folder = server.root / place.split("/")[-2]
    (folder / "one" / "two").mkdir(parents=True)
    (davstore.folder / "a").write_text("a")
    assert davstore("put", "a", f"{place}one").status == 0
    assert davstore("cp", f"{place}one", f"{place}other").status == 0
    assert davstore("mv", f"{place}other", f"{place}one").status == 0
    assert sorted(each.name for each in (folder / "one").iterdir()) == ["a", "other", "two"]
    refused = davstore("rm", f"{place}one")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == (
        f"davstore: {place}one: this is a folder; -r removes it with all that is in it\n"
    )
    assert davstore("rm", "-r", f"{place}one") == (0, "", "")
    assert list(folder.iterdir()) == []


def test_one_that_fails_does_not_keep_the_others(davstore: Here, place: str) -> None:
    (davstore.folder / "a").write_text("a")
    (davstore.folder / "b").write_text("b")
    done = davstore("put", "a", "missing", "b", place)
    assert (done.status, done.err) == (1, "davstore: missing: No such file or directory\n")
    assert davstore("ls", place).out == "a\nb\n"
    done = davstore("put", "--no-overwrite", "a", place)
    assert done.status == 1
    assert done.err.startswith("davstore: a: There is already something at this path")
    done = davstore("rm", f"{place}c", f"{place}a")
    assert (done.status, done.err) == (1, f"davstore: {place}c: There is nothing at this path\n")
    assert davstore("ls", place).out == "b\n"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("ls", "127.0.0.1:8080/x"), "is no address"),
        (("ls", "http://ada:sesame@/x"), "is no address"),
        (("ls", "ftp://ada:sesame@host/x"), "ftp://host/x is no address"),
        (("ls", "http://host:port/"), "cannot be understood"),
        (("ls", "http://127.0.0.1:1/a?b"), "%3F"),
        (("ls", "http://127.0.0.1:1/a/../b"), "'..' cannot be used"),
        (
            ("rm", "http://127.0.0.1:1/a%2Fb"),
            "http://127.0.0.1:1/a%2Fb: a name cannot hold a slash",
        ),
        (("get", "http://127.0.0.1:1/a", "nowhere/"), "nowhere/ is no folder"),
        (("ls", "--rest-prefix", "no path", "http://127.0.0.1:1/"), "--rest-prefix"),
        (("mv", "http://127.0.0.1:1/a", "http://127.0.0.1:2/b"), "of the same server"),
        (("get", "http://127.0.0.1:1/a", "http://127.0.0.1:1/b", "nowhere"), "is no folder"),
    ],
)
def test_wrong_addresses_are_told(davstore: Here, args: tuple[str, ...], sentence: str) -> None:
    done = davstore(*args)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert "sesame" not in done.err


def test_nobody_there(davstore: Here) -> None:
    port = free_port()
    done = davstore("ls", f"http://127.0.0.1:{port}/")
    assert done.status == 1
    assert done.err.endswith(f"http://127.0.0.1:{port} does not answer: Connection refused\n")


def test_credentials(davstore: Here, tmp_path: Path) -> None:
    server = DavServer(tmp_path / "server", tmp_path / "root")
    server.add_user("ada", "sesame")
    (davstore.folder / "a").write_text("a")
    with server:
        host = f"127.0.0.1:{server.port}"
        assert davstore("put", "a", f"http://ada:sesame@{host}/") == (0, "", "")
        refused = davstore("ls", f"http://ada:wrong@{host}/")
        assert refused.status == 1
        assert "ada" not in refused.err and ":wrong" not in refused.err
        assert davstore("ls", f"http://{host}/").status == 1
        nobody_to_ask = davstore("ls", "--user", "ada", f"http://{host}/")
        assert (nobody_to_ask.status, nobody_to_ask.out) == (2, "")
        assert "is asked for on a terminal" in nobody_to_ask.err
        netrc = davstore.folder / "home" / ".netrc"
        netrc.write_text("machine 127.0.0.1 login ada password sesame\n")
        netrc.chmod(0o600)
        assert davstore("ls", f"http://{host}/") == (0, "a\n", "")
    assert "sesame" not in server.said()


def test_the_password_is_asked_for_once(davstore: Here, tmp_path: Path) -> None:
    server = DavServer(tmp_path / "server", tmp_path / "root")
    server.add_user("ada", "sesame")
    assert server.root is not None
    with server:
        urls = [f"http://127.0.0.1:{server.port}/{name}" for name in "ab"]
        for name in "ab":
            (server.root / name).write_text(name)
        for command in (("get", *urls, "."), ("rm", *urls)):
            status, shown = at_a_terminal(davstore, (*command, "--user", "ada"), b"sesame\n")
            assert (status, shown.count("Password of ada")) == (0, 1), shown
            assert "sesame" not in shown
    assert (davstore.folder / "b").read_text() == "b"
    assert not (server.root / "b").exists()


def at_a_terminal(davstore: Here, args: tuple[str, ...], typed: bytes) -> tuple[int, str]:
    """The status and what is shown, when this is typed."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        davstore.argv(*args),
        cwd=davstore.folder,
        env=davstore.env,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # what a terminal says that nobody else holds open
            while block := os.read(controller, 1 << 16):
                shown += block
                if shown.endswith(b": ") and typed:
                    os.write(controller, typed)
                    typed = b""
                elif shown.endswith(b": "):
                    process.kill()
        os.close(controller)
        return process.wait(60), shown.decode()


def test_any_node_of_a_service(davstore: Here, tmp_path: Path, consul: ConsulAgent) -> None:
    service = f"commands-{os.getpid()}"
    settings = {"consul": {"url": consul.http, "service": service, "interval": 1}}
    server = DavServer(
        tmp_path / "server", tmp_path / "root", settings={"admin": {"port": 0}, **settings}
    )
    (davstore.folder / "a").write_text("a")
    with server:
        consul.wait_statuses(service, "passing")
        options = ("--consul", consul.http)
        assert davstore("put", *options, "a", f"consul://{service}/b") == (0, "", "")
        assert davstore("ls", *options, f"consul://{service}/") == (0, "b\n", "")


def test_an_interrupted_upload_is_continued(davstore: Here, place: str, server: DavServer) -> None:
    data = os.urandom(40 * MIB)
    (davstore.folder / "large").write_bytes(data)
    first, second = Cuts(), Cuts()
    port = 0
    for cuts in (first, second):
        with CuttingProxy(server.address, cuts, port) as proxy:
            port = proxy.port
            url = place.replace(f":{server.port}/", f":{port}/")
            with subprocess.Popen(
                davstore.argv("put", "large", url), cwd=davstore.folder, env=davstore.env
            ) as process:
                if cuts is first:
                    wait_until(lambda: first.up > 20 * MIB, 30, "half of the upload")
                    process.send_signal(signal.SIGKILL)
                assert process.wait(60) == (-signal.SIGKILL if cuts is first else 0)
    assert second.up < 40 * MIB - 8 * MIB
    assert server.root is not None
    assert (server.root / place.split("/")[-2] / "large").read_bytes() == data
    state = davstore.folder / "home" / ".local" / "state" / "davstore" / "uploads"
    assert list(state.iterdir()) == []


class Held(Cuts):
    """Nothing goes on after 20 MiB, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def passes(self, count: int, *, up: bool) -> int:
        if self.is_held:
            self.go.wait(60)
        return super().passes(count, up=up)

    @property
    def is_held(self) -> bool:
        return max(self.up, self.down) > 20 * MIB


@pytest.mark.parametrize("command", ["put", "get"])
def test_ctrl_c_ends_it_in_one_line_and_the_next_run_goes_on(
    davstore: Here, place: str, server: DavServer, command: str
) -> None:
    assert server.root is not None
    data = os.urandom(40 * MIB)
    there, here = server.root / place.split("/")[-2] / "large", davstore.folder / "large"
    source, target = (here, there) if command == "put" else (there, here)
    source.write_bytes(data)
    held, free = Held(), Cuts()
    with CuttingProxy(server.address, held) as proxy:
        port = proxy.port
        url = place.replace(f":{server.port}/", f":{port}/")
        args = ("put", "large", url) if command == "put" else ("get", f"{url}large", ".")
        with subprocess.Popen(
            # A shell starts what runs in the background with SIGINT ignored.
            ["env", "--default-signal=INT", *davstore.argv(*args)],
            cwd=davstore.folder,
            env=davstore.env,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            wait_until(lambda: held.is_held, 30, "half of it")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        held.go.set()
    assert (process.returncode, said) == (1, "\nAborted!\n")
    assert not target.exists()
    with CuttingProxy(server.address, free, port):
        assert davstore(*args) == (0, "", "")
    assert target.read_bytes() == data
    assert max(free.up, free.down) < 40 * MIB - 8 * MIB
    assert [each.name for each in davstore.folder.iterdir() if each.name != "home"] == ["large"]


def test_a_bar_on_a_terminal(davstore: Here, place: str) -> None:
    (davstore.folder / "large").write_bytes(bytes(20 * MIB))
    controller, terminal = pty.openpty()
    done = subprocess.run(
        davstore.argv("put", "large", place),
        cwd=davstore.folder,
        env=davstore.env,
        stderr=terminal,
        check=False,
        timeout=60,
    )
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "20.0 MiB of 20.0 MiB" in shown
    assert "100%" in shown
