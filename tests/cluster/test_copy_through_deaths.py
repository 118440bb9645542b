"""rclone copies through nginx while a node is killed, one stops, and the primary is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.cluster.copying import Copy, Uploads, copying, make_files
from tests.components.cluster import INTERVAL, Cluster
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import ReplicaSet
from tests.components.rclone import RcloneClient
from tests.mongo_e2e.fsck import findings_after_a_crash, store_on

COUNT = 2000

#: Calls per second: the copy is not to be over before everything has been killed and was back.
RATE = 300


def _kill_and_bring_back(cluster: Cluster, node: DavServer) -> str:
    killed = time.monotonic()
    assert node.kill9()
    seen = cluster.seconds_until(node, "critical", killed)
    node.start()
    back = cluster.seconds_until(node, "passing", time.monotonic())
    return f"kill -9 of {node.name}: in Consul after {seen:.2f} s, back after {back:.2f} s"


def _stop_and_bring_back(cluster: Cluster, node: DavServer) -> str:
    asked = time.monotonic()
    os.kill(node.pid, signal.SIGTERM)
    seen = cluster.seconds_until(node, None, asked)
    assert node._process is not None
    assert node._process.wait(60) == 0
    ended = time.monotonic() - asked
    node.kill9()
    node.start()
    back = cluster.seconds_until(node, "passing", time.monotonic())
    return (
        f"TERM of {node.name}: gone from Consul after {seen:.2f} s, ended after {ended:.2f} s,"
        f" back after {back:.2f} s"
    )


def _kill_primary_and_bring_back(cluster: Cluster, replica_set: ReplicaSet) -> str:
    killed = time.monotonic()
    member = replica_set.kill_primary()
    replica_set.wait_primary()
    elected = time.monotonic()
    back = max(cluster.seconds_until(node, "passing", elected) for node in cluster.nodes)
    replica_set.restart(member)
    return (
        f"kill -9 of the primary: another one after {elected - killed:.2f} s, all nodes passing"
        f" {back:.2f} s later"
    )


def _kill_all_in_turn(cluster: Cluster, replica_set: ReplicaSet, copy: Copy) -> list[str]:
    """What was killed, or stopped, and how it went; the copy goes on all the while."""
    copy.wait_acknowledged(100)
    killed = [_kill_and_bring_back(cluster, cluster.nodes[0])]
    copy.wait_acknowledged(50)
    killed.append(_stop_and_bring_back(cluster, cluster.nodes[1]))
    copy.wait_acknowledged(50)
    killed.append(_kill_primary_and_bring_back(cluster, replica_set))
    copy.wait_acknowledged(50)
    return killed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_of_a_copy_during_which_nodes_and_the_primary_die(
    cluster: Cluster, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    make_files(source, COUNT)
    rclone = RcloneClient(cluster.nginx.url, tmp_path / "rclone")
    uploads = Uploads(cluster.nginx.home / "access.log")
    limit = f"--tpslimit={RATE}"
    argv = rclone.command("copy", limit, str(source), rclone.remote("copy"))
    began = time.monotonic()
    with copying(argv, uploads, tmp_path / "rclone.log") as copy:
        killed = _kill_all_in_turn(cluster, replica_set, copy)
        assert copy.wait(180) == 0, copy.tail()
    acknowledged = uploads.acknowledged()
    seconds = time.monotonic() - began
    print(*killed, sep="\n")
    print(f"{len(acknowledged)} files acknowledged, {len(killed)} deaths in {seconds:.1f} s")
    print(f"PUTs by status: {dict(uploads.statuses())}; interval of the checks: {INTERVAL} s")
    assert len(acknowledged) == COUNT
    assert uploads.lost() == []
    client = Client(cluster.nodes[2].address)
    assert [path for path in acknowledged if client("HEAD", path).status != 200] == []
    # Byte for byte.
    rclone("check", "--download", str(source), rclone.remote("copy"))
    with store_on(cluster.uri, cluster.database) as store:
        assert findings_after_a_crash(store) == []
