"""The databases that the tests use do what tests rely on."""

from __future__ import annotations

from pathlib import Path

from pymongo.errors import ConnectionFailure

from tests.components.mongod import Mongod, ReplicaSet
from tests.components.processes import is_alive, wait_until


def test_a_standalone_keeps_its_data_when_killed_and_started_again(
    mongod: Mongod, mongo_database: str
) -> None:
    with mongod.client(journal=True) as client:
        client[mongo_database]["things"].insert_one({"_id": 1})
    uri = mongod.uri
    killed = mongod.kill9()
    assert killed
    assert not any(map(is_alive, killed))
    mongod.start()
    assert mongod.uri == uri
    with mongod.client() as client:
        assert client[mongo_database]["things"].count_documents({}) == 1


def test_each_test_has_a_database_of_its_own_which_is_dropped(mongod: Mongod) -> None:
    with mongod.client() as client:
        with mongod.database() as name, mongod.database() as other:
            assert name != other
            client[name]["things"].insert_one({})
            assert name in client.list_database_names()
        assert name not in client.list_database_names()


def test_nothing_is_left_of_a_stopped_mongod(tmp_path: Path) -> None:
    with Mongod(tmp_path) as mongod:
        pids = mongod.pids()
    assert not any(map(is_alive, pids))


def test_the_servers_take_orders_to_fail(mongod: Mongod, mongo_database: str) -> None:
    order = {"configureFailPoint": "failCommand", "mode": {"times": 1}}
    with mongod.client(retryReads=False) as client:
        client.admin.command({**order, "data": {"failCommands": ["find"], "closeConnection": True}})
        try:
            client[mongo_database]["things"].find_one()
        except ConnectionFailure:
            return
    raise AssertionError("the command did not fail")


def test_a_replica_set_survives_the_end_of_its_primary(
    replica_set: ReplicaSet, replica_database: str
) -> None:
    with replica_set.client(w="majority") as client:
        things = client[replica_database]["things"]
        things.insert_one({"_id": 1})
        killed = replica_set.kill_primary()
        assert replica_set.wait_primary() is not killed
        things.insert_one({"_id": 2})
        replica_set.restart(killed)
        assert things.count_documents({}) == 2
    with killed.client(readPreference="secondaryPreferred") as direct:
        copies = direct[replica_database]["things"]
        wait_until(lambda: copies.count_documents({}) == 2, 10, "the write that it missed")
