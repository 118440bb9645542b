"""Conditional requests: If-Match and its kin (RFC 9110, 13) as values, and when they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from davstore.dav import dates
from davstore.stores.base import Node

ANY = "*"


def quote_etag(node: Node) -> str:
    """The entity tag as headers and getetag show it; all of ours are strong."""
    return f'"{node.etag}"'


def split_etags(text: str) -> frozenset[str]:
    """The entity tags of a list. A client that forgets the quotes is understood (davfs2)."""
    tags = set()
    for part in text.split(","):
        tag = part.strip()
        if tag and tag != ANY and not tag.startswith(('"', "W/")):
            tag = f'"{tag}"'
        if tag:
            tags.add(tag)
    return frozenset(tags)


def _weak(tag: str) -> str:
    return tag.removeprefix("W/")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request. None: not sent, or a date that is none (ignored)."""

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Conditions:
        get = environ.get
        match, none_match = get("HTTP_IF_MATCH"), get("HTTP_IF_NONE_MATCH")
        since, unmodified = get("HTTP_IF_MODIFIED_SINCE"), get("HTTP_IF_UNMODIFIED_SINCE")
        if match is None and none_match is None and since is None and unmodified is None:
            return NO_CONDITIONS
        return cls(
            None if match is None else split_etags(match),
            None if none_match is None else split_etags(none_match),
            None if since is None else dates.parse_http_date(since),
            None if unmodified is None else dates.parse_http_date(unmodified),
        )

    def fails(self, node: Node | None) -> bool:
        """Whether If-Match, else If-Unmodified-Since, is false (13.2.2, steps 1 and 2): 412."""
        if self.if_match is not None:
            return node is None or not (ANY in self.if_match or quote_etag(node) in self.if_match)
        if self.if_unmodified_since is not None:
            return node is not None and int(node.modified) > self.if_unmodified_since
        return False

    def is_known(self, node: Node | None) -> bool:
        """Whether If-None-Match is false (step 3): 304 to GET and HEAD, else 412."""
        if self.if_none_match is None or node is None:
            return False
        if ANY in self.if_none_match:
            return True
        return quote_etag(node) in {_weak(tag) for tag in self.if_none_match}

    def is_unmodified(self, node: Node) -> bool:
        """Whether If-Modified-Since is false (step 4): 304; for GET and HEAD only."""
        return (
            self.if_none_match is None
            and self.if_modified_since is not None
            and int(node.modified) <= self.if_modified_since
        )


NO_CONDITIONS = Conditions()
