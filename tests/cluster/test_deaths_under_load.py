"""What clients of nginx notice when nodes are restarted one by one, and when one dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.components.cluster import Cluster
from tests.components.http import Client
from tests.components.load import Load
from tests.components.mongod import ReplicaSet
from tests.components.processes import wait_until

CLIENTS = 6


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Load]:
    """Each request has a connection of its own: nginx ends kept ones when it is reloaded."""
    assert Client(cluster.nginx.address)("PUT", "/file.txt", b"content").status in (201, 204)
    with Load(cluster.nginx.address, kept=0, fresh=CLIENTS) as running:
        _await_answers(running, 50)
        yield running


def _await_answers(load: Load, more: int) -> None:
    wanted = load.count + more
    wait_until(lambda: load.count >= wanted, 60, f"{more} answers more")


@pytest.mark.slow
def test_no_request_fails_while_all_nodes_are_restarted_one_after_the_other(
    cluster: Cluster, load: Load
) -> None:
    for node in cluster.nodes:
        os.kill(node.pid, signal.SIGTERM)
        assert node._process is not None
        assert node._process.wait(60) == 0
        node.kill9()
        node.start()
        cluster.wait_whole()
        _await_answers(load, 50)
    print(f"{len(cluster.nodes)} restarts: {load.count} requests, {len(load.failures)} failed")
    assert load.failures == []


@pytest.mark.slow
def test_a_node_that_is_killed_costs_only_changes_that_it_was_busy_with(
    cluster: Cluster, load: Load
) -> None:
    node = cluster.nodes[0]
    assert node.kill9()
    wait_until(lambda: cluster.status(node) == "critical", 10, "its death in Consul")
    _await_answers(load, 200)
    node.start()
    cluster.wait_whole()
    _await_answers(load, 50)
    print(f"a node killed: {load.count} requests, {len(load.failures)} failed")
    # One that runs in each client, and one with which nginx finds out.
    assert len(load.failures) <= CLIENTS + 1
    assert {failure.partition(" <")[0] for failure in load.failures} <= {"PUT /new-{name}.txt: 502"}


@pytest.mark.slow
def test_no_request_fails_when_the_primary_is_killed(
    cluster: Cluster, replica_set: ReplicaSet, load: Load
) -> None:
    member = replica_set.kill_primary()
    replica_set.wait_primary()
    _await_answers(load, 200)
    replica_set.restart(member)
    _await_answers(load, 50)
    print(f"the primary killed: {load.count} requests, {len(load.failures)} failed")
    assert load.failures == []
