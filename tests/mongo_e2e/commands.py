"""What a store asks its database for."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

#: What the driver does on its own account.
_NOT_OURS = {"hello", "endSessions", "killCursors"}


class Commands(CommandListener):
    """Counts commands by name, and the documents of `fs.chunks` that came back."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.chunks_read = 0

    def clear(self) -> None:
        self.counts.clear()
        self.chunks_read = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name not in _NOT_OURS:
            self.counts[event.command_name] += 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        cursor: dict[str, Any] = event.reply.get("cursor", {})
        if str(cursor.get("ns", "")).endswith(".fs.chunks"):
            batch = cursor.get("firstBatch", cursor.get("nextBatch", ()))
            self.chunks_read += len(batch)

    def failed(self, event: CommandFailedEvent) -> None:
        """Counted when it started."""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Hears everything that a store which is opened in this test sends."""
    heard = Commands()
    listening = functools.partial(MongoClient, event_listeners=[heard])
    monkeypatch.setattr("davstore.stores.mongo.database.MongoClient", listening)
    yield heard
