"""A database in memory that carries out `davstore.stores.mongo.operations`, one at a time.

Not a stand-in for MongoDB in any test of the store: it is what the schedule explorer runs the
algorithms on, because only here can every interleaving be forced. `test_mongo_operations.py`
holds it against a real mongod, operation by operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from davstore.stores.mongo.operations import (
    DUPLICATE,
    Append,
    Begin,
    Compare,
    Delete,
    Document,
    Exists,
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
    Where,
)

#: What no two documents of a collection may have in common.
UNIQUE: Mapping[str, frozenset[str]] = {
    "nodes": frozenset({"p", "n", "g"}),
    "fs.chunks": frozenset({"files_id", "n"}),
}
_NOTHING: frozenset[str] = frozenset()

_ABSENT = object()


def get(document: Mapping[str, Any], name: str) -> Any:
    """The value of a field, dotted for nesting; _ABSENT where there is none."""
    if "." not in name:
        return document.get(name, _ABSENT)
    at: Any = document
    for part in name.split("."):
        if isinstance(at, list):
            return [get(item, part) for item in at]
        if not isinstance(at, Mapping) or part not in at:
            return _ABSENT
        at = at[part]
    return at


class SimulatedDatabase:
    """Collections of documents; `now` is its clock, which only `advance` moves.

    A document is never changed in place, so what was handed out stays as it was.
    """

    def __init__(self) -> None:
        self.now = datetime(2024, 1, 1, tzinfo=UTC)
        self.collections: dict[str, dict[Any, Document]] = {}

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def documents(self, collection: str) -> dict[Any, Document]:
        return self.collections.setdefault(collection, {})

    def carry_out(self, operation: Operation) -> Any:
        match operation:
            case Find():
                return self._find(operation)
            case Insert():
                return self._insert(operation)
            case Update():
                return self._update(operation)
            case Touch():
                return self._touch(operation)
            case Delete():
                return self._delete(operation)
            case Measure():
                return self._measure(operation)
            case Begin():
                return None
        raise TypeError(f"no such operation: {operation}")

    # Operations

    def _find(self, operation: Find) -> list[Document]:
        found = list(self._matching(operation.collection, operation.where, operation.either))
        for name, direction in reversed(operation.sort):
            found.sort(key=partial(get, name=name), reverse=direction < 0)
        if operation.limit:
            found = found[: operation.limit]
        return [_shown(document, operation) for document in found]

    def _insert(self, operation: Insert) -> Document | None:
        document = {name: self._value({}, name, v) for name, v in operation.document.items()}
        present = self.documents(operation.collection).get(document["_id"])
        if present is not None:
            # Without an `op`, whatever has the id is taken for the own one of an earlier try.
            is_own = not operation.op or operation.op in present.get("ops", ())
            return dict(present) if is_own else None
        if self._clashes(operation.collection, document):
            return None
        self.documents(operation.collection)[document["_id"]] = document
        return dict(document)

    def _update(self, operation: Update) -> Any:
        for document in self._matching(operation.collection, operation.where, operation.either):
            changed = self._changed(document, operation.put, operation.unset)
            stays = UNIQUE.get(operation.collection, _NOTHING).isdisjoint(operation.put)
            if not stays and self._clashes(operation.collection, changed):
                return DUPLICATE
            self.documents(operation.collection)[changed["_id"]] = changed
            return dict(changed)
        return None

    def _touch(self, operation: Touch) -> bool:
        for document in self._matching(operation.collection, operation.where, ()):
            changed = self._changed(document, operation.put, ())
            self.documents(operation.collection)[changed["_id"]] = changed
            return True
        if operation.insert:
            fresh = self._changed(dict(operation.where), operation.put, ())
            self.documents(operation.collection)[fresh["_id"]] = fresh
        return operation.insert

    def _delete(self, operation: Delete) -> bool:
        found = list(self._matching(operation.collection, operation.where, ()))
        for document in found if operation.many else found[:1]:
            del self.documents(operation.collection)[document["_id"]]
        return bool(found)

    def _measure(self, operation: Measure) -> list[tuple[Any, int, int]]:
        chunks = [
            (chunk["files_id"], chunk["n"], len(chunk["data"]))
            for chunk in self.documents(operation.collection).values()
        ]
        if operation.content is None:
            return list({owner: (owner, 0, 0) for owner, _, _ in chunks}.values())
        return [chunk for chunk in chunks if chunk[0] == operation.content]

    # Their parts

    def _matching(
        self, collection: str, where: Where, either: Iterable[Where]
    ) -> Iterable[Document]:
        alternatives = list(either)
        for document in self._candidates(collection, where):
            if self._matches(document, where) and (
                not alternatives or any(self._matches(document, one) for one in alternatives)
            ):
                yield document

    def _candidates(self, collection: str, where: Where) -> list[Document]:
        """All documents, or the one that `where` names."""
        documents = self.documents(collection)
        key = where.get("_id")
        if isinstance(key, (bytes, str)):
            return [documents[key]] if key in documents else []
        return list(documents.values())

    def _matches(self, document: Document, where: Where) -> bool:
        for name, test in where.items():
            value = get(document, name) if "." in name else document.get(name, _ABSENT)
            if isinstance(test, (bytes, str)):
                # Nearly all are of this kind; the rest of this class does not have to be quick.
                if value is test:
                    continue
                # A driver's binary value takes ten times as long as its bytes to be compared.
                if isinstance(value, bytes) and bytes.__ne__(value, test):
                    return False
                if value != test and not (isinstance(value, list) and test in value):
                    return False
            elif not self._holds(value, test):
                return False
        return True

    def _holds(self, value: Any, test: Any) -> bool:
        if isinstance(test, Exists):
            return (value is not _ABSENT) is test.wanted
        if value is _ABSENT:
            return False
        match test:
            case Passed():
                return bool((value <= self.now) is test.wanted)
            case OneOf():
                return value in test.values
            case Compare(how, limit):
                tests = {
                    "$lt": value < limit,
                    "$lte": value <= limit,
                    "$gt": value > limit,
                    "$gte": value >= limit,
                }
                return bool(tests[how])
        if isinstance(value, list) and not isinstance(test, list):
            return test in value
        return bool(value == test)

    def _changed(
        self, document: Document, put: Mapping[str, Any], unset: Iterable[str]
    ) -> Document:
        changed = dict(document)
        for name in unset:
            _remove(changed, name)
        for name, value in put.items():
            _put(changed, name, self._value(document, name, value))
        return changed

    def _value(self, document: Document, name: str, value: Any) -> Any:
        former = get(document, name)
        match value:
            case Now(after):
                return self.now + timedelta(seconds=after)
            case Later():
                if former is _ABSENT:
                    return self.now
                return max(self.now, former + timedelta(milliseconds=1))
            case Sooner(after):
                own = self.now + timedelta(seconds=after)
                return own if former is _ABSENT else min(own, former)
            case Append(item, keep):
                if isinstance(item, Mapping):
                    item = {key: self._value({}, key, part) for key, part in item.items()}
                return [*([] if former is _ABSENT else former), item][-keep:]
            case Plus(amount):
                return amount + (0 if former is _ABSENT else former)
            case Mapping():
                return {key: self._value({}, key, part) for key, part in value.items()}
        return value

    def _clashes(self, collection: str, document: Document) -> bool:
        keys = UNIQUE.get(collection)
        if keys is None:
            return False
        own = {key: document[key] for key in keys}
        others = self.documents(collection).values()
        return any(
            self._matches(other, own) and other["_id"] != document["_id"] for other in others
        )


def _shown(document: Document, operation: Find) -> Document:
    if operation.only:
        keep = {"_id", *operation.only}
        return {name: value for name, value in document.items() if name in keep}
    shown = dict(document)
    for name in operation.without:
        shown.pop(name, None)
    return shown


def _put(document: Document, name: str, value: Any) -> None:
    """Set it in the own copy of a document; what is nested is copied, never changed."""
    outer, _, last = name.partition(".")
    document[outer] = {**document.get(outer, {}), last: value} if last else value


def _remove(document: Document, name: str) -> None:
    outer, _, last = name.partition(".")
    if not last:
        document.pop(outer, None)
    elif outer in document:
        document[outer] = {key: part for key, part in document[outer].items() if key != last}
