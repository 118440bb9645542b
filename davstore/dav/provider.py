"""A WsgiDAV provider over any store."""

from __future__ import annotations

from typing import Any

from wsgidav.dav_provider import DAVProvider

from davstore.dav.request import Share
from davstore.dav.resources import FileResource, FolderResource, resource_at


class StoreProvider(DAVProvider):
    """Mounts a store in a WsgiDAV application; kinds of stores subclass it.

    Within davstore the request server goes to the share's store directly, because a file
    server needs more than a provider can say (guards, one-step replacing, one-pass
    listing). In another WsgiDAV application it answers wsgidav's own request server.
    """

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    def is_readonly(self) -> bool:
        return self.share.read_only

    def get_resource_inst(
        self, path: str, environ: dict[str, Any]
    ) -> FileResource | FolderResource | None:
        """The resource at `path`, decoded and relative to the share; None when there is none."""
        return resource_at(self.share.store, path, environ)
