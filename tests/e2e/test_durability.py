"""The order of system calls that makes an acknowledged upload survive a power failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.components.davserver import DavServer
from tests.components.found import require
from tests.components.http import Client

#: With -y each descriptor is followed by the path that it stands for.
_TRACED = "write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,sendto,sendmsg"


def _traced(server: DavServer, trace: Path) -> DavServer:
    """Let `server` run under strace, which stays out of the way as a detached grandchild."""
    options = ["-D", "-f", "-y", "-s", "64", "-e", f"trace={_TRACED}", "-o", str(trace)]
    server.argv = [str(require("strace")), *options, *server.argv]
    return server


def _calls(trace: Path) -> list[str]:
    """One line per call, in the order of their ends: a call that was interrupted by another
    thread's is put together where it ends."""
    begun: dict[str, str] = {}
    calls = []
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            calls.append(begun.pop(thread, "") + resumed[1])
        else:
            calls.append(call)
    return calls


def _places(calls: Sequence[str], matches: Callable[[str], object]) -> list[int]:
    return [number for number, call in enumerate(calls) if matches(call)]


def _upload(tmp_path: Path, durability: str) -> tuple[list[str], int]:
    """The calls of a worker while a file is replaced, and the number of its renaming."""
    root, trace = tmp_path / "root", tmp_path / "trace"
    server = DavServer(
        tmp_path / "home", root, share={"durability": durability}, settings={"workers": 1}
    )
    (root / "folder").mkdir()
    with _traced(server, trace):
        client = Client(server.address)
        assert client("PUT", "/folder/traced.bin", b"old").status == 201
        before = len(_calls(trace))
        assert client("PUT", "/folder/traced.bin", b"marked content" * 10_000).status == 204
    calls = _calls(trace)[before:]
    renames = _places(calls, lambda c: c.startswith("rename") and '"traced.bin"' in c)
    assert len(renames) == 1, "\n".join(calls)
    return calls, renames[0]


@pytest.mark.slow
def test_a_put_writes_syncs_renames_and_syncs_the_folder_before_it_is_acknowledged(
    tmp_path: Path,
) -> None:
    calls, rename = _upload(tmp_path, "full")
    story = "\n".join(calls)
    written = _places(calls, lambda c: re.match(r"p?writev?(64)?\(.*marked content", c))
    assert written, story
    temporary = re.match(r"\w+\(\d+<([^>]+)>", calls[written[0]])
    assert temporary, story
    assert f'"{Path(temporary[1]).name}"' in calls[rename], story
    synced = _places(calls, lambda c: re.match(rf"f(data)?sync\(\d+<{re.escape(temporary[1])}>", c))
    folder = re.escape(str(tmp_path / "root" / "folder"))
    folder_synced = _places(calls, lambda c: re.match(rf"fsync\(\d+<{folder}>", c))
    answered = _places(
        calls, lambda c: re.match(r"(sendto|sendmsg|write)\(\d+<(TCP|socket).*HTTP/1.1 204", c)
    )
    assert synced and folder_synced and answered, story
    assert written[-1] < synced[-1] < rename < folder_synced[-1] < answered[0], story
    assert all(" = 0" in calls[number] for number in (synced[-1], rename, folder_synced[-1])), story


@pytest.mark.slow
def test_with_durability_rename_the_content_is_renamed_into_place_and_nothing_of_it_is_synced(
    tmp_path: Path,
) -> None:
    calls, rename = _upload(tmp_path, "rename")
    story = "\n".join(calls)
    written = _places(calls, lambda c: re.match(r"p?writev?(64)?\(.*marked content", c))
    assert written and written[-1] < rename, story
    root = re.escape(str(tmp_path / "root"))
    assert not _places(calls, lambda c: re.match(rf"f(data)?sync\(\d+<{root}", c)), story
