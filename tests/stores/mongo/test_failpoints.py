"""A database that fails on purpose (`failCommand`) or whose answers are lost.

What was acknowledged is there, what was refused is there wholly or not at all, and nothing
happens twice.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pymongo.common
import pytest
from pymongo import WriteConcern
from pymongo.errors import AutoReconnect

from davstore.errors import StoreError, Unavailable
from davstore.stores.mongo import database, runner
from davstore.stores.mongo.database import connect, make_root
from davstore.stores.mongo.operations import Delete, Find, Insert, Operation, Touch, Update
from davstore.stores.mongo.runner import Connection, Runner
from davstore.stores.mongo.slots import Tree
from tests.components.mongod import Mongod, ReplicaSet
from tests.stores.mongo.calls import Call, delete, mkcol, move, put, stat
from tests.stores.mongo.crashes import CRASHES, Crash, shown
from tests.stores.mongo.test_crashes_mongod import BRIEF, Real

CALLS: Final = (
    "create large",
    "replace large by large",
    "DELETE of a folder",
    "MOVE of a file over a file",
    "MOVE of a folder over a folder",
    "COPY of a tree over one",
)
#: What Find, Insert, Update, Touch and Delete are sent as.
COMMANDS: Final = ("find", "insert", "findAndModify", "update", "delete")
UPLOADS: Final = re.compile("create large|by large|upload")
_RETRIABLE: Final = {"errorLabels": ["RetryableWriteError"]}
#: The connection is cut before the command is carried out; the server is no primary any more;
#: it is carried out, but nobody knows whether it will last.
FAULTS: Final[dict[str, dict[str, Any]]] = {
    "closed": {"closeConnection": True},
    "no primary": {"errorCode": 10107, **_RETRIABLE},
    "not durable": {"writeConcernError": {"code": 91, "errmsg": "shutting down"}, **_RETRIABLE},
}
#: Seconds after which the store gives up in these tests.
_PATIENCE: Final = 0.1


@dataclass
class Failing(Real):
    """`connection` is the tests' own look at the database, `store` that of the one who fails."""

    store: Connection


@contextlib.contextmanager
def _opened(deployment: Mongod | ReplicaSet, name: str, concern: str | int) -> Iterator[Failing]:
    # A monitor that is waiting for the server's next word sees an error half a second later.
    uri = f"{deployment.uri}&serverMonitoringMode=poll"
    store, made = connect(uri, name, concern, 0.0)
    make_root(made)
    with deployment.client(tz_aware=True) as client:
        looking = Connection(client, name, write_concern=concern)
        if not store.is_replicated:
            # The mongod does not die here, so nobody has to wait for its disk.
            for each in (store, looking):
                each.database = each.database.with_options(write_concern=WriteConcern(1))
        yield Failing(looking, store)
    store.client.close()


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the driver looks for the server again, at most twice a second."""
    monkeypatch.setattr(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.01)


@pytest.fixture
def real(mongod: Mongod, mongo_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    monkeypatch.setattr(database, "PATIENCE_REPLICATED", 1.0)
    monkeypatch.setattr(database, "PATIENCE_STANDALONE", 1.0)
    with _opened(mongod, mongo_database, 1) as opened:
        yield opened


@pytest.fixture
def replicated(replica_set: ReplicaSet, replica_database: str) -> Iterator[Failing]:
    with _opened(replica_set, replica_database, "majority") as opened:
        yield opened


@contextlib.contextmanager
def failing(real: Failing, mode: Any, **data: Any) -> Iterator[None]:
    """Of davstore's commands only, so that the tests' own get through."""
    admin = real.connection.client.admin
    data = {"appName": "davstore", **data}
    admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def _begun(real: Failing, crash: Crash) -> Any:
    for call in crash.before:
        assert real.attempt(call) == "done"
    return shown(real.world())


def _runner(real: Failing, patience: float = 10.0) -> Runner:
    return Runner(real.store, BRIEF, patience)


def _attempt(real: Failing, call: Call, patience: float = 10.0) -> StoreError | None:
    try:
        _runner(real, patience).run(call(Tree(BRIEF)))
    except StoreError as error:
        return error
    return None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS)
def test_a_standalone_that_fails_from_some_command_on(name: str, fault: str, real: Failing) -> None:
    """The first k commands of a kind get through, and none after that, for every k."""
    crash, refused = CRASHES[name], 0
    before = _begun(real, crash)
    dump = real.dump()
    for command in COMMANDS:
        for k in itertools.count():
            with failing(real, {"skip": k}, failCommands=[command], **FAULTS[fault]):
                told = _attempt(real, crash.call, _PATIENCE)
            found = shown(real.world())
            assert told is None or type(told) is Unavailable, (command, k, told)
            assert found in ((before, crash.after) if told else (crash.after,)), (command, k)
            real.must_be_clean()
            assert shown(real.world()) == found, (command, k)
            real.restore(dump)
            if told is None:
                break
            refused += 1
    assert refused


@pytest.mark.parametrize("name", CALLS)
def test_a_standalone_that_fails_once_is_ridden_out(name: str, real: Failing) -> None:
    crash = CRASHES[name]
    _begun(real, crash)
    dump = real.dump()
    for command in COMMANDS:
        with failing(real, {"times": 1}, failCommands=[command], closeConnection=True):
            assert _attempt(real, crash.call) is None, command
        assert shown(real.world()) == crash.after
        real.must_be_clean()
        real.restore(dump)


@pytest.mark.parametrize("fault", ["closed", "no primary"])
@pytest.mark.parametrize("name", CALLS)
def test_a_replica_set_that_fails_once_is_ridden_out(
    name: str, fault: str, replicated: Failing
) -> None:
    """The driver repeats the write under its number, and the server knows whether it was done."""
    crash = CRASHES[name]
    _begun(replicated, crash)
    dump = replicated.dump()
    for command in COMMANDS[:4]:
        mode = {"times": 1}
        with failing(replicated, mode, failCommands=[command], **FAULTS[fault]):
            assert _attempt(replicated, crash.call) is None, command
        assert shown(replicated.world()) == crash.after
        replicated.must_be_clean()
        replicated.restore(dump)


@pytest.mark.parametrize("name", CALLS)
def test_a_database_that_is_stuck_is_given_up(name: str, real: Failing) -> None:
    """Nobody knows whether the command is carried out later; when it is, then as a whole."""
    crash = CRASHES[name]
    before = _begun(real, crash)
    stuck: dict[str, Any] = {"blockConnection": True, "blockTimeMS": 500}
    with failing(real, "alwaysOn", failCommands=["insert", "findAndModify"], **stuck):
        told = _attempt(real, crash.call, _PATIENCE)
    assert type(told) is Unavailable
    assert shown(real.world()) in (before, crash.after)


#: The writes of these are nodes', which carry an `op` each.
RECOGNISED: Final = [name for name, crash in CRASHES.items() if not UPLOADS.search(name)]


@pytest.mark.parametrize("name", RECOGNISED)
def test_a_standalone_whose_answers_are_lost(
    name: str, real: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An own write that was carried out is recognised by its `op`, and not done again."""
    crash = CRASHES[name]
    _begun(real, crash)
    after = crash.after if crash.shows else shown(real.world())
    dump, lost, count = real.dump(), [0], [0]
    carry_out = dict(runner._CARRY_OUT)

    def forgetting(connection: Connection, operation: Operation) -> Any:
        result = carry_out[type(operation)](connection, operation)
        count[0] += 1
        if count[0] == lost[0]:
            raise AutoReconnect("the answer was lost")
        return result

    for kind in (Insert, Update, Delete, Touch):
        monkeypatch.setitem(runner._CARRY_OUT, kind, forgetting)
    while lost[0] <= count[0]:
        lost[0], count[0] = lost[0] + 1, 0
        assert _attempt(real, crash.call) is None, lost
        assert shown(real.world()) == after, lost
        real.restore(dump)
    assert lost[0] > 1


def test_the_answer_after_a_lost_one_is_right(
    real: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that its own file was there already, or that its own source is gone."""
    carry_out = dict(runner._CARRY_OUT)
    pending: set[type[Operation]] = set()

    def forgetting(connection: Connection, operation: Operation) -> Any:
        result = carry_out[type(operation)](connection, operation)
        if type(operation) in pending:
            pending.clear()
            raise AutoReconnect("the answer was lost")
        return result

    for kind in (Insert, Update):
        monkeypatch.setitem(runner._CARRY_OUT, kind, forgetting)

    def told(kind: type[Operation], call: Call) -> Any:
        pending.add(kind)
        return _runner(real).run(call(Tree(BRIEF)))

    assert told(Insert, put("/f", "1")).replaced is None
    assert told(Update, put("/f", "2")).replaced["etag"] == "1"
    assert told(Update, move("/f", "/g")).replaced is None
    assert told(Insert, mkcol("/d"))["n"] == "d"
    assert told(Update, delete("/d"))["n"] == "d"
    assert told(Find, stat("/g"))["etag"] == "2"
