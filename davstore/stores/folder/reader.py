"""An open file of a folder share."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from davstore import paths
from davstore.errors import Corrupt, IsAFolder, NotFound
from davstore.handoff import FileSpan
from davstore.stores.base import Node, Reader
from davstore.stores.folder import syscalls
from davstore.stores.folder.nodes import needs_birth, node_of
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.resolve import READ
from davstore.stores.folder.share import Share

#: Bytes read at once.
PIECE: Final = 1 << 19


class FolderReader(Reader):
    """Owns `fd`. A file that is replaced meanwhile stays what it was for this reader."""

    def __init__(self, path: str, fd: int, node: Node) -> None:
        self.path = path
        self._fd = fd
        self.node = node

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        end = start + length
        while start < end:
            with reported(self.path):
                piece = os.pread(self._fd, min(PIECE, end - start), start)
            if not piece:
                raise Corrupt(self.path, "The file became shorter while it was read.")
            start += len(piece)
            yield piece

    def span(self, start: int, length: int) -> FileSpan:
        return FileSpan(self._fd, start, length)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def open_reader(share: Share, path: str) -> FolderReader:
    """Open the file at `path`. Raises NotFound, IsAFolder, Forbidden."""
    if paths.is_reserved(path):
        raise NotFound(path)
    with reported(path):
        fd = share.tree.open(path, READ)
    try:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise IsAFolder(path)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(path)
        row = share.row(path)
        born = syscalls.birth_time(fd) if needs_birth(found, row) else None
        return FolderReader(path, fd, node_of(paths.name(path), found, row, born))
    except BaseException:
        os.close(fd)
        raise
