"""`davstore import` and `davstore export` as people use them: real processes, real files."""

from __future__ import annotations

import errno
import filecmp
import json
import os
import pty
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from davstore.locks.base import EXCLUSIVE, LockRequest
from davstore.locks.sqlite import SqliteLocks
from tests.components.content import files, lay_out, litter, names_on_disk, read_tree
from tests.components.processes import wait_until
from tests.test_cli import DAVSTORE, Done, davstore, environment

#: More than what is sent anew after an interruption.
LARGE = 300 << 20

#: How often each command is killed in a row before it may end.
KILLS = 3


def times(top: Path) -> dict[str, int]:
    """Of all files, in whole seconds, which is what stores keep."""
    return {
        str(path.relative_to(top)): int(path.stat().st_mtime)
        for path in top.rglob("*")
        if path.is_file()
    }


def begin(here: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DAVSTORE, *args], cwd=here, env=environment({}, here), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def kill_when(process: subprocess.Popen[str], look: Callable[[], bool]) -> bool:
    """Kill it once `look` is true; whether it was still running then."""
    wait_until(lambda: look() or process.poll() is not None, 60, "the moment to kill")
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


class Interrupted(NamedTuple):
    inode: int  # of the unfinished file
    status: int
    err: str


def interrupt(here: Path, args: tuple[str, ...], part: str, ending: signal.Signals) -> Interrupted:
    """Send the signal once a good part of the one large file is there, in the file `part`.

    On a busy machine the process may be faster than the look at it; then once more.
    """

    for _ in range(5):
        status, err = interrupt_once(here, args, part, ending)
        if status != 0:
            (unfinished,) = here.glob(part)
            return Interrupted(unfinished.stat().st_ino, status, err)
        (here / part.partition("/")[0] / "large").unlink()
    raise AssertionError("it always ended before the signal came")


def interrupt_once(
    here: Path, args: tuple[str, ...], part: str, ending: signal.Signals
) -> tuple[int, str]:
    process = begin(here, *args)

    def is_time() -> bool:
        with suppress(FileNotFoundError):  # it has got its name
            if any(path.stat().st_size > LARGE // 4 for path in here.glob(part)):
                return True
        return process.poll() is not None

    wait_until(is_time, 60, "a part of the file")
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def has_files(top: Path, number: int) -> bool:
    return len(read_shown(top)) > number


def read_shown(top: Path) -> dict[str, bytes]:
    """All files but davstore's own."""
    return {name: data for name, data in read_tree(top).items() if ".davstore~" not in name}


def summary(done: Done) -> dict[str, object]:
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def large(path: Path) -> None:
    """A large file, mostly holes, whose beginning and end can be told from zeros."""
    with path.open("wb") as file:
        file.write(random.Random(1).randbytes(1 << 20))
        file.truncate(LARGE - 3)
        file.seek(LARGE - 3)
        file.write(b"end")
    os.utime(path, (1_500_000_000, 1_500_000_000))


class TestBoth:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_a_tree_goes_in_and_comes_out_as_it_was(self, here: Path, seed: int) -> None:
        tree = files(seed, 150)
        lay_out(here / "src", tree)
        (here / "src/empty/inner").mkdir(parents=True)
        done = davstore(here, "import", "src", "/tree/sub/x")
        assert (done.status, done.err) == (0, "")
        assert re.fullmatch(r"Imported 150 files \([0-9.]+ \w+\) in [0-9.]+ s; 0 files there "
                            r"already, [0-9]+ folders made, 0 left out\.\n", done.out)  # fmt: skip
        done = davstore(here, "export", "/tree/sub", "out/of")
        assert (done.status, done.err) == (0, "")
        for copy in (here / "data/sub/x", here / "out/of/x"):
            assert read_tree(copy) == tree
            assert times(copy) == times(here / "src")
            assert names_on_disk(copy) == names_on_disk(here / "src")
        assert litter(here) == []

    def test_run_again_they_find_everything_there(self, here: Path) -> None:
        lay_out(here / "src", files(1, 30))
        for args in (("import", "src", "/tree"), ("export", "/tree", "out")):
            first = summary(davstore(here, *args, "--json"))
            again = summary(davstore(here, *args, "--json"))
            assert (first["files"], first["there"], again["files"]) == (30, 0, 0)
            assert (again["there"], again["folders"], again["bytes"]) == (30, 0, 0)
            by_content = summary(davstore(here, *args, "--json", "--checksum"))
            assert (by_content["files"], by_content["there"]) == (0, 30)

    def test_what_differs_is_replaced_and_what_is_only_in_the_target_stays(
        self, here: Path
    ) -> None:
        lay_out(here / "src", {"a": b"new", "folder/b": b"same"})
        lay_out(here / "data", {"a": b"older", "mine": b"1", "folder/mine": b"2"})
        lay_out(here / "out", {"a": b"older", "his": b"1", "folder/his": b"2"})
        (here / "out/a").chmod(0o640)
        assert davstore(here, "import", "src", "/tree").status == 0
        assert read_tree(here / "data") == {
            "a": b"new", "folder/b": b"same", "mine": b"1", "folder/mine": b"2",
        }  # fmt: skip
        assert davstore(here, "export", "/tree", "out").status == 0
        assert read_tree(here / "out") == read_tree(here / "data") | {
            "his": b"1", "folder/his": b"2",
        }  # fmt: skip
        assert (here / "out/a").stat().st_mode & 0o777 == 0o640

    @pytest.mark.parametrize(
        ("args", "source", "target"),
        [(("import", "src", "/tree"), "src", "data"), (("export", "/tree", "out"), "data", "out")],
    )
    def test_by_checksum_a_difference_is_found_that_size_and_time_hide(
        self, here: Path, args: tuple[str, ...], source: str, target: str
    ) -> None:
        lay_out(here / source, {"changed": b"one", "touched": b"two"})
        assert davstore(here, *args).status == 0
        lay_out(here / target, {"changed": b"eno", "touched": b"two"})
        os.utime(here / target / "touched", (1, 1))
        assert summary(davstore(here, *args, "--json", "--checksum"))["files"] == 1
        assert read_tree(here / target) == {"changed": b"one", "touched": b"two"}
        assert times(here / target) == times(here / source)

    @pytest.mark.parametrize(
        ("args", "source", "target"),
        [(("import", "src", "/tree"), "src", "data"), (("export", "/tree", "out"), "data", "out")],
    )
    def test_a_file_is_never_replaced_by_a_folder_nor_a_folder_by_a_file(
        self, here: Path, args: tuple[str, ...], source: str, target: str
    ) -> None:
        lay_out(here / source, {"a": b"1", "b/c": b"2", "d": b"3"})
        lay_out(here / target, {"a/x": b"4", "b": b"5"})
        done = davstore(here, *args)
        assert done.status == 1
        assert "/a: In the " in done.err
        assert "/b: In the " in done.err
        assert done.err.count("left out:") == 2
        assert read_tree(here / target) == {"a/x": b"4", "b": b"5", "d": b"3"}

    def test_many_kills_later_everything_is_there(self, here: Path) -> None:
        tree = files(4, 600)
        lay_out(here / "src", tree)
        kills = 0
        for args, target in (
            (("import", "src", "/tree"), here / "data"),
            (("export", "/tree", "out"), here / "out"),
        ):
            for wanted in range(100, 100 * (KILLS + 1), 100):
                process = begin(here, *args, "--jobs", "2")
                kills += kill_when(process, partial(has_files, target, wanted))
                assert read_shown(target).items() <= tree.items()
            assert summary(davstore(here, *args, "--json"))["files"] != len(tree)
        assert read_tree(here / "out") == read_shown(here / "data") == tree
        assert times(here / "out") == times(here / "src")
        print(f"{kills} kills")
        assert kills > 0

    def test_a_bar_is_shown_on_a_terminal(self, here: Path) -> None:
        lay_out(here / "src", files(5, 40))
        main, terminal = pty.openpty()
        done = subprocess.run(
            [*DAVSTORE, "import", "src", "/tree"], cwd=here, env=environment({}, here),
            stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=False,
        )  # fmt: skip
        os.close(terminal)
        shown = read_terminal(main)
        assert (done.returncode, done.stdout.count(b"\n")) == (0, 1)
        assert "100%" in shown
        assert "40 of 40 files" in shown


def read_terminal(main: int) -> str:
    shown = b""
    try:
        while piece := os.read(main, 1 << 16):
            shown += piece
    except OSError as error:
        if error.errno != errno.EIO:  # the end of a terminal
            raise
    finally:
        os.close(main)
    return shown.decode()


class TestImport:
    def test_what_cannot_be_imported_is_named_and_the_rest_is_there(self, here: Path) -> None:
        source = here / "src"
        lay_out(source, {"good": b"1", ".davstore~/u1": b"2", ".davstore~x": b"3"})
        lay_out(here, {"secret/key": b"4"})
        (source / "out").symlink_to(here / "secret")
        (source / "good link").symlink_to("good")
        os.mkfifo(source / "fifo")
        (source / "line\nend").write_bytes(b"5")
        (source / os.fsdecode(b"not utf-8 \xff")).write_bytes(b"6")
        (source / "caf\u00e9").write_bytes(b"7")
        (source / "cafe\u0301").write_bytes(b"8")
        done = davstore(here, "import", "src", "/tree")
        assert done.status == 1
        assert sorted(done.err.splitlines()) == [
            "davstore: left out: src/.davstore~x: Such names belong to davstore itself.",
            "davstore: left out: src/caf\u00e9: Another name in this folder differs in Unicode"
            " form only.",
            "davstore: left out: src/fifo: This is a FIFO.",
            "davstore: left out: src/good link: This is a symbolic link; links are not followed.",
            "davstore: left out: src/line\\nend: A name holds a character that cannot be stored.",
            "davstore: left out: src/not utf-8 \\udcff: A name holds a character that cannot be"
            " stored.",
            "davstore: left out: src/out: This is a symbolic link; links are not followed.",
        ]
        assert read_tree(here / "data") == {"good": b"1", "caf\u00e9": b"8"}
        left_out = summary(davstore(here, "import", "src", "/tree", "--json"))["left_out"]
        assert isinstance(left_out, list)
        assert {"path": "src/fifo", "reason": "This is a FIFO."} in left_out

    @pytest.mark.skipif(not os.path.exists("/usr/bin/setpriv"), reason="needs setpriv")  # noqa: PTH110
    def test_a_file_that_cannot_be_read_is_left_out(self, here: Path) -> None:
        lay_out(here / "src", {"a": b"1", "b": b"2", "c/d": b"3"})
        (here / "src/a").chmod(0)
        (here / "src/c").chmod(0)
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *DAVSTORE,
             "import", "src", "/tree"],
            cwd=here, env=environment({}, here), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert sorted(done.stderr.splitlines()) == [
            "davstore: left out: src/a: Permission denied",
            "davstore: left out: src/c: Permission denied",
        ]
        assert read_tree(here / "data") == {"b": b"2"}

    def test_a_path_that_is_too_long_for_the_share_is_left_out(self, here: Path) -> None:
        folder = os.open(here / "src", os.O_RDONLY)
        for _ in range(25):
            os.mkdir("f" * 200, dir_fd=folder)
            inner = os.open("f" * 200, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.close(folder)
        done = davstore(here, "import", "src", "/tree")
        assert done.status == 1
        assert "a path at most 4,096" in done.err
        assert done.err.count("left out:") == 1

    def test_a_file_that_a_client_has_locked_is_left_out(self, here: Path) -> None:
        lay_out(here / "src", {"a": b"new", "b": b"1"})
        lay_out(here / "data", {"a": b"older"})
        assert davstore(here, "import", "src", "/tree/x").status == 0  # which makes the state
        locks = SqliteLocks(here / "state/locks.db")
        wanted = LockRequest("/tree/a", EXCLUSIVE, False, None, "", 600)
        locks.grant(wanted, time.time())
        locks.close()
        done = davstore(here, "import", "src", "/tree")
        assert (done.status, done.err) == (1, "davstore: left out: src/a: This is locked.\n")
        assert read_tree(here / "data") | {"x/a": b"", "x/b": b""} == {
            "a": b"older", "b": b"1", "x/a": b"", "x/b": b"",
        }  # fmt: skip

    def test_a_share_that_is_full_ends_it(self, here: Path) -> None:
        (here / "davstore.yaml").write_text("shares: {/tree: {root: ./data, quota: 1000}}")
        lay_out(here / "src", {f"{number:03}": b"x" * 100 for number in range(90)})
        done = davstore(here, "import", "src", "/tree", "--jobs", "1")
        assert done.status == 1
        assert "stopped (10 files in a row failed: There is no space left for this.)" in done.err
        assert done.err.count("left out:") == 10
        assert len(read_tree(here / "data")) == 10

    @pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    def test_a_large_file_goes_on_where_it_stopped(
        self, here: Path, ending: signal.Signals
    ) -> None:
        large(here / "src/large")
        args = ("import", "src", "/tree")
        inode, status, err = interrupt(here, args, "data/.davstore~/u*", ending)
        if ending is signal.SIGKILL:
            assert status == -signal.SIGKILL
        else:
            assert status == 1
            assert err == "davstore: stopped (by a signal); run the same command again to go on.\n"
        assert not (here / "data/large").exists()
        assert davstore(here, "import", "src", "/tree").status == 0
        assert (here / "data/large").stat().st_ino == inode
        assert filecmp.cmp(here / "src/large", here / "data/large", shallow=False)
        assert times(here / "data") == times(here / "src")
        assert litter(here / "data") == []
        assert list((here / "state/imports").iterdir()) == []

    def test_what_was_sent_of_a_large_file_is_dropped_when_the_file_has_changed(
        self, here: Path
    ) -> None:
        large(here / "src/large")
        process = begin(here, "import", "src", "/tree")
        kill_when(process, lambda: any((here / "state").glob("imports/*.json")))
        (here / "src/large").write_bytes(b"changed")
        (here / "src/other").write_bytes(b"1")
        assert davstore(here, "import", "src", "/tree").status == 0
        assert read_tree(here / "data")["large"] == b"changed"
        assert list((here / "state/imports").iterdir()) == []
        assert litter(here / "data") == []

    def test_memory_does_not_grow_with_the_file(self, here: Path) -> None:
        peaks = []
        for name in ("small", "large"):
            (here / name).mkdir()
            (here / name / "x").write_bytes(b"1")
            if name == "large":
                large(here / name / "x")
            process = begin(here, "import", name, f"/tree/{name}")
            peaks.append(os.wait4(process.pid, 0)[2].ru_maxrss)
            process.communicate()
        assert peaks[1] - peaks[0] < 32 << 10


class TestExport:
    def test_a_file_that_was_interrupted_goes_on(self, here: Path) -> None:
        large(here / "src/large")
        assert davstore(here, "import", "src", "/tree").status == 0
        args = ("export", "/tree", "out")
        inode = interrupt(here, args, "out/.davstore~part-*", signal.SIGKILL).inode
        assert davstore(here, "export", "/tree", "out").status == 0
        assert (here / "out/large").stat().st_ino == inode
        assert filecmp.cmp(here / "src/large", here / "out/large", shallow=False)
        assert names_on_disk(here / "out") == ["large"]

    def test_what_is_left_of_a_file_that_is_gone_is_removed(self, here: Path) -> None:
        lay_out(here / "data", {"a/b": b"1"})
        lay_out(here / "out", {"a/.davstore~part-0123": b"half"})
        assert davstore(here, "export", "/tree", "out").status == 0
        assert read_tree(here / "out") == {"a/b": b"1"}

    def test_links_in_the_local_folder_are_not_followed(self, here: Path) -> None:
        lay_out(here / "data", {"a/b": b"1", "c": b"2"})
        lay_out(here, {"else/where": b"3"})
        (here / "out").mkdir()
        (here / "out/a").symlink_to("../else")
        (here / "out/c").symlink_to("../else/where")
        done = davstore(here, "export", "/tree", "out")
        assert done.status == 1
        assert done.err.count("something else than a file or a folder") == 2
        assert read_tree(here / "else") == {"where": b"3"}
