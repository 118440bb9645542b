"""The in-memory twin against the promises of a store."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from davstore.stores.base import (
    Closable,
    Fenced,
    HasUsage,
    ResumableUploads,
    Store,
    Sweepable,
)
from davstore.stores.memory import MemoryStore
from tests.stores.contract import StoreContract
from tests.stores.harness import Opener


class TestMemoryStore(StoreContract):
    durable: ClassVar[bool] = False

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        store = MemoryStore()
        return lambda: store

    def test_it_has_every_optional_ability(self, store: Store) -> None:
        for ability in (ResumableUploads, HasUsage, Fenced, Sweepable, Closable):
            assert isinstance(store, ability)
