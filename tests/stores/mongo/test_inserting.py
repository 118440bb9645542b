"""Inserts that come at the same time share a command; each document fares for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure

from davstore.errors import StoreError, Unavailable
from davstore.stores.mongo import inserting
from davstore.stores.mongo.database import connect, make_root
from davstore.stores.mongo.inserting import SharedInserts
from davstore.stores.mongo.operations import NODES, Document
from davstore.stores.mongo.runner import Connection, Runner
from davstore.stores.mongo.slots import Tree
from tests.components.mongod import Mongod
from tests.stores.mongo.calls import put
from tests.stores.mongo.test_sharing import until

Insert = Callable[[Sequence[Document]], Mapping[int, Any]]

_SECONDS = 10.0


class Commands:
    """Inserts when it is told to; keeps what each command had."""

    def __init__(self) -> None:
        self.sent: list[list[Document]] = []
        self._may_go = [threading.Event() for _ in range(20)]
        self.refused: Callable[[Sequence[Document]], Mapping[int, Any]] = lambda _documents: {}

    def __call__(self, documents: Sequence[Document]) -> Mapping[int, Any]:
        number = len(self.sent)
        self.sent.append(list(documents))
        assert self._may_go[number].wait(_SECONDS)
        return self.refused(documents)

    def wait_for(self, number: int) -> None:
        until(lambda: len(self.sent) >= number)

    def may_go(self, number: int) -> None:
        """The command of this number ends, once it comes."""
        self._may_go[number].set()

    def let_go(self, number: int) -> None:
        self.wait_for(number + 1)
        self.may_go(number)


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def shared(commands: Commands) -> SharedInserts:
    return SharedInserts(commands)


@pytest.fixture
def insert(shared: SharedInserts) -> Iterator[Callable[[int], Future[bool]]]:
    with ThreadPoolExecutor(64) as pool:
        yield lambda number: pool.submit(shared.insert, {"_id": number})


def _waiting(shared: SharedInserts) -> int:
    return 0 if shared._waiting is None else len(shared._waiting.documents)


def _sent(commands: Commands) -> list[set[int]]:
    return [{document["_id"] for document in documents} for documents in commands.sent]


def _one_and_waiting(
    count: int, commands: Commands, shared: SharedInserts, insert: Callable[[int], Future[bool]]
) -> tuple[Future[bool], list[Future[bool]]]:
    """The insert of 0, which is under way, and those of 1 to `count`, which share the next."""
    first = insert(0)
    commands.wait_for(1)
    others = [insert(number) for number in range(1, count + 1)]
    until(lambda: _waiting(shared) == count)
    return first, others


def _most_under_way(
    commands: Commands, insert: Callable[[int], Future[bool]]
) -> list[Future[bool]]:
    """The inserts of 0 to 3, each in a command of its own, as many as there may be."""
    running = []
    for number in range(inserting._MOST):
        running.append(insert(number))
        commands.wait_for(number + 1)
    return running


@pytest.fixture
def _nothing_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inserting, "_LONG", 3600.0)


@pytest.mark.usefixtures("_nothing_is_long")
def test_those_that_come_while_one_is_under_way_share_the_next(
    commands: Commands, shared: SharedInserts, insert: Callable[[int], Future[bool]]
) -> None:
    first, others = _one_and_waiting(10, commands, shared, insert)
    commands.let_go(0)
    assert first.result(_SECONDS)
    commands.wait_for(2)
    late = insert(11)
    until(lambda: _waiting(shared) == 1)
    commands.let_go(1)
    assert all(each.result(_SECONDS) for each in others)
    commands.let_go(2)
    assert late.result(_SECONDS)
    assert _sent(commands) == [{0}, set(range(1, 11)), {11}]


@pytest.mark.usefixtures("_nothing_is_long")
def test_each_is_refused_for_itself(
    commands: Commands, shared: SharedInserts, insert: Callable[[int], Future[bool]]
) -> None:
    first, others = _one_and_waiting(10, commands, shared, insert)
    codes = {3: 11000, 7: 14031}
    commands.refused = lambda documents: {
        place: {"code": codes[document["_id"]], "errmsg": "refused", "op": "secret"}
        for place, document in enumerate(documents)
        if document["_id"] in codes
    }
    commands.let_go(0)
    commands.let_go(1)
    assert first.result(_SECONDS)
    for number, each in enumerate(others, 1):
        if number == 7:
            with pytest.raises(OperationFailure) as caught:
                each.result(_SECONDS)
            assert caught.value.code == 14031
            assert "secret" not in str(caught.value)
        else:
            assert each.result(_SECONDS) == (number != 3)


@pytest.mark.usefixtures("_nothing_is_long")
@pytest.mark.parametrize("error", [MemoryError, AutoReconnect, SystemExit])
def test_when_a_shared_command_raises_each_is_sent_again_alone(
    commands: Commands,
    shared: SharedInserts,
    insert: Callable[[int], Future[bool]],
    error: type[BaseException],
) -> None:
    """The command has inserted some of them, or none. An interruption is the one's alone who
    carried the command out."""
    first, others = _one_and_waiting(3, commands, shared, insert)

    def fail(documents: Sequence[Document]) -> Mapping[int, Any]:
        if len(documents) == 3:
            raise error
        return {0: {"code": 11000, "errmsg": ""}} if documents[0]["_id"] == 2 else {}

    commands.refused = fail
    for number in range(20):
        commands.may_go(number)
    assert first.result(_SECONDS)
    found: dict[int, object] = {}
    for number, each in enumerate(others, 1):
        try:
            found[number] = each.result(_SECONDS)
        except SystemExit:
            found[number] = error
    leader = commands.sent[1][0]["_id"]
    assert found == {1: True, 2: False, 3: True} | ({leader: error} if error is SystemExit else {})
    assert insert(9).result(_SECONDS)
    assert shared._under_way == []


def test_an_error_of_a_command_of_its_own_is_raised(
    commands: Commands, insert: Callable[[int], Future[bool]]
) -> None:
    def fail(_documents: Sequence[Document]) -> Mapping[int, Any]:
        raise AutoReconnect

    commands.refused = fail
    alone = insert(0)
    commands.let_go(0)
    with pytest.raises(AutoReconnect):
        alone.result(_SECONDS)
    assert len(commands.sent) == 1


def test_a_primary_that_steps_down_in_the_middle_is_asked_again(
    commands: Commands, insert: Callable[[int], Future[bool]]
) -> None:
    def step_down(_documents: Sequence[Document]) -> Mapping[int, Any]:
        if len(commands.sent) == 1:
            raise NotPrimaryError
        return {}

    commands.refused = step_down
    alone = insert(0)
    commands.let_go(0)
    commands.let_go(1)
    assert alone.result(_SECONDS)


def test_who_comes_alone_does_not_wait_for_a_command_that_is_stuck(
    commands: Commands, insert: Callable[[int], Future[bool]]
) -> None:
    stuck = insert(0)
    commands.wait_for(1)
    other = insert(1)
    commands.let_go(1)
    assert other.result(_SECONDS)
    assert not stuck.done()
    commands.let_go(0)
    assert stuck.result(_SECONDS)


def test_where_commands_take_long_a_few_go_at_once(
    commands: Commands,
    shared: SharedInserts,
    insert: Callable[[int], Future[bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inserting, "_LONG", 0.0)
    monkeypatch.setattr(inserting, "STUCK", 3600.0)
    running = _most_under_way(commands, insert)
    waiting = [insert(number) for number in range(10, 15)]
    until(lambda: _waiting(shared) == 5)
    commands.let_go(2)
    commands.wait_for(inserting._MOST + 1)
    assert _sent(commands) == [{0}, {1}, {2}, {3}, set(range(10, 15))]
    for number in (0, 1, 3, 4):
        commands.let_go(number)
    assert all(each.result(_SECONDS) for each in [*running, *waiting])
    assert shared._under_way == []


def test_commands_that_do_not_come_back_hold_up_the_others_for_a_moment_only(
    commands: Commands,
    shared: SharedInserts,
    insert: Callable[[int], Future[bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All the connections that they are on may be half-open. Nobody pays for them again."""
    monkeypatch.setattr(inserting, "_LONG", 0.001)
    monkeypatch.setattr(inserting, "STUCK", 0.5)
    stuck = _most_under_way(commands, insert)
    began = time.monotonic()
    for number in range(inserting._MOST, 20):
        other = insert(number)
        commands.let_go(number)
        assert other.result(_SECONDS)
    # Half a second in all; for each of them it would be eight.
    assert time.monotonic() - began < 4
    assert not any(each.done() for each in stuck)
    for number in range(inserting._MOST):
        commands.let_go(number)
    assert all(each.result(_SECONDS) for each in stuck)
    assert shared._under_way == []


@pytest.fixture
def connection(mongod: Mongod, mongo_database: str) -> Iterator[Connection]:
    opened, runner = connect(mongod.uri, mongo_database, 1, 0.0)
    make_root(runner)
    yield opened
    opened.close()


def _held_back(connection: Connection, insert: Insert) -> None:
    """Inserts with `insert`, the first time only once others wait to share the next command."""
    inserts = connection.inserts(NODES)
    is_first = iter([True])

    def held(documents: Sequence[Document]) -> Mapping[int, Any]:
        if next(is_first, False):
            until(lambda: _waiting(inserts) >= 4)
        return insert(documents)

    inserts._insert = held  # type: ignore[misc]


@pytest.mark.usefixtures("_nothing_is_long")
def test_many_at_once_over_few_names_are_each_created_once(connection: Connection) -> None:
    """Who was second replaces what the first one has made: nobody is told what is not so."""
    insert_all, sizes = connection.inserts(NODES)._insert, []

    def insert(documents: Sequence[Document]) -> Mapping[int, Any]:
        sizes.append(len(documents))
        return insert_all(documents)

    _held_back(connection, insert)

    def write(number: int) -> list[Any]:
        runner = Runner(connection, Tree().terms, 10.0)
        return [runner.run(put(f"/{name}", f"{number}-{name}")(Tree())) for name in range(40)]

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(write, range(16)))
    created = [each.node["n"] for thread in done for each in thread if each.replaced is None]
    assert sorted(created, key=int) == [str(name) for name in range(40)]
    assert connection.collection(NODES).count_documents({"t": "f"}) == 40
    assert max(sizes) >= 4


@pytest.mark.usefixtures("_nothing_is_long")
def test_what_a_command_did_before_it_failed_is_everybodys_own(connection: Connection) -> None:
    """It was split, say, and its second half never sent: who is in the first half has created."""
    insert_all, failed = connection.inserts(NODES)._insert, []

    def insert(documents: Sequence[Document]) -> Mapping[int, Any]:
        if len(documents) < 2:
            return insert_all(documents)
        insert_all(documents[::2])
        failed.append(len(documents))
        raise MemoryError

    _held_back(connection, insert)

    def write(number: int) -> list[bool]:
        runner = Runner(connection, Tree().terms, 10.0)
        return [
            runner.run(put(f"/{number}-{name}", "x")(Tree())).replaced is None for name in range(20)
        ]

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(write, range(16)))
    assert failed
    assert done == [[True] * 20] * 16
    assert connection.collection(NODES).count_documents({"t": "f"}) == 320


def test_a_shared_command_that_is_not_durable_is_refused_to_all(
    mongod: Mongod, connection: Connection
) -> None:
    with mongod.client() as client:
        fault = {"writeConcernError": {"code": 64, "errmsg": "not yet everywhere"}}
        order = {"configureFailPoint": "failCommand", "mode": "alwaysOn"}
        data = {"failCommands": ["insert"], "appName": "davstore", **fault}
        client.admin.command({**order, "data": data})
        told: list[StoreError | None] = []

        def write(number: int) -> None:
            try:
                Runner(connection, Tree().terms, 10.0).run(put(f"/{number}", "x")(Tree()))
            except StoreError as error:
                told.append(error)
            else:
                told.append(None)

        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(write, range(8)))
        finally:
            client.admin.command({**order, "mode": "off"})
    assert [type(each) for each in told] == [Unavailable] * 8
