"""Where davstore answers: one address, or any healthy node that Consul knows."""

from __future__ import annotations

import time
from typing import Final, Protocol
from urllib.parse import urlsplit

from davstore import paths
from davstore.client.errors import ClientError, Unreachable
from davstore.discovery import Discovery, DiscoveryError, Node

#: Seconds for which a node that failed is not asked when there are others.
_AVOIDED: Final = 10.0


class Places(Protocol):
    #: What tells one davstore from another, whichever node answers.
    name: str
    #: The path that a proxy shows davstore below: "/drive"; "" for none.
    prefix: str

    def current(self, path: str) -> str:
        """Scheme, host and port to ask about `path`, a path of the tree: "http://10.0.0.1:8080".

        Raises Unreachable when there is none now.
        """

    def leave(self, origin: str, path: str) -> bool:
        """`origin` has just failed. Whether there is another one that has not."""


class OneAddress:
    """That of `url`, which may have a path: "https://files.example.org/drive"."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = None
        if not usable or parts.query or parts.fragment:
            raise ClientError("the address of davstore has to be like http://host:port")
        # User and password are the client's, and no part of what is ever shown.
        self._origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.prefix = parts.path.rstrip("/")
        self.name = self._origin + self.prefix

    def current(self, path: str) -> str:
        return self._origin

    def leave(self, origin: str, path: str) -> bool:
        return False


class Nodes:
    """The nodes of a service; one is kept until it fails, so that its connection is."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._kept: str | None = None
        #: Until when, by the monotonic clock, those that failed are avoided.
        self._left: dict[str, float] = {}
        self.prefix = ""
        self.name = f"consul:{discovery.service}"

    def current(self, path: str) -> str:
        origins = self._origins(path)
        if self._kept not in origins or self._is_left(self._kept):
            self._kept = next((each for each in origins if not self._is_left(each)), origins[0])
        return self._kept

    def leave(self, origin: str, path: str) -> bool:
        self._left[origin] = time.monotonic() + _AVOIDED
        try:
            return not all(map(self._is_left, self._origins(path)))
        except Unreachable:
            return False

    def _is_left(self, origin: str | None) -> bool:
        return origin is not None and self._left.get(origin, 0.0) > time.monotonic()

    def _origins(self, path: str) -> list[str]:
        """Those that serve `path`, each time with another one in front."""
        try:
            nodes = self._discovery.in_turn()
        except DiscoveryError as error:
            raise Unreachable(str(error)) from None
        # Folder shares belong to one node each: of two that could be meant, a share that is
        # mounted further down is.
        best = max(_depth(node, path) for node in nodes)
        return [node.url("").rstrip("/") for node in nodes if _depth(node, path) == best]


def _depth(node: Node, path: str) -> int:
    """The length of the mount path that `path` lies in; 0 when the node shows none."""
    return max((len(mount) for mount in node.shares if paths.is_within(path, mount)), default=0)
