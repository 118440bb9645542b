"""A lock is a lock on every node, and for every worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cluster.lock_fight import Fight, lock, refresh, unlock
from tests.components.cluster import Cluster
from tests.components.davserver import DavServer
from tests.components.http import DAV, Answer, Client

CLIENTS = 50


def _seconds_left(answer: Answer) -> int:
    text = answer.xml.findtext(f".//{DAV}activelock/{DAV}timeout") or ""
    return int(text.removeprefix("Second-"))


def test_a_lock_of_one_node_holds_on_all_and_outlives_its_node(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    a, b, c = (Client(address) for address in cluster.addresses)
    assert a("PUT", "/locked.txt", b"before").status == 201
    granted = lock(a, "/locked.txt", 600)
    token = granted.header("Lock-Token")
    assert granted.status == 200
    assert token is not None
    for other in (b, c):
        assert other("PUT", "/locked.txt", b"stolen").status == 423
        assert other("DELETE", "/locked.txt").status == 423
        assert lock(other, "/locked.txt").status == 423
    refreshed = refresh(b, "/locked.txt", token, 1200)
    assert refreshed.status == 200
    assert 1100 < _seconds_left(refreshed) <= 1200

    assert node.kill9()
    for other in (b, c):
        assert other("PUT", "/locked.txt", b"stolen").status == 423
    assert b("PUT", "/locked.txt", b"rightly", If=f"({token})").status == 204
    assert unlock(c, "/locked.txt", token).status == 204
    for other in (b, c):
        assert other("PUT", "/locked.txt", b"after").status == 204
    node.start()
    assert a("GET", "/locked.txt").body == b"after"
    assert a("PUT", "/locked.txt", b"again", If=f"({token})").status == 412


def _fight(fight: Fight, what: str) -> None:
    fight.run(90)
    print(f"{what}: {fight.grants} grants, {fight.refusals} refusals")
    assert fight.wrong == []
    assert fight.grants == CLIENTS
    assert fight.refusals > 0


@pytest.mark.slow
def test_of_50_clients_on_three_nodes_one_has_the_lock_at_a_time(cluster: Cluster) -> None:
    assert Client(cluster.nodes[0].address)("PUT", "/prize.txt", b"none").status == 201
    _fight(Fight(cluster.addresses, "/prize.txt", CLIENTS), "three nodes over MongoDB")


@pytest.mark.slow
def test_of_50_clients_on_four_workers_one_has_the_lock_at_a_time(tmp_path: Path) -> None:
    with DavServer(tmp_path / "home", tmp_path / "root", settings={"workers": 4}) as server:
        assert Client(server.address)("PUT", "/prize.txt", b"none").status == 201
        _fight(Fight([server.address], "/prize.txt", CLIENTS), "four workers over SQLite")
        # A request's id begins with its worker's.
        workers = set(re.findall(r'"LOCK /prize\.txt.* (\w+)-\w+$', server.said(), re.MULTILINE))
        assert len(workers) > 1
        assert "Traceback" not in server.said(), server.tail(20000)
