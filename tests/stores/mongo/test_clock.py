"""The database's clock, as a process knows it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.errors import AutoReconnect

from davstore.stores.mongo.clock import DatabaseClock
from davstore.stores.mongo.database import connect
from tests.components.mongod import Mongod

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Database:
    """Its clock, and that of the process: an answer takes 20 ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.at = 1000.0
        self.ahead = timedelta()
        self.is_away = False
        monkeypatch.setattr("davstore.stores.mongo.clock._elapsed", lambda: self.at)

    def ask(self) -> datetime:
        self.asked += 1
        self.at += 0.010
        if self.is_away:
            raise AutoReconnect
        said = self.time
        self.at += 0.010
        return said

    @property
    def time(self) -> datetime:
        return _NOON + self.ahead + timedelta(milliseconds=round((self.at - 1000) * 1000))


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    return Database(monkeypatch)


def test_it_is_asked_once_in_a_while_and_counted_on_in_between(database: Database) -> None:
    known = DatabaseClock(database.ask, database.time)
    for seconds in (0, 0.0004, 1, 8.9):
        database.at += seconds
        assert known.now() == database.time
        assert database.asked == 0
        assert known.now().microsecond % 1000 == 0
    database.ahead = timedelta(hours=-1)  # another one has become primary
    database.at += 1
    assert known.now() == database.time
    assert database.asked == 1


def test_a_database_that_does_not_say_is_asked_again_later(database: Database) -> None:
    known = DatabaseClock(database.ask, database.time)
    database.is_away = True
    for asked in (1, 2):
        database.at += 11
        for _ in range(5):
            assert known.now() == database.time
        assert database.asked == asked
    database.is_away = False
    database.ahead = timedelta(seconds=3)
    database.at += 11
    assert known.now() == database.time


def test_what_was_said_long_ago_nobody_goes_on_with(database: Database) -> None:
    """Of those that come at once one asks, and the others have its answer."""
    known = DatabaseClock(database.ask, database.time)
    database.ahead = timedelta(hours=1)
    database.at += 3600
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: known.now(), range(8)))
    assert set(said) == {database.time}
    assert database.asked == 1


def test_it_is_the_one_of_the_database(mongod: Mongod, mongo_database: str) -> None:
    connection, _ = connect(mongod.uri, mongo_database, 1, 0.0)
    try:
        before = connection.client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
        known = connection.clock.now()
        after = connection.client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
    finally:
        connection.close()
    slack = timedelta(milliseconds=1)
    assert before - slack <= known <= after + slack
