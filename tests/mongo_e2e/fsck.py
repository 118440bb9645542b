"""fsck for tests: what is wrong with a database, once everything due has been done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from davstore.stores.mongo.findings import Finding
from davstore.stores.mongo.store import MongoStore
from tests.stores.harness import settle


@contextlib.contextmanager
def store_on(uri: str, database: str) -> Iterator[MongoStore]:
    """A store beside the servers, which keeps nothing that was replaced or deleted."""
    store = MongoStore(uri, database, grace=0)
    try:
        yield store
    finally:
        store.close()


def findings(store: MongoStore, *, verify: bool = False) -> list[Finding]:
    """What fsck finds after sweeping; with `verify` it reads every content."""
    settle(store)
    return store.upkeep().check(lambda *_: None, verify=verify)


def findings_after_a_crash(store: MongoStore) -> list[Finding]:
    """What is wrong beside the count of used bytes.

    That may drift when a process dies between a write and its count, or a primary before the
    count has reached the others; it is so by design, and a repair puts it right.
    """
    found = findings(store, verify=True)
    print(f"fsck: {[finding.detail for finding in found if finding.kind == 'counter']}")
    store.upkeep().repair([finding for finding in found if finding.kind == "counter"])
    return findings(store)
