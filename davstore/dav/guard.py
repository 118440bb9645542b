"""The conditions of one request, as the guard that a store asks at the moment of change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from davstore import paths
from davstore.dav.conditions import Conditions, quote_etag
from davstore.dav.ifheader import Condition, IfHeader
from davstore.errors import PreconditionFailed
from davstore.locks.base import LockStore
from davstore.stores.base import Effect, Node

#: Finds the node at a path of the whole URL space; None when there is none.
Lookup = Callable[[str], Node | None]


@dataclass(slots=True)
class RequestGuard:
    """Judges a change for one request: its preconditions, its If header, everybody's locks.

    `mount` is where the store's share lies in the URL space; `path` is the request's own
    path within it, to which preconditions and untagged lists apply: a COPY's or MOVE's
    destination is asked about locks only. `tokens` were submitted by the client.
    `to_path` turns a resource tag into a path of the URL space, or None when it is elsewhere.
    """

    mount: str
    path: str
    conditions: Conditions
    if_header: IfHeader | None
    locks: LockStore
    principal: str | None
    lookup: Lookup
    to_path: Callable[[str], str | None]
    tokens: frozenset[str] = field(default_factory=frozenset)
    #: Kinds of what was in a changed path, for who has to know afterwards: path -> is_folder.
    replaced: dict[str, bool] = field(default_factory=dict)

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        """See `davstore.stores.base.Guard`."""
        if path == self.path:
            self.check_preconditions(node)
        if node is not None:
            self.replaced[path] = node.is_folder
        self.locks.check(self.url_path(path), effect, self.tokens, self.principal, time.time())

    def url_path(self, path: str) -> str:
        """A path of the share as a path of the whole URL space."""
        return paths.rebase(path, paths.ROOT, self.mount)

    def check_preconditions(self, node: Node | None) -> None:
        """Raise PreconditionFailed when a header says no to `node` being at the own path."""
        if self.conditions.fails(node):
            raise PreconditionFailed(self.path, "If-Match or If-Unmodified-Since does not hold.")
        if self.conditions.is_known(node):
            raise PreconditionFailed(self.path, "If-None-Match does not hold.")
        self.check_if_header(node)

    def check_if_header(self, node: Node | None) -> None:
        """Raise PreconditionFailed when the If header (RFC 4918, 10.4) does not hold."""
        if self.if_header is None:
            return
        own = self.url_path(self.path)

        def test(tag: str | None, condition: Condition) -> bool:
            path = own if tag is None else self.to_path(tag)
            if path is None:  # a resource of another server: nothing is known of its state
                return False
            if condition.is_etag:
                found = node if path == own else self.lookup(path)
                return found is not None and condition.value.strip('"') == quote_etag(found)[1:-1]
            return any(
                lock.token == condition.value for lock in self.locks.covering(path, time.time())
            )

        if not self.if_header.holds(test):
            raise PreconditionFailed(self.path, "The If header does not hold.")
