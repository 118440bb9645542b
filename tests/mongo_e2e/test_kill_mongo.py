"""kill -9 of the server, and of the primary, during load: what was acknowledged is there, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod, ReplicaSet
from tests.mongo_e2e.fsck import findings_after_a_crash, store_on
from tests.mongo_e2e.load import Load
from tests.stores.harness import pattern

SEED = 43
SERVER_KILLS = 4
PRIMARY_KILLS = 3
#: Writes that are acknowledged before each kill, and that show that it goes on after it.
ENOUGH = 60


def _is_sound(load: Load, kills: int) -> None:
    print(
        f"{kills} kills, {load.acknowledged} acknowledged writes, {load.unanswered} without an"
        f" answer, {load.read} reads"
    )
    assert not load.wrong
    assert kills > 0
    assert load.acknowledged > 0
    assert load.read > 0


@pytest.mark.slow
def test_after_kill_9_of_all_server_processes_no_acknowledged_write_is_lost_or_half(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    print(f"seed {SEED}")
    load, kills = Load(SEED), 0
    server = DavServer.over_mongo(tmp_path / "home", mongod.uri, mongo_database)
    for _ in range(SERVER_KILLS):
        with server:
            with load.running(server.address):
                load.wait_acknowledged(ENOUGH)
                assert server.kill9()
                kills += 1
        assert not load.refused
        with server:
            load.check(Client(server.address))
    _is_sound(load, kills)
    assert load.unanswered > 0
    assert "Traceback" not in server.said(), server.tail(20000)
    with store_on(mongod.uri, mongo_database) as store:
        assert findings_after_a_crash(store) == []


@pytest.mark.slow
def test_a_download_and_an_upload_under_way_outlive_the_primary(
    tmp_path: Path, replica_set: ReplicaSet, replica_database: str
) -> None:
    """Half of each is over when it dies; the clients notice nothing but a pause."""
    content = pattern(24 << 20)
    half = len(content) // 2
    with DavServer.over_mongo(tmp_path / "home", replica_set.uri, replica_database) as server:
        client = Client(server.address, timeout=60)
        assert client("PUT", "/down.bin", content).status == 201
        with client.connection() as down, client.connection() as up:
            down.request("GET", "/down.bin")
            up.putrequest("PUT", "/up.bin")
            up.putheader("Content-Length", str(len(content)))
            up.endheaders(content[:half])
            with down.getresponse() as response:
                received = response.read(half)
                replica_set.kill_primary()
                up.send(content[half:])
                received += response.read()
            assert received == content
            with up.getresponse() as response:
                assert response.status == 201
        assert client("GET", "/up.bin").body == content
        assert "Traceback" not in server.said(), server.tail(20000)


@pytest.mark.slow
def test_a_kill_9_of_the_primary_loses_nothing_and_is_ridden_out_without_an_error(
    tmp_path: Path, replica_set: ReplicaSet, replica_database: str
) -> None:
    print(f"seed {SEED}")
    load, kills = Load(SEED), 0
    home, uri = tmp_path / "home", replica_set.uri
    with DavServer.over_mongo(home, uri, replica_database) as server:
        for _ in range(PRIMARY_KILLS):
            with load.running(server.address):
                load.wait_acknowledged(ENOUGH)
                killed = replica_set.kill_primary()
                kills += 1
                load.wait_acknowledged(ENOUGH)
                replica_set.restart(killed)
            assert not load.refused
            load.check(Client(server.address))
        assert load.unanswered == 0
        assert "Traceback" not in server.said(), server.tail(20000)
    _is_sound(load, kills)
    with store_on(uri, replica_database) as store:
        assert findings_after_a_crash(store) == []
