"""A node of three stops, or is reloaded, while clients ask nginx all the time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.admin import Admin
from tests.components.cluster import Cluster
from tests.components.content import Stream
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.load import Load
from tests.components.processes import wait_until

SIZE = 1 << 30


@pytest.fixture
def front(cluster: Cluster) -> Client:
    """Who asks nginx; the file that the load reads is there."""
    client = Client(cluster.nginx.address, timeout=60)
    assert client("PUT", "/file.txt", b"content").status in (201, 204)
    return client


@pytest.fixture
def large(cluster: Cluster) -> Iterator[Stream]:
    """/shared/large.bin on all nodes."""
    stream, path = Stream(SIZE), cluster.shared / "large.bin"
    with path.open("wb") as file:
        file.writelines(stream.blocks())
    yield stream
    path.unlink()


def _busy(cluster: Cluster) -> DavServer:
    """The node that has a request running."""

    def look() -> DavServer | None:
        for node in cluster.nodes:
            if Admin(node).value("davstore_running_requests") > 0:
                return node
        return None

    return wait_until(look, 10, "a node with a running request")


def _await_answers(load: Load, more: int) -> None:
    wanted = load.count + more
    wait_until(lambda: load.count >= wanted, 60, f"{more} answers more")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_download_of_1_gib_outlives_its_nodes_stop_and_no_other_request_fails(
    cluster: Cluster, front: Client, large: Stream
) -> None:
    blocks = large.blocks()
    with front.connection() as connection:
        connection.request("GET", "/shared/large.bin")
        with connection.getresponse() as response:
            first = next(blocks)
            assert response.read(len(first)) == first
            node = _busy(cluster)
            # nginx itself ends kept connections when it is reloaded, with what is on its way.
            with Load(cluster.nginx.address, kept=0, fresh=6) as load:
                _await_answers(load, 100)
                asked = time.monotonic()
                os.kill(node.pid, signal.SIGTERM)
                node.await_refusal()
                refused = time.monotonic() - asked
                assert cluster.status(node) is None
                _await_answers(load, 200)
                count = len(first)
                for block in blocks:
                    assert response.read(len(block)) == block
                    count += len(block)
                assert response.read(1) == b""
                _await_answers(load, 100)
    print(
        f"{count >> 20} MiB downloaded; refused after {refused:.2f} s; {load.count} other requests,"
        f" {len(load.failures)} failed"
    )
    assert count == SIZE
    assert load.failures == []
    assert node._process is not None
    assert node._process.wait(20) == 0


def _with_more(node: DavServer, more: Path) -> dict[str, Any]:
    more.mkdir(exist_ok=True)
    added = {"/more": {"store": "folder", "root": str(more), "read_only": True}}
    return {"workers": 3, "shares": {**node.settings["shares"], **added}}


@pytest.mark.slow
def test_no_request_fails_while_one_node_is_reloaded_with_right_and_wrong_settings(
    cluster: Cluster, front: Client, tmp_path: Path
) -> None:
    node = cluster.nodes[1]
    direct = Client(node.address)
    before = dict(node.settings)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "new.txt").write_bytes(b"new")
    reloaded, refused = node.said().count("Reloaded"), node.said().count("the old workers go on")
    with Load(cluster.nginx.address) as load:
        _await_answers(load, 100)
        node.reload(_with_more(node, tmp_path / "more"))
        node.wait_until(lambda: node.said().count("Reloaded") > reloaded, 30, "the reload")
        wait_until(lambda: direct("GET", "/more/new.txt").body == b"new", 20, "the new settings")
        _await_answers(load, 200)

        node.reload({"workers": "many"})
        node.wait_until(
            lambda: node.said().count("the old workers go on") > refused, 30, "its word"
        )
        assert direct("GET", "/more/new.txt").body == b"new"
        _await_answers(load, 200)

        # Back to what it was.
        node.settings.clear()
        node.reload(before)
        node.wait_until(lambda: node.said().count("Reloaded") > reloaded + 1, 30, "the reload")
        wait_until(lambda: direct("GET", "/more/new.txt").status == 404, 20, "the old settings")
        _await_answers(load, 200)
    print(f"two reloads and a refused one: {load.count} requests, {len(load.failures)} failed")
    assert load.failures == []
    assert cluster.status(node) == "passing"
