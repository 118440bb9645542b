"""The command line, as people and service managers use it: real processes, real files."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from davstore import __version__
from tests.components.processes import free_port, wait_until
from tests.test_config import make_certificate

DAVSTORE = (sys.executable, "-m", "davstore")


class Done(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def environment(more: Mapping[str, str], here: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("DAVSTORE_")}
    return kept | {"XDG_STATE_HOME": str(here.parent / "xdg")} | dict(more)


def davstore(here: Path, *args: str, answer: str = "", env: Mapping[str, str] = {}) -> Done:
    done = subprocess.run(
        [*DAVSTORE, *args], cwd=here, input=answer, capture_output=True, text=True,
        env=environment(env, here), timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


class Running(NamedTuple):
    process: subprocess.Popen[str]
    line: str
    url: str
    err: Path


@contextlib.contextmanager
def serving(here: Path, *args: str, env: Mapping[str, str] = {}) -> Iterator[Running]:
    """`davstore serve` on a free port, once it has printed its line."""
    err = here.parent / "err"
    with err.open("w") as errors:
        process = subprocess.Popen(
            [*DAVSTORE, "serve", "--port", "0", *args], cwd=here, stdout=subprocess.PIPE,
            stderr=errors, text=True, env=environment(env, here),
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r" at (https?://\S+/) - ", line)
        assert found, (line, err.read_text())
        yield Running(process, line, found[1], err)
    finally:
        process.terminate()
        rest = process.stdout.read()
        process.wait(30)
        process.stdout.close()
    assert rest == "", "nothing but the one line goes to standard output"


def get(url: str, user: str = "", context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", "Basic " + b64encode(user.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class TestServe:
    def test_without_any_argument_it_serves_the_folder_data_which_it_makes(
        self, here: Path
    ) -> None:
        with serving(here) as running:
            assert running.line == (
                f"davstore {__version__} serves / (folder {here}/data) at {running.url}"
                " - anyone on this machine may enter\n"
            )
            (here / "data/a.txt").write_text("hello")
            assert get(running.url + "a.txt") == (200, b"hello")
            assert b"a.txt" in get(running.url)[1]
        assert running.process.returncode == 0
        assert '"GET /a.txt HTTP/1.1" 200 5 ' in running.err.read_text()

    def test_without_any_argument_it_reads_davstore_yaml(self, here: Path) -> None:
        (here / "files").mkdir()
        (here / "davstore.yaml").write_text("shares: {/x: ./files}\nlog: {format: json}")
        (here / "files/a").write_text("1")
        with serving(here) as running:
            assert f"serves /x (folder {here}/files) at" in running.line
            assert get(running.url + "x/a") == (200, b"1")
            assert b"x/" in get(running.url)[1]
        assert '"target": "/x/a"' in running.err.read_text()

    def test_a_folder_given_is_served_at_the_root_instead_of_the_configured_shares(
        self, here: Path
    ) -> None:
        (here / "other").mkdir()
        (here / "other/a").write_text("1")
        (here / "davstore.yaml").write_text("shares: {/x: ./nowhere}")
        with serving(here, "--root", "other") as running:
            assert f"serves / (folder {here}/other) at" in running.line
            assert get(running.url + "a") == (200, b"1")
            assert get(running.url + "x")[0] == 404

    def test_the_working_folder_itself_can_be_served(self, here: Path) -> None:
        (here / "a").write_text("1")
        with serving(here, "--root", ".") as running:
            assert get(running.url + "a") == (200, b"1")
        assert [entry.name for entry in here.iterdir()] == ["a"]

    def test_a_share_in_memory_leaves_nothing_behind(self, here: Path) -> None:
        with serving(here, env={"DAVSTORE_SHARES": "{/: {store: memory}}"}) as running:
            assert "serves / (memory) at" in running.line
            request = urllib.request.Request(running.url + "a", b"1", method="PUT")
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 201
            assert get(running.url + "a") == (200, b"1")
        assert [entry.name for entry in here.iterdir()] == ["state"]
        assert (here / "state").stat().st_mode & 0o777 == 0o700

    def test_users_may_enter_and_nobody_else(self, here: Path) -> None:
        assert davstore(here, "user", "add", "zoë", "--users", "users", "--password-stdin",
                        answer="gehëim:1\n").status == 0  # fmt: skip
        with serving(here, env={"DAVSTORE_AUTH__USERS": "users"}) as running:
            assert running.line.endswith(f" - the users in {here}/users may enter\n")
            assert get(running.url)[0] == 401
            assert get(running.url, "zoë:wrong")[0] == 401
            assert get(running.url, "zoë:gehëim:1")[0] == 200
            davstore(here, "user", "remove", "zoë", "--users", "users")
            wait_until(lambda: get(running.url, "zoë:gehëim:1")[0] == 401, 10, "zoë to be out")
            davstore(here, "user", "add", "bob", "--users", "users", "--password-stdin",
                     answer="x\n")  # fmt: skip
            wait_until(lambda: get(running.url, "bob:x")[0] == 200, 10, "bob to be let in")

    def test_it_speaks_https_with_a_certificate(self, here: Path) -> None:
        make_certificate(here / "c.pem", here / "c.key")
        env = {"DAVSTORE_TLS__CERTIFICATE": "c.pem", "DAVSTORE_TLS__KEY": "c.key"}
        with serving(here, env=env) as running:
            assert running.url.startswith("https://127.0.0.1:")
            context = ssl.create_default_context(cafile=str(here / "c.pem"))
            assert get(running.url, context=context)[0] == 200

    def test_other_machines_are_served_when_that_is_said(self, here: Path) -> None:
        with serving(here, "--host", "0.0.0.0", "--anonymous") as running:
            assert running.line.endswith(" - anyone who can reach it may enter\n")
            assert get(running.url.replace("0.0.0.0", "127.0.0.1"))[0] == 200

    def test_a_name_in_the_line_cannot_begin_another(self, here: Path) -> None:
        (here / "a\nb").mkdir()
        with serving(here, "--root", "a\nb") as running:
            assert "a\\nb) at http" in running.line

    def test_a_folder_can_have_any_name(self, here: Path) -> None:
        folder = os.fsdecode(b"caf\xe9 " + b"\xc3\xa4" * 60)
        (here / folder).mkdir()
        (here / folder / "a").write_text("1")
        with serving(here, "--root", folder) as running:
            assert "/caf\\udce9 ä" in running.line
            assert get(running.url + "a") == (200, b"1")
        assert len(list((here.parent / "xdg/davstore").iterdir())) == 1

    @pytest.mark.parametrize("end", [">&-", "<&- >&- 2>&-", ">/dev/full", "| true"])
    def test_it_serves_though_nobody_can_read_its_line(self, here: Path, end: str) -> None:
        (here / "data").mkdir()
        (here / "data/a").write_text("1")
        port = free_port()
        command = f"{' '.join(DAVSTORE)} serve --port {port} {end}"
        err = (here.parent / "err").open("w+")
        shell = subprocess.Popen(
            ["sh", "-c", command], cwd=here, stderr=err, env=environment({}, here),
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(lambda: answers(port), 20, "it to answer")
            assert get(f"http://127.0.0.1:{port}/a") == (200, b"1")
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.wait(30)
        wait_until(lambda: not answers(port), 20, "it to end")
        with err:
            err.seek(0)
            assert "Traceback" not in err.read()

    def test_an_interrupt_from_the_keyboard_stops_it_in_order(self, here: Path) -> None:
        with serving(here) as running:
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(30) == 0
        assert "Traceback" not in running.err.read_text()

    def test_the_installed_command_is_the_same(self, here: Path) -> None:
        command = Path(sys.executable).with_name("davstore")
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"davstore {__version__}\n"
        assert davstore(here, "--version").out == done.stdout


class TestWrongSettings:
    def test_all_of_them_are_told_and_the_status_is_2(self, here: Path) -> None:
        (here / "davstore.yaml").write_text("shares: {/: ./none}\nlisten: {prot: 1}\n")
        done = davstore(
            here, "serve", "--port", "abc", "--workers", "0", "--host", "0.0.0.0",
            env={"DAVSTORE_LIMITS__THREADS": "many", "DAVSTORE_WHAT": "1"},
        )  # fmt: skip
        assert done.status == 2
        assert done.out == ""
        lines = done.err.splitlines()
        assert all(line.startswith("davstore: ") for line in lines)
        for part in (
            "listen.port: 'abc'", "listen.prot: 1", "workers: '0'", "limits.threads: 'many'",
            "what: '1'", "shares./.root: ", "listen.host: '0.0.0.0'",
        ):  # fmt: skip
            assert sum(part in line for line in lines) == 1, (part, lines)
        assert len(lines) == 7

    def test_other_machines_are_not_served_to_everybody_unless_that_is_said(
        self, here: Path
    ) -> None:
        done = davstore(here, "serve", "--host", "0.0.0.0", "--port", str(free_port()))
        assert done.status == 2
        assert "--anonymous" in done.err

    def test_a_faulty_file_of_users_is_told_before_anything_starts(self, here: Path) -> None:
        (here / "users").write_text("alice:plain\n")
        done = davstore(here, "serve", env={"DAVSTORE_AUTH__USERS": "users"})
        assert done.status == 2
        assert "line 1" in done.err
        assert not (here / "state").exists()

    def test_a_file_that_is_named_has_to_be_there(self, here: Path) -> None:
        for args in (("serve", "--config", "none.yaml"), ("check-config", "none.yaml")):
            done = davstore(here, *args)
            assert done.status == 2
            assert "none.yaml: cannot be read" in done.err

    def test_an_address_that_is_not_ones_own(self, here: Path) -> None:
        for host, meaning in (
            ("192.0.2.1", "no address of this machine"),
            ("a.invalid", "no name"),
        ):
            done = davstore(here, "serve", "--host", host, "--anonymous", "--port", "0")
            assert done.status == 2
            assert done.err.startswith(f"davstore: listen.host: '{host}' is ")
            assert meaning in done.err

    def test_folders_that_cannot_be_made(self, here: Path) -> None:
        share = "{/: {root: /proc/none, create: true}}"
        done = davstore(here, "serve", "--state", "/proc/x", env={"DAVSTORE_SHARES": share})
        assert done.status == 2
        state, root = done.err.splitlines()
        assert state.startswith("davstore: state: '/proc/x' cannot be made: ")
        assert root.startswith("davstore: shares./.root: '/proc/none' cannot be made: ")

    def test_an_empty_option_is_not_the_working_folder(self, here: Path) -> None:
        """`--root "$UNSET"` would serve whatever the shell stands in."""
        done = davstore(here, "serve", "--root", "", "--state", "")
        assert done.status == 2
        assert done.err.splitlines() == [
            "davstore: shares./.root: '' is not a path (command line)",
            "davstore: state: '' is not a path (command line)",
        ]

    def test_a_working_folder_that_is_gone(self, here: Path) -> None:
        command = Path(sys.executable).with_name("davstore")
        script = f'rmdir "$PWD" && exec {command} check-config'
        done = subprocess.run(
            ["sh", "-c", script], cwd=here, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("davstore: the working folder cannot be used: ")

    def test_an_unknown_option_or_command_is_told(self, here: Path) -> None:
        for args in (("serve", "--prot", "1"), ("sreve",), ("user", "ad")):
            done = davstore(here, *args)
            assert done.status == 2
            assert "No such" in done.err


class TestCannotStart:
    def test_a_port_that_is_taken(self, here: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = davstore(here, "serve", "--port", str(port))
        assert done.status == 1
        assert done.out == ""
        assert done.err == (
            f"davstore: cannot listen on 127.0.0.1, port {port}: something else listens there;"
            " stop it, or choose another --port\n"
        )

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("locks.db", "locks.db: The stored content is damaged."),
            ("nodes.db", "/: The state file is damaged."),
        ],
    )
    def test_a_damaged_state_file_is_told_once(self, here: Path, name: str, sentence: str) -> None:
        (here / "state").mkdir()
        (here / "state" / name).write_bytes(b"no database" * 1000)
        done = davstore(here, "serve", "--port", "0")
        assert (done.status, done.out) == (1, "")
        begin = f"davstore: cannot start with the state in {here}/state: {sentence} Take"
        assert done.err.startswith(begin)
        assert done.err.count("\n") == 1

    def test_the_state_of_a_newer_version(self, here: Path) -> None:
        with serving(here):
            pass
        with contextlib.closing(sqlite3.connect(here / "state/nodes.db")) as state:
            state.execute("PRAGMA user_version = 1000")
        done = davstore(here, "serve", "--port", "0")
        assert done.status == 1
        assert done.err.endswith("newer version of davstore; upgrade to read it.\n")


class TestCheckConfig:
    def test_what_is_right_is_told_with_what_would_be_served(self, here: Path) -> None:
        (here / "srv").mkdir()
        (here / "my.yaml").write_text("shares: {/a: ./srv, /m: {store: memory, read_only: yes}}")
        done = davstore(here, "check-config", "my.yaml")
        assert done == (
            0,
            f"my.yaml: right; serves /a (folder {here}/srv), /m (memory, read-only) at"
            " 127.0.0.1 port 8080 - anyone on this machine may enter\n",
            "",
        )
        assert sorted(entry.name for entry in here.iterdir()) == ["my.yaml", "srv"]

    def test_the_file_can_be_named_by_the_environment(self, here: Path) -> None:
        (here / "my.yaml").write_text("listen: {port: x}")
        done = davstore(here, "check-config", env={"DAVSTORE_CONFIG": "my.yaml"})
        assert done.status == 2
        assert done.err == "davstore: listen.port: 'x' is not a whole number (my.yaml, line 1)\n"

    def test_without_a_file_the_defaults_and_the_environment_are_looked_at(
        self, here: Path
    ) -> None:
        assert davstore(here, "check-config").status == 0
        assert davstore(here, "check-config", env={"DAVSTORE_LOG__LEVEL": "loud"}).status == 2


class TestUser:
    def test_add_list_and_remove(self, here: Path) -> None:
        args = ("--users", "users")
        for name in ("bob", "alice"):
            done = davstore(here, "user", "add", name, *args, "--password-stdin", answer="x\n")
            assert done == (0, f"{name} was added.\n", "")
        assert davstore(here, "user", "list", *args).out == "alice\nbob\n"
        done = davstore(here, "user", "add", "bob", *args, "--password-stdin", answer="y")
        assert done.out == "bob has a new password.\n"
        assert davstore(here, "user", "remove", "bob", *args).out == "bob was removed.\n"
        done = davstore(here, "user", "remove", "bob", *args)
        assert (done.status, done.out) == (1, "")
        assert "no user bob" in done.err
        assert davstore(here, "user", "list", *args).out == "alice\n"

    def test_the_file_is_the_one_that_the_configuration_names(self, here: Path) -> None:
        """It need not exist yet, which would be a fault for `serve`."""
        (here / "davstore.yaml").write_text("auth: {users: ./kept}")
        assert davstore(here, "user", "add", "a", "--password-stdin", answer="x").status == 0
        assert (here / "kept").stat().st_mode & 0o777 == 0o600

    def test_without_any_file_it_says_what_is_missing(self, here: Path) -> None:
        done = davstore(here, "user", "list")
        assert done.status == 2
        assert "--users" in done.err

    @pytest.mark.parametrize("password", ["", "\n", "\r\n"])
    def test_an_empty_password_is_refused(self, here: Path, password: str) -> None:
        args = ("--users", "users", "--password-stdin")
        done = davstore(here, "user", "add", "a", *args, answer=password)
        assert done.status == 1
        assert not (here / "users").exists()

    def test_a_name_that_cannot_be_used_is_refused(self, here: Path) -> None:
        args = ("--users", "users", "--password-stdin")
        done = davstore(here, "user", "add", "a:b", *args, answer="x")
        assert done.status == 1
        assert "colon" in done.err

    def test_lines_that_are_wrong_are_told(self, here: Path) -> None:
        (here / "users").write_text("alice:plain\n")
        done = davstore(here, "user", "list", "--users", "users")
        assert done.status == 1
        assert "line 1" in done.err

    def test_a_folder_that_is_not_there_is_told(self, here: Path) -> None:
        args = ("--users", "none/users")
        assert davstore(here, "user", "list", *args).status == 1
        assert davstore(here, "user", "remove", "a", *args).status == 1
        done = davstore(here, "user", "add", "a", *args, "--password-stdin", answer="x")
        assert done.err == "davstore: none/users: cannot be written: No such file or directory\n"

    def test_without_a_terminal_it_names_the_option_that_needs_none(self, here: Path) -> None:
        done = subprocess.run(
            [*DAVSTORE, "user", "add", "a", "--users", "users"], cwd=here, input="x\nx\n",
            capture_output=True, text=True, start_new_session=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "--password-stdin" in done.stderr
        assert "Warning" not in done.stderr
        assert not (here / "users").exists()
