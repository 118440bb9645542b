"""A local folder as a WsgiDAV provider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from davstore.dav.provider import StoreProvider
from davstore.dav.request import Share
from davstore.stores.folder import FolderStore


class FolderProvider(StoreProvider):
    """Serves the folder `root`; properties and counters lie in the folder `state`.

    See `FolderStore` for the arguments. Made in the process that serves, after the fork.
    """

    def __init__(
        self,
        root: Path,
        *,
        state: Path,
        mount: str = "/",
        durability: Literal["full", "rename"] = "full",
        digests: Sequence[str] = ("sha1", "sha256"),
        read_only: bool = False,
        quota: int | None = None,
    ) -> None:
        store = FolderStore(
            root,
            state=state,
            share=mount,
            durability=durability,
            digests=digests,
            read_only=read_only,
            quota=quota,
        )
        super().__init__(Share(mount, store, read_only))
