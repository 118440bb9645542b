"""Operations as MongoDB's filters and pipelines.

Updates are pipelines, so that the database's clock ($$NOW) can be used in them. In a pipeline a
string that begins with "$" is an expression, so every literal is wrapped in $literal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from davstore.stores.mongo.operations import (
    Append,
    Compare,
    Exists,
    Later,
    Now,
    OneOf,
    Passed,
    Plus,
    Sooner,
    Where,
)

Filter = dict[str, Any]


def filter_of(where: Where, either: Sequence[Where] = ()) -> Filter:
    """A filter document. Dates against the clock also need the field to be there.

    `{$expr: {$lte: ["$gc", "$$NOW"]}}` alone is true where `gc` is missing, and uses no index.
    """
    found: Filter = {}
    clock: list[Any] = []
    for name, test in where.items():
        match test:
            case Exists(wanted):
                found[name] = {"$exists": wanted}
            case Passed(wanted):
                found[name] = {"$exists": True}
                clock.append({"$lte" if wanted else "$gt": [f"${name}", "$$NOW"]})
            case OneOf(values):
                found[name] = {"$in": list(values)}
            case Compare(how, value):
                found[name] = {how: value}
            case _:
                found[name] = test
    if clock:
        found["$expr"] = clock[0] if len(clock) == 1 else {"$and": clock}
    if either:
        alternatives = [filter_of(one) for one in either]
        if len(alternatives) == 1 and not found:
            return alternatives[0]
        found["$or"] = alternatives
    return found


def pipeline_of(put: Mapping[str, Any], unset: Sequence[str]) -> list[dict[str, Any]]:
    """The stages of an update. One that changes nothing still has a stage."""
    stages: list[dict[str, Any]] = []
    if unset:
        stages.append({"$unset": list(unset)})
    if put or not stages:
        stages.append({"$set": {name: _expression(name, value) for name, value in put.items()}})
    return stages


def _expression(name: str, value: Any) -> Any:
    match value:
        case Now(after):
            return _clock(after)
        case Later():
            return {"$max": ["$$NOW", {"$add": [f"${name}", 1]}]}
        case Sooner(after):
            return {"$min": [_clock(after), f"${name}"]}
        case Append(item, keep):
            entry = _expression("", item)
            joined = {"$concatArrays": [{"$ifNull": [f"${name}", []]}, [entry]]}
            return {"$slice": [joined, -keep]}
        case Plus(amount):
            return {"$add": [{"$ifNull": [f"${name}", 0]}, {"$literal": amount}]}
    if isinstance(value, Mapping) and any(_is_computed(part) for part in value.values()):
        return {key: _expression("", part) for key, part in value.items()}
    return {"$literal": value}


def _is_computed(value: Any) -> bool:
    return isinstance(value, Now | Later | Sooner | Append | Plus)


def _clock(after: float) -> Any:
    return {"$add": ["$$NOW", round(after * 1000)]} if after else "$$NOW"
