"""The driver's own log while the database is away."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import InvalidOperation

from davstore.stores.mongo import driver_log
from davstore.stores.mongo.driver_log import listen_to_driver
from tests.components.mongod import Mongod
from tests.components.processes import wait_until


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    listen_to_driver()
    caplog.set_level(logging.INFO)
    return caplog


def _of_the_driver(heard: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Other threads may say something else meanwhile."""
    return [each for each in heard.records if each.name in ("pymongo.client", driver_log.__name__)]


def test_a_listing_that_died_with_its_server_is_told_in_a_sentence(
    tmp_path: Path, heard: pytest.LogCaptureFixture
) -> None:
    with Mongod(tmp_path) as mongod:
        with MongoClient[dict[str, int]](mongod.uri, serverSelectionTimeoutMS=100) as client:
            files = client["any"]["files"]
            files.insert_many([{"_id": number} for number in range(10)])
            cursor = files.find(batch_size=2)
            next(cursor)
            mongod.kill9()
            # Its cursor is closed by a thread of the driver's, which looks once a second.
            del cursor
            wait_until(lambda: _of_the_driver(heard), 20, "what the driver says")
    assert [record.name for record in _of_the_driver(heard)] == [driver_log.__name__]
    assert "Traceback" not in heard.text


def test_anything_else_is_told_as_the_driver_does(heard: pytest.LogCaptureFixture) -> None:
    try:
        raise InvalidOperation("a fault of the driver's")
    except InvalidOperation:
        logging.getLogger("pymongo.client").exception("MongoClient background task: an error")
    assert "Traceback" in heard.text
