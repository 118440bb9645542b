"""The MongoDB store under the suite that all stores share, on a real mongod."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

import pytest

from davstore.stores.base import Store
from davstore.stores.mongo.store import MongoStore
from tests.components.mongod import Mongod, ReplicaSet
from tests.stores.contract import StoreContract
from tests.stores.harness import Opener
from tests.stores.machine import run_machine
from tests.stores.promises.competing import Competing
from tests.stores.promises.limiting import Counting, Limiting
from tests.stores.promises.moving import Copying
from tests.stores.promises.reading import Reading
from tests.stores.promises.resuming import Resuming
from tests.stores.promises.sharing import Dying
from tests.stores.promises.trees import Transfers
from tests.stores.promises.writing import Writing


def open_mongo(
    uri: str,
    database: str,
    quota: int | None = None,
    chunk_size: int = 1 << 20,
    inline_max: int = 16 << 10,
) -> Store:
    """One more instance on the tree in `database`."""
    return MongoStore(uri, database, chunk_size=chunk_size, inline_max=inline_max, quota=quota)


class TestMongoStore(StoreContract):
    """On a standalone server."""

    @pytest.fixture
    def opener(self, mongod: Mongod, mongo_database: str) -> Iterator[Opener]:
        yield functools.partial(open_mongo, mongod.uri, mongo_database)


class TestMongoStoreOfSmallChunks(
    Reading, Writing, Transfers, Copying, Resuming, Limiting, Counting, Dying
):
    """All that has to do with content, which here lies in many chunks nearly always."""

    chunk_size: ClassVar[int] = 8 << 10
    inline_limit: ClassVar[int] = 1 << 10

    #: It has no content.
    test_ten_thousand_members_are_listed_each_once_and_in_order = None  # type: ignore[assignment]
    test_a_file_that_is_replaced_all_the_time_is_never_missed = (
        Competing.test_a_file_that_is_replaced_all_the_time_is_never_missed
    )

    @pytest.fixture
    def opener(self, mongod: Mongod, mongo_database: str) -> Iterator[Opener]:
        layout = {"chunk_size": self.chunk_size, "inline_max": self.inline_limit}
        yield functools.partial(open_mongo, mongod.uri, mongo_database, **layout)

    def test_it_does_what_the_twin_in_memory_does_whatever_the_calls(self, opener: Opener) -> None:
        run_machine(opener, examples=20)


class TestMongoStoreOnReplicaSet(StoreContract):
    """On a replica set of three."""

    @pytest.fixture
    def opener(self, replica_set: ReplicaSet, replica_database: str) -> Iterator[Opener]:
        yield functools.partial(open_mongo, replica_set.uri, replica_database)

    def test_it_does_what_the_twin_in_memory_does_whatever_the_calls(self, opener: Opener) -> None:
        """Some of those of the standalone: only the concerns of reads and writes differ."""
        run_machine(opener, examples=20)
