"""The frame of every change: the locks of its paths, with nothing half-done there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from davstore.stores.base import Context
from davstore.stores.folder import intents
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.settling import settle
from davstore.stores.folder.share import Share, in_time


@contextlib.contextmanager
def changing(share: Share, ctx: Context, *changed: str) -> Iterator[None]:
    """Have `changed` and all below to oneself. Raises DeadlineExceeded.

    An intent that is found there belongs to somebody dead, who would hold the locks
    otherwise; it is settled first.
    """
    while True:
        with reported(changed[0]), share.locks.hold(changed, ctx.deadline):
            in_time(ctx, changed[0])
            left = [
                intent
                for intent in intents.of_share(share.database, share.name)
                if any(intent.concerns(path) for path in changed)
            ]
            if not left:
                yield
                return
        for intent in left:
            settle(share, intent, ctx.deadline)
