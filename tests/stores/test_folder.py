"""The folder store under the suite that all stores share."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from davstore.stores.base import Store
from davstore.stores.folder import FolderStore
from davstore.stores.folder.database import Durability
from davstore.stores.folder.resolve import Means
from tests.stores.contract import StoreContract
from tests.stores.harness import Opener


def open_folder(
    home: Path,
    durability: Durability = "full",
    means: Means | None = None,
    quota: int | None = None,
) -> Store:
    """One more instance on the share in `home`, which has its state beside it."""
    (home / "share").mkdir(exist_ok=True)
    return FolderStore(
        home / "share",
        state=home / "state",
        share="/",
        durability=durability,
        digests=("sha1", "sha256"),
        means=means,
        quota=quota,
    )


class TestFolderStore(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return functools.partial(open_folder, tmp_path)

    def test_on_this_system_folders_are_swapped_at_once(self, store: Store) -> None:
        assert store.swaps_at_once


class TestFolderStoreWithoutFsync(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return functools.partial(open_folder, tmp_path, "rename")


class TestFolderStoreWithoutNewSystemCalls(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return functools.partial(open_folder, tmp_path, "rename", "portable")

    def test_it_says_that_folders_are_not_swapped_at_once(self, store: Store) -> None:
        assert not store.swaps_at_once
