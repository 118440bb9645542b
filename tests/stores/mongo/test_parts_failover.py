"""Uploads in parts on a replica set whose primary is killed while parts come, and at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from davstore.errors import PreconditionFailed, Unavailable, UploadInUse
from davstore.stores.base import Committed, Effect, Node, Part
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import ReplicaSet
from tests.components.processes import wait_until
from tests.stores.harness import CTX, digests_of, names, pattern, read

UNIT = 256 << 10
SIZE = 12 * UNIT
CONTENT = pattern(2 * SIZE + 77)
PARTS = [CONTENT[at : at + SIZE] for at in range(0, len(CONTENT), SIZE)]


class _Killing:
    """The primary goes right before the file is written."""

    def __init__(self, replica_set: ReplicaSet) -> None:
        self._replica_set = replica_set
        self.killed = False

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        if not self.killed:
            self.killed = True
            self._replica_set.kill_primary()
        elif effect is not Effect.CREATE:
            raise PreconditionFailed(path)


class TestPartsOnReplicaSet:
    @pytest.fixture
    def stores(self, replica_set: ReplicaSet, replica_database: str) -> Iterator[list[MongoStore]]:
        """Two nodes."""
        made = [MongoStore(replica_set.uri, replica_database, chunk_size=UNIT) for _ in range(2)]
        yield made
        for store in made:
            store.close()

    def test_the_primary_dies_while_a_part_comes_and_while_it_is_finished(
        self, stores: list[MongoStore], replica_set: ReplicaSet
    ) -> None:
        store, other = stores
        key = store.begin_parts(CTX, "/file", "mine", 3600.0)

        def blocks(number: int, kills: bool) -> Iterator[bytes]:
            data = PARTS[number]
            yield data[: len(data) // 2]
            if kills:
                replica_set.kill_primary()
            yield data[len(data) // 2 :]

        def sent(number: int, kills: bool = False) -> Part | None:
            length = len(PARTS[number])
            try:
                return other.put_part(CTX, key, number, 3, blocks(number, kills), length=length)
            except (Unavailable, UploadInUse) as error:
                print(f"part {number}: {error!r}")
                return None

        assert sent(2)
        if not sent(0, kills=True):
            wait_until(lambda: sent(0), 60, "the part to be taken after all")
        replica_set.heal()
        assert sent(1)
        guard = _Killing(replica_set)

        def finished() -> Committed | None:
            try:
                return store.finish_parts(
                    CTX, key, 3, expected_digests=digests_of(CONTENT, ("sha256",)), guard=guard
                )
            except (Unavailable, UploadInUse) as error:
                print(f"finishing: {error!r}")
                return None

        done = wait_until(finished, 120, "the file")
        assert guard.killed
        assert names(other) == ["file"]
        assert other.stat(CTX, "/file") == done.node
        assert read(other, "/file") == CONTENT
        replica_set.heal()
        assert store.upkeep().check(lambda _count: None, verify=True) == []
