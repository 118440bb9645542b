"""litmus 0.13, every suite, read strictly: no failure, no warning, nothing skipped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import litmus
from tests.components.davserver import DavServer
from tests.components.peers import Apache


def _is_perfect(server: DavServer, folder: Path, user: str = "", password: str = "") -> None:
    credentials = (user, password) if user else (None, None)
    report = litmus.run(server.url, folder, *credentials)
    print(report.table())
    assert report.is_perfect, f"{report.table()}\n{report.output[-4000:]}"
    assert sum(suite.passed for suite in report.suites) >= 100


def test_litmus_finds_nothing_over_the_folder_store_with_all_workers(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root") as server:
        _is_perfect(server, tmp_path)


def test_litmus_finds_nothing_over_the_in_memory_twin_with_one_worker(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", None) as server:
        _is_perfect(server, tmp_path)


def test_litmus_finds_nothing_when_a_user_has_to_give_a_password(tmp_path: Path) -> None:
    server = DavServer(tmp_path / "home", tmp_path / "root")
    server.add_user("litmus", "a password")
    with server:
        _is_perfect(server, tmp_path, "litmus", "a password")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a service user can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "root").mkdir()
        yield Path(name)


def test_the_strict_reading_sees_the_two_warnings_that_apache_is_known_for(
    open_folder: Path,
) -> None:
    with Apache(open_folder / "home", open_folder / "root") as apache:
        report = litmus.run(apache.url, open_folder)
    warned = [remark for suite in report.suites for remark in suite.remarks if "WARNING" in remark]
    assert len(warned) == 2, report.table()
    assert not report.is_perfect
    assert all(suite.failed == 0 for suite in report.suites), report.table()
