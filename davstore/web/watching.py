"""What the admin listener asks of a share: whether it works, and its numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from davstore import paths
from davstore.config import MemoryShare, Share
from davstore.errors import NotFound, Unavailable
from davstore.stores.base import Context, HasUsage, Probed, Store
from davstore.stores.mongo.store import MongoStore
from davstore.web.figures import Numbers, Source

#: Seconds for which numbers hold: those that are one look, and those that count in an index.
_QUICK: Final = 1.0
_COUNTED: Final = 15.0
#: Seconds after which a count is given up.
_COUNT_WITHIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """`check` as `davstore.web.probes.Probe` has it; `sources` of numbers."""

    check: Callable[[float], None]
    sources: list[Source] = field(default_factory=list)


def watched(
    share: Share, open_store: Callable[[], Store], locks: Callable[[float], int]
) -> Watched:
    """`open_store` gives the share's store, or raises StoreError as long as it cannot be opened;
    `locks` counts the live locks at a time."""

    def check(seconds: float) -> None:
        try:
            store = open_store()
        except NotFound as error:
            raise Unavailable(paths.ROOT, "The share's folder is not there.") from error
        if isinstance(store, Probed):
            store.probe(seconds)
        else:
            store.stat(Context(deadline=time.monotonic() + seconds), paths.ROOT)

    if isinstance(share, MemoryShare):
        # It is in the worker's memory, not in this process's.
        return Watched(check)
    sources = [
        Source(lambda: {"locks": locks(time.time())}, _QUICK),
        Source(lambda: _usage(open_store(), share.quota), _QUICK),
        Source(lambda: _backlog(open_store()), _COUNTED),
    ]
    return Watched(check, sources)


def _usage(store: Store, quota: int | None) -> Numbers:
    numbers: Numbers = {} if quota is None else {"quota_bytes": quota}
    used = store.usage(Context()).used if isinstance(store, HasUsage) else None
    if used is not None:
        numbers["used_bytes"] = used
    return numbers


def _backlog(store: Store) -> Numbers:
    if not isinstance(store, MongoStore):
        return {}
    backlog = store.upkeep().backlog(_COUNT_WITHIN)
    return {
        "reclaim_backlog": backlog.duties,
        "reclaim_due": backlog.due,
        "reclaim_oldest_due_seconds": backlog.oldest_due,
    }
