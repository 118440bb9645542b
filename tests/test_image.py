"""The image that the Dockerfile makes: built for real, and run as a container engine would."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.container import Container
from tests.components.image import Image, built_image
from tests.components.processes import descendants, wait_until

TOP = Path(__file__).parents[1]

#: Beyond its base. Python's packages have 38 MB of it.
_LARGEST = 60_000_000

#: Making a bare Debian, the first time, takes a minute, more on a slow network.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built_image(TOP) as image:
        yield image


@pytest.fixture(scope="module")
def users(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of users, with ada in it, as the image's own command makes it."""
    container = Container(image, tmp_path_factory.mktemp("users"))
    added = container.run("user", "add", "ada", "--password-stdin", given="secret\n")
    assert added.returncode == 0, added.stdout + added.stderr
    return container.volume("/state") / "users"


@pytest.fixture
def container(image: Image, users: Path, tmp_path: Path) -> Container:
    """Not started; ada may log in."""
    return _container(image, users, tmp_path)


def _container(image: Image, users: Path, home: Path, *settings: str) -> Container:
    container = Container(image, home, settings)
    copy = Path(shutil.copy(users, container.volume("/state")))
    os.chown(copy, users.stat().st_uid, users.stat().st_gid)
    return container


def test_files_are_served_as_an_ordinary_user_from_a_root_that_nothing_can_write_to(
    container: Container, image: Image, tmp_path: Path
) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(300_000))
    login = "--user", "ada:secret"
    with container:
        container.wait_serving()
        container.curl(*login, "--upload-file", str(sent), path="/file")
        assert container.volume("/data").joinpath("file").read_bytes() == sent.read_bytes()
        container.curl(*login, "--output", str(tmp_path / "got"), path="/file")
        assert (tmp_path / "got").read_bytes() == sent.read_bytes()
        refused = container.execute("touch", "/opt/davstore/file")
        assert "Read-only file system" in refused.stderr
        for pid in [container.init, *descendants(container.init)]:
            _has_no_rights(pid)
        assert container.stop() == 0
    assert container.volume("/data").joinpath("file").stat().st_uid == 10001
    assert image.config["User"] == "10001:10001"


def _has_no_rights(pid: int) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["CapEff"].strip("0") == ""
    assert status["NoNewPrivs"] == "1"


def test_the_health_check_holds_while_davstore_runs(
    container: Container, image: Image, tmp_path: Path
) -> None:
    with container:
        container.wait_serving()
        healthy = container.execute(*image.health_check)
        assert healthy.returncode == 0, healthy.stderr + container.tail()
    with Container(image, tmp_path / "other", command=["sleep", "infinity"]) as idle:
        assert idle.execute(*image.health_check).returncode == 1
        idle.kill9()


def test_process_1_is_the_supervisor_and_reaps_what_is_orphaned(container: Container) -> None:
    with container:
        container.wait_serving()
        assert b"davstore" in Path(f"/proc/{container.init}/cmdline").read_bytes()
        before = set(_children(container.init))
        left = container.execute("sh", "-c", "exec >/dev/null 2>&1; sleep 0.1 & exit 0")
        assert left.returncode == 0
        wait_until(lambda: set(_children(container.init)) == before, 5, "the end of the orphan")
        assert container.stop() == 0


def test_a_container_that_is_still_starting_can_be_stopped(
    image: Image, users: Path, tmp_path: Path
) -> None:
    """It waits for a database; process 1 gets no signal that it has no handler for."""
    share = 'DAVSTORE_SHARES={"/": {"store": "mongo", "uri": "mongodb://127.0.0.1:1/"}}'
    with _container(image, users, tmp_path, share) as starting:
        starting.wait_until(lambda: _catches(starting.init, signal.SIGTERM), 20, "a handler")
        assert starting.stop(seconds=2) == 128 + signal.SIGTERM


def _catches(pid: int, number: signal.Signals) -> bool:
    caught = re.search(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def _children(pid: int) -> list[int]:
    """Those that have ended and were not reaped as well."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_without_a_file_of_users_it_says_what_to_do(image: Image, tmp_path: Path) -> None:
    done = Container(image, tmp_path).run("serve")
    assert done.returncode == 2
    assert "'/state/users' does not exist; `davstore user add NAME` makes it" in done.stderr


def test_the_image_is_small(image: Image) -> None:
    files = (image.root / "opt").rglob("*")
    size = sum(file.lstat().st_size for file in files if not file.is_dir())
    assert size < _LARGEST
    assert not list((image.root / "opt/davstore").rglob("__pycache__"))
    assert not list((image.root / "opt/davstore").rglob("pip"))
    assert not (image.root / "src").exists()
