"""An open file: one version of its content, whatever becomes of its node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from davstore.errors import Corrupt
from davstore.stores.base import Node, Reader
from davstore.stores.mongo import contents
from davstore.stores.mongo.chunks import read_chunks
from davstore.stores.mongo.operations import CONTENTS, Algorithm, Document, Find
from davstore.stores.mongo.runner import Connection, Runner

#: An inline content leaves in pieces of so many bytes at most.
_PIECE: Final = 1 << 18
#: Seconds between two signs of life of a download.
_SIGN_EVERY: Final = 60.0


class InlineReader(Reader):
    """Of a content that came along with its node."""

    def __init__(self, path: str, node: Node, data: bytes) -> None:
        self.node = node
        self._path = path
        self._data = data

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        if start + length > len(self._data):
            raise Corrupt(self._path)
        for at in range(start, start + length, _PIECE):
            yield self._data[at : min(at + _PIECE, start + length)]

    def close(self) -> None:
        self._data = b""


class ContentReader(Reader):
    """Of a content in GridFS. Replaced or deleted, it stays as long as somebody reads it."""

    def __init__(
        self, connection: Connection, runner: Runner, path: str, node: Node, content: Document
    ) -> None:
        self.node = node
        self._connection = connection
        self._runner = runner
        self._path = path
        self._content = content

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        if start + length > self._content["length"]:
            raise Corrupt(self._path)
        sign_at = time.monotonic() + _SIGN_EVERY
        for piece in read_chunks(self._connection, self._content, start, length, self._path):
            yield piece
            if time.monotonic() > sign_at:
                self._sign()
                sign_at = time.monotonic() + _SIGN_EVERY

    def _sign(self) -> None:
        seconds = self._runner.terms.hold
        self._runner.run(contents.hold(self._content["_id"], seconds), self._path)

    def close(self) -> None:
        """Nothing is held open."""


def content_of(document: Document) -> Algorithm[Document | None]:
    """The `fs.files` document that a node refers to; None when it is not there."""
    found = yield Find(CONTENTS, {"_id": document["c"]}, limit=1)
    return found[0] if found else None
