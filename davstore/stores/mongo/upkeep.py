"""What `davstore fsck`, `gc` and `stats` do with a store, beside the servers that use it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from pymongo.errors import PyMongoError

from davstore.stores.mongo.check import Finding, Progress, check
from davstore.stores.mongo.contents import DUTY, NEW
from davstore.stores.mongo.documents import STAGE, Terms
from davstore.stores.mongo.operations import (
    CONTENTS,
    NODES,
    PRESENT,
    Algorithm,
    Compare,
    Delete,
    Document,
    Find,
)
from davstore.stores.mongo.reclaim import reclaim_content, reclaim_node
from davstore.stores.mongo.repair import repair
from davstore.stores.mongo.runner import store_error
from davstore.stores.mongo.share import Share
from davstore.stores.mongo.slots import Tree
from davstore.stores.mongo.statistics import Backlog, Statistics, backlog, statistics

T = TypeVar("T")

_log = logging.getLogger(__name__)

_PAGE: Final = 500
#: Each round does what the one before has made due.
_MOST_ROUNDS: Final = 1000


@dataclass(slots=True)
class Reclaimed:
    """What was removed for good, and how much waits: operations under way may need it still.

    `seconds` until the last of it may go, as far as that is known now.
    """

    nodes: int = 0
    contents: int = 0
    bytes: int = 0
    waiting: int = 0
    seconds: float = 0.0


class Upkeep:
    """Of one share. Every method raises Unavailable while the database does not answer."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def documents(self) -> int:
        """About how many `check` looks at."""
        with _errors_told():
            collections = (self._share.connection.collection(name) for name in (NODES, CONTENTS))
            return sum(collection.estimated_document_count() for collection in collections)

    def duties(self) -> int:
        """How many `reclaim` looks at in its first round."""
        connection = self._share.connection
        with _errors_told():
            return sum(
                connection.collection(name).count_documents({field: {"$exists": True}})
                for name, field in ((NODES, "gc"), (CONTENTS, DUTY))
            )

    def check(self, progress: Progress, *, verify: bool) -> list[Finding]:
        """Everything that is wrong; `progress` is called with how many documents were looked at."""
        return self._share.runner.run(check(_now(), progress, verify=verify))

    def repair(self, findings: Sequence[Finding]) -> list[Finding]:
        """Those that were put right. See `davstore.stores.mongo.repair`."""
        tree = Tree(self._share.runner.terms)
        return [each for each in findings if self._share.runner.run(repair(tree, each, _now()))]

    def backlog(self, seconds: float) -> Backlog:
        """What waits to be reclaimed; given up after so many seconds."""
        return backlog(self._share.connection, _now(), seconds)

    def statistics(self) -> Statistics:
        return statistics(self._share.connection, self._share.quota, _now())

    def reclaim(self, grace: float | None, progress: Callable[[], None]) -> Reclaimed:
        """Do all background duties now, with this grace instead of the share's.

        Only the grace is shortened: leases, marks, and the time for which a slot is kept,
        hold, as others may be at work. `progress` is called for each duty.
        """
        terms = self._share.runner.terms
        return _Reclaimer(self._share, terms if grace is None else replace(terms, grace=grace)).run(
            progress
        )


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """The driver's errors as ours."""
    try:
        yield
    except PyMongoError as error:
        raise store_error(error, "/") from error


class _Reclaimer:
    def __init__(self, share: Share, terms: Terms) -> None:
        self._runner = share.runner
        self._tree = Tree(terms)
        self._sum = Reclaimed()

    def run(self, progress: Callable[[], None]) -> Reclaimed:
        for _ in range(_MOST_ROUNDS):
            done = 0
            for collection, duty in ((NODES, self._node), (CONTENTS, self._content)):
                for document in self._dated(collection):
                    done += self._attempt(duty, document)
                    progress()
            if not done:
                break
        self._look_what_waits()
        return self._sum

    def _attempt(self, duty: Callable[[Document], bool], document: Document) -> bool:
        """One that somebody else wrote wrongly is no hindrance for the others."""
        try:
            return duty(document)
        except (KeyError, TypeError, AttributeError) as error:
            _log.error("the duty of %r cannot be done: %r", document["_id"], error)
            return False

    def _node(self, node: Document) -> bool:
        now = _now()
        if node["gc"] > now and not self._may_be_sooner(node, now):
            return False
        algorithm = reclaim_node(self._tree, node, now)
        return self._runner.run(self._tallied(algorithm, 0))

    def _may_be_sooner(self, node: Document, now: datetime) -> bool:
        """Whether nothing but the grace put this duty off."""
        limit = now - timedelta(seconds=self._tree.terms.grace)
        if "del" in node:
            return bool(node["del"] <= limit and node["slot"] <= now)
        if node["p"] == STAGE or "over" in node:
            return False
        return any(entry["t"] <= limit for entry in node.get("old", ()))

    def _content(self, content: Document) -> bool:
        if content["metadata"]["gc"] > _now():
            return False
        algorithm = reclaim_content(self._tree, content)
        return self._runner.run(self._tallied(algorithm, content["length"]))

    def _tallied(self, algorithm: Algorithm[T], size: int) -> Algorithm[T]:
        """The same, with what it deletes added up."""
        try:
            operation = next(algorithm)
            while True:
                result = yield operation
                if isinstance(operation, Delete) and result:
                    self._count(operation.collection, size)
                operation = algorithm.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _count(self, collection: str, size: int) -> None:
        if collection == NODES:
            self._sum.nodes += 1
        elif collection == CONTENTS:
            self._sum.contents += 1
            self._sum.bytes += size

    def _dated(self, collection: str) -> Iterator[Document]:
        """Everything with a duty, the soonest first, each once."""
        name = "gc" if collection == NODES else DUTY
        seen: set[bytes] = set()
        where: dict[str, Any] = {name: PRESENT}
        limit = _PAGE
        while True:
            page = self._runner.run(_find(collection, where, name, limit))
            dates = [_duty_of(document, collection) for document in page]
            is_last = len(page) < limit
            if not is_last and dates[0] == dates[-1]:
                limit *= 2
                continue
            for document, date in zip(page, dates, strict=True):
                # Of the last date there may be more than this page has.
                if document["_id"] not in seen and (is_last or date != dates[-1]):
                    seen.add(document["_id"])
                    yield document
            if is_last:
                return
            where = {name: Compare("$gte", dates[-1])}

    def _look_what_waits(self) -> None:
        """What is deleted or replaced and could not go yet."""
        now = _now()
        grace = timedelta(seconds=self._tree.terms.grace)
        for node in self._dated(NODES):
            if isinstance(node.get("del"), datetime):
                self._wait(max(node["del"] + grace, node.get("slot", now)), now)
        for content in self._dated(CONTENTS):
            if content["metadata"].get("state") != NEW:
                self._wait(content["metadata"]["gc"], now)

    def _wait(self, until: datetime, now: datetime) -> None:
        self._sum.waiting += 1
        self._sum.seconds = max(self._sum.seconds, (until - now).total_seconds(), 0.0)


def _find(
    collection: str, where: dict[str, Any], name: str, limit: int
) -> Algorithm[list[Document]]:
    found: list[Document] = yield Find(
        collection, where, sort=((name, 1),), limit=limit, without=("data", "props")
    )
    return found


def _duty_of(document: Document, collection: str) -> Any:
    return document["metadata"]["gc"] if collection == CONTENTS else document["gc"]


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
