"""The simulated database held against a real mongod: the same operations, the same results.

Only the clock is the database's own. What a test or a value makes of it is compared by its order
relative to it: every date is far in the past, far in the future, or "now".
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from bson import Binary

from davstore.stores.mongo.database import connect
from davstore.stores.mongo.documents import Terms, fixed_id
from davstore.stores.mongo.operations import (
    CHUNKS,
    DUPLICATE,
    MISSING,
    NODES,
    NOW,
    PAST,
    PRESENT,
    Append,
    Compare,
    Delete,
    Find,
    Insert,
    Later,
    Measure,
    Now,
    OneOf,
    Operation,
    Passed,
    Plus,
    Sooner,
    Touch,
    Update,
)
from davstore.stores.mongo.runner import Connection, Runner
from tests.components.mongod import Mongod
from tests.stores.mongo.simulated import SimulatedDatabase

_SEQUENCES: Final = 40
_LENGTH: Final = 60
_IDS: Final = tuple(fixed_id(100 + number) for number in range(6))
_PARENTS: Final = _IDS[:2]
#: What would be an expression, a path or an operator if it were not taken literally.
_WORDS: Final = ("$HOME", "$$NOW", "a.b", "", "plain", "ä", "$literal", "{}", "x" * 300)
_LONG_AGO: Final = datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
_FAR: Final = datetime(2090, 1, 1, tzinfo=UTC)
#: A test that takes longer than this would see its own clock go by.
_A_DAY: Final = 86400.0


@pytest.fixture
def real(mongod: Mongod, mongo_database: str) -> Iterator[Connection]:
    connection, _runner = connect(mongod.uri, mongo_database, 1, 0.0)
    yield connection
    connection.client.close()


class Chooser:
    """Random operations on few documents, so that they meet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def operation(self) -> Operation:
        kinds = (self.insert, self.update, self.update, self.update, self.find, self.find)
        rare = (self.touch, self.delete, self.chunk, self.measure)
        return self.random.choice((*kinds, *kinds, *rare))()

    def insert(self) -> Operation:
        pick = self.random.choice
        document: dict[str, Any] = {
            "_id": pick(_IDS),
            "p": pick(_PARENTS),
            "n": pick(("a", "$HOME", "a.b")),
            "g": pick((0, 1, 2)),
            "ops": ["first"],
            "ct": NOW,
        }
        for name in self.random.sample(("w", "gc", "k", "mk", "old", "size", "data"), 3):
            document[name] = self.literal(name)
        return Insert(NODES, document, pick(("", "first", "other")))

    def literal(self, name: str) -> Any:
        pick = self.random.choice
        return {
            "w": pick(_WORDS),
            "gc": pick((_LONG_AGO, _FAR, Now(-_A_DAY), Now(_A_DAY))),
            "k": pick(([["$a", "<b/>"]], [], {"$x": 1} if pick((0, 1)) else {"y": "$z"}, True)),
            "mk": {"op": pick(_WORDS), "exp": pick((_LONG_AGO, _FAR, Now(_A_DAY)))},
            "old": [{"c": pick(_IDS), "t": pick((_LONG_AGO, _FAR))} for _ in range(pick((1, 3)))],
            "size": pick((0, 1, 1 << 40)),
            "data": pick((b"", b"$HOME", bytes(range(256)))),
        }[name]

    def put(self) -> dict[str, Any]:
        pick = self.random.choice
        values: list[tuple[str, Any]] = [
            (name, self.literal(name)) for name in ("w", "gc", "k", "mk", "old", "size", "data")
        ]
        values += [
            ("ct", Later()),
            ("gc", Sooner(pick((0.0, _A_DAY)))),
            ("gc", Now(pick((0.0, _A_DAY, -_A_DAY)))),
            ("ops", Append(pick(_WORDS), pick((1, 2, 8)))),
            ("old", Append({"c": pick(_IDS), "t": NOW}, pick((1, 3)))),
            ("old", Append({"c": pick(_IDS), "t": Now(_A_DAY)}, 16)),
            ("size", Plus(pick((-3, 0, 1 << 33)))),
            ("mk.op", pick(_WORDS)),
            ("mk.exp", Now(_A_DAY)),
            ("n", pick(("a", "$HOME", "a.b"))),
            ("g", pick((0, 1, 2))),
        ]
        chosen = self.random.sample(values, pick((0, 1, 2, 3)))
        put = dict(chosen)
        # One update may not set a field and a part of it.
        return put if "mk" not in put else {k: v for k, v in put.items() if "." not in k}

    def tests(self) -> dict[str, Any]:
        pick = self.random.choice
        tests: list[tuple[str, Any]] = [
            ("gc", Passed(pick((True, False)))),
            ("mk.exp", Passed(pick((True, False)))),
            ("gc", Compare(pick(("$lt", "$lte", "$gt", "$gte")), pick((_LONG_AGO, _FAR)))),
            ("g", Compare(pick(("$lt", "$lte", "$gt", "$gte")), pick((0, 1)))),
            ("n", Compare(pick(("$gt", "$lt")), pick(("$", "a", "b")))),
            ("w", pick(_WORDS)),
            ("w", OneOf(tuple(self.random.sample(_WORDS, 3)))),
            ("mk.op", pick(_WORDS)),
            ("old.c", pick(_IDS)),
            ("ops", pick(("first", *_WORDS))),
            ("p", pick(_PARENTS)),
            *((name, pick((PRESENT, MISSING))) for name in ("gc", "mk", "mk.op", "old", "w")),
        ]
        return dict(self.random.sample(tests, pick((0, 1, 1, 2))))

    def either(self) -> list[dict[str, Any]]:
        if self.random.random() < 0.5:
            return []
        # A test of nothing is true for all, and then the others do not count.
        return [{"mk": MISSING}, {"mk.exp": PAST}, self.tests() or {"w": PRESENT}]

    def update(self) -> Operation:
        pick = self.random.choice
        where = {"_id": pick(_IDS), **self.tests()}
        names = ("w", "gc", pick(("mk", "mk.op")), "old", "k")
        gone = self.random.sample(names, pick((0, 1, 2)))
        put = self.put()
        outer = {name.partition(".")[0] for name in put}
        unset = tuple(name for name in gone if name.partition(".")[0] not in outer)
        return Update(NODES, where, put, unset, self.either(), pick(("", "op")))

    def find(self) -> Operation:
        pick = self.random.choice
        order = pick(((("_id", 1),), (("p", 1), ("n", 1), ("g", -1), ("_id", 1))))
        projection = pick(({}, {"without": ("data", "old")}, {"only": ("g", "w")}))
        limit = pick((0, 1, 2))
        return Find(NODES, self.tests(), self.either(), order, limit, **projection)

    def touch(self) -> Operation:
        return Touch(NODES, {"_id": self.random.choice(_IDS), **self.tests()}, self.put_free())

    def put_free(self) -> dict[str, Any]:
        """Nothing that could be in another document's slot."""
        return {name: value for name, value in self.put().items() if name not in ("n", "g")}

    def delete(self) -> Operation:
        if self.random.random() < 0.3:
            return Delete(CHUNKS, {"files_id": self.random.choice(_IDS)}, many=True)
        return Delete(NODES, {"_id": self.random.choice(_IDS), **self.tests()})

    def chunk(self) -> Operation:
        number = self.random.randrange(3)
        key = Binary(bytes([number]) * 15 + self.random.choice((b"a", b"b")), 4)
        owner = self.random.choice(_PARENTS)
        return Insert(CHUNKS, {"_id": key, "files_id": owner, "n": number, "data": b"1234"})

    def measure(self) -> Operation:
        return Measure(CHUNKS, self.random.choice((None, *_PARENTS)))


def _result(result: Any, now: datetime) -> Any:
    """Comparable: order where there is none, dates relative to the clock."""
    if result is DUPLICATE or not isinstance(result, list | dict):
        return result
    if isinstance(result, list) and result and isinstance(result[0], tuple):
        return sorted(result)
    return _dated(result, now)


def _dated(value: Any, now: datetime) -> Any:
    if isinstance(value, datetime):
        near = value - now
        return f"now {round(near / timedelta(minutes=30))}" if abs(near.days) < 3 else value
    if isinstance(value, dict):
        return {key: _dated(part, now) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_dated(part, now) for part in value]
    return value


def _documents(connection: Connection, name: str) -> list[Any]:
    return list(connection.collection(name).find().sort("_id", 1))


@pytest.mark.parametrize("block", range(4))
def test_random_sequences_have_the_same_results(block: int, real: Connection) -> None:
    runner = Runner(real, Terms(), 5.0)
    for seed in range(block * _SEQUENCES, (block + 1) * _SEQUENCES):
        chooser, simulated = Chooser(seed), SimulatedDatabase()
        simulated.now = datetime.now(UTC)
        for name in (NODES, CHUNKS):
            real.hasty(name).delete_many({})
        for _ in range(_LENGTH):
            operation = chooser.operation()
            expected = _result(simulated.carry_out(operation), simulated.now)
            found = _result(runner._carry_out(operation, "/"), simulated.now)
            assert _as_answered(found) == _as_answered(expected), (seed, operation)
        for name in (NODES, CHUNKS):
            held = sorted(simulated.documents(name).values(), key=lambda one: bytes(one["_id"]))
            expected = _dated(held, simulated.now)
            assert _dated(_documents(real, name), simulated.now) == expected, seed


def _as_answered(document: Any) -> Any:
    """An update does not send an inline content back."""
    if not isinstance(document, dict):
        return document
    return {name: value for name, value in document.items() if name != "data"}
