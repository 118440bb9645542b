"""A tree in MongoDB as a WsgiDAV provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from davstore.dav.provider import StoreProvider
from davstore.dav.request import Share
from davstore.stores.mongo.store import MongoStore


class GridFsProvider(StoreProvider):
    """Serves the tree in the MongoDB at `uri`. See `MongoStore` for the arguments.

    Made in the process that serves, after the fork; it connects when it is first asked.
    """

    def __init__(
        self,
        uri: str,
        database: str | None = None,
        *,
        mount: str = "/",
        inline_max: int = 16 << 10,
        chunk_size: int = 1 << 20,
        digests: Sequence[str] = ("sha1", "sha256"),
        read_only: bool = False,
        quota: int | None = None,
        grace: float = 3600.0,
        write_concern: Literal["majority"] | int = "majority",
    ) -> None:
        store = MongoStore(
            uri,
            database,
            inline_max=inline_max,
            chunk_size=chunk_size,
            digests=digests,
            quota=quota,
            grace=grace,
            write_concern=write_concern,
        )
        super().__init__(Share(mount, store, read_only))
