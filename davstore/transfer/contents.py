"""Nodes by the page, and whether a node's content is that of a local file."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator

from davstore.errors import StoreError
from davstore.stores.base import Context, Node, Store
from davstore.transfer.local import pieces, seconds
from davstore.transfer.tally import Tally

#: Members asked for at once. No listing stays open while files are transferred, which can take
#: hours, and memory does not grow with the folder.
_PAGE = 10_000

#: Digests by which a content is verified, the best first.
_STRENGTH = ("sha256", "sha1", "md5")


def members(store: Store, ctx: Context, path: str) -> Iterator[Node]:
    """All members of the folder by name. Raises StoreError at any time."""
    after = None
    while True:
        page = list(store.list(ctx, path, after, _PAGE))
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].name


class Members:
    """Finds members by name; the names have to be asked for in ascending order."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = iter(nodes)
        self._next: Node | None = None
        self._error: StoreError | None = None
        self._advance()

    def find(self, name: str) -> Node | None:
        """Raises StoreError, from then on each time: an unknown member is not a missing one."""
        while self._next is not None and self._next.name < name:
            self._advance()
        if self._error is not None:
            raise self._error
        return self._next if self._next is not None and self._next.name == name else None

    def _advance(self) -> None:
        try:
            self._next = next(self._nodes, None)
        except StoreError as error:
            self._next, self._error = None, error


def best_digest(node: Node) -> tuple[str, str] | None:
    """The strongest digest that is known of the content: algorithm and lower-case hex."""
    for algorithm in _STRENGTH:
        if algorithm in node.digests:
            return algorithm, node.digests[algorithm].lower()
    return None


def has_time(node: Node, found: os.stat_result) -> bool:
    return math.floor(node.modified) == seconds(found)


def is_alike(node: Node, found: os.stat_result) -> bool:
    """Whether the two have one size and time, by which their contents count as the same."""
    return node.size == found.st_size and has_time(node, found)


def is_same(store: Store, ctx: Context, path: str, node: Node, *, fd: int, tally: Tally) -> bool:
    """Whether the file at `path`, which is `node`, has the content of the open local file.

    Without a digest to compare with, the stored content is read.
    """
    if node.size != os.fstat(fd).st_size:
        return False
    known = best_digest(node)
    if known is not None:
        return digest_of(pieces(fd), known[0], tally) == known[1]
    with store.open(ctx, path) as reader:
        stored = digest_of(reader.chunks(0, reader.node.size), "sha256", tally)
    return stored == digest_of(pieces(fd), "sha256", tally)


def digest_of(content: Iterable[bytes], algorithm: str, tally: Tally) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for piece in content:
        tally.must_go_on()
        digest.update(piece)
    return digest.hexdigest()
