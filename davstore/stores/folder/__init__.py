"""The folder store: a local directory, served as it is on disk."""

from __future__ import annotations

from davstore.stores.folder.store import FolderStore

__all__ = ["FolderStore"]
