"""The in-memory locks against the promises of a lock store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from davstore.locks.base import LockStore
from davstore.locks.memory import MemoryLocks
from tests.locks.contract import LockContract


class TestMemoryLocks(LockContract):
    @pytest.fixture
    def locks(self, tmp_path: Path) -> Iterator[LockStore]:
        store = MemoryLocks()
        yield store
        store.close()
