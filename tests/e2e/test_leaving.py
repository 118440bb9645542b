"""TERM while a large download runs: the node leaves, the download ends, others go elsewhere."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.components.content import Stream
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.load import Load
from tests.components.processes import is_alive, wait_until

SIZE = 1 << 30


def _admin(server: DavServer) -> Client:
    """Of the admin listener, which is named where the start is announced."""
    found = re.search(r"; admin at http://127\.0\.0\.1:(\d+)/", server.said())
    assert found is not None
    return Client(("127.0.0.1", int(found[1])))


@pytest.mark.timeout(180)
def test_a_download_of_1_gib_outlives_the_request_to_stop_and_the_node_says_that_it_leaves(
    tmp_path: Path,
) -> None:
    stream = Stream(SIZE)
    root = tmp_path / "root"
    root.mkdir()
    with (root / "large.bin").open("wb") as file:
        file.writelines(stream.blocks())
    settings = {"admin": {"port": 0}, "workers": 2}
    with DavServer(tmp_path / "home", root, settings=settings) as server:
        pids = server.pids()
        admin = _admin(server)
        wait_until(lambda: admin("GET", "/readyz").status == 200, 20, "readiness")
        with Client(server.address, timeout=60).connection() as connection:
            connection.request("GET", "/large.bin")
            with connection.getresponse() as response:
                blocks = stream.blocks()
                first = next(blocks)
                assert response.read(len(first)) == first
                os.kill(server.pid, signal.SIGTERM)
                server.await_refusal()
                # While it runs, the node tells how it is.
                assert admin("GET", "/readyz").status == 503
                assert admin("GET", "/healthz").status == 200
                assert "davstore" in admin("GET", "/metrics").text
                count = len(first)
                for block in blocks:
                    assert response.read(len(block)) == block
                    count += len(block)
                assert response.read(1) == b""
        assert count == SIZE
        assert server._process is not None
        assert server._process.wait(20) == 0
    assert not any(map(is_alive, pids))
    assert "has not said in time" not in server.said()


def test_no_answer_is_lost_when_a_busy_node_stops(tmp_path: Path) -> None:
    settings = {"admin": {"port": 0}, "workers": 2}
    with DavServer(tmp_path / "home", tmp_path / "root", settings=settings) as server:
        (tmp_path / "root" / "file.txt").write_bytes(b"content")
        with Load(server.address, kept=4, fresh=0) as load:
            wait_until(lambda: load.count > 100, 20, "answers")
            os.kill(server.pid, signal.SIGTERM)
            assert server._process is not None
            assert server._process.wait(20) == 0
    # Every connection was told with its last answer, and could not be opened again.
    assert len(load.failures) >= 4
    assert {failure.partition(": ")[2] for failure in load.failures} == {
        "ConnectionRefusedError(111, 'Connection refused')"
    }
