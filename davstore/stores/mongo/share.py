"""What the parts of one MongoDB store have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from davstore import paths
from davstore.errors import DeadlineExceeded, Forbidden, QuotaExceeded
from davstore.stores.base import Context, Effect, Guard
from davstore.stores.mongo.counting import Counting
from davstore.stores.mongo.documents import node_of
from davstore.stores.mongo.nodes import Judge
from davstore.stores.mongo.operations import Document
from davstore.stores.mongo.reclaim import used_bytes
from davstore.stores.mongo.runner import Connection, Runner
from davstore.stores.mongo.slots import Tree

#: Seconds for which the count of used bytes is taken as it was.
_COUNT_HOLDS: Final = 1.0


@dataclass(slots=True)
class Share:
    """`quota` in bytes, None for none; `inline_max` and `chunk_size` in bytes."""

    connection: Connection
    runner: Runner
    tree: Tree
    inline_max: int
    chunk_size: int
    digests: tuple[str, ...]
    quota: int | None
    counting: Counting = field(init=False)
    _used: tuple[float, int] = (float("-inf"), 0)

    def __post_init__(self) -> None:
        self.counting = Counting(self.runner)

    def in_time(self, ctx: Context, path: str) -> None:
        """Raises DeadlineExceeded."""
        if ctx.deadline is not None and time.monotonic() > ctx.deadline:
            raise DeadlineExceeded(path)

    def may_change(self, ctx: Context, path: str) -> None:
        """Raises DeadlineExceeded, Forbidden (a name of davstore's own), InvalidName."""
        self.in_time(ctx, path)
        if paths.is_reserved(path):
            raise Forbidden(path)
        if path != paths.ROOT:
            paths.check_name(paths.name(path), path)

    def used(self) -> int:
        """Bytes, as counted a moment ago."""
        then, count = self._used
        if time.monotonic() - then > _COUNT_HOLDS:
            self.counting.count()
            count = self.runner.run(used_bytes())
            self._used = time.monotonic(), count
        return max(0, count)

    def must_have_room(self, path: str, more: int) -> None:
        """Raises QuotaExceeded."""
        if self.quota is not None and more > 0 and self.used() + more > self.quota:
            raise QuotaExceeded(path)

    def judge_of(self, path: str, guard: Guard | None, present: Effect) -> Judge:
        """Asks `guard` about the live document: `present` when there is one, else CREATE."""

        def judge(document: Document | None) -> None:
            if guard is not None:
                node = None if document is None else node_of(document)
                guard.judge(path, node, Effect.CREATE if node is None else present)

        return judge

    def judge_write(self, path: str, guard: Guard | None, size: int) -> Judge:
        """Also whether a content of `size` bytes fits in the place of what is there."""
        ask = self.judge_of(path, guard, Effect.MODIFY)

        def judge(document: Document | None) -> None:
            ask(document)
            self.must_have_room(path, size - (document or {}).get("size", 0))

        return judge
