"""What is uploaded: a file of this machine, or an open one that can be read from anywhere."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from davstore.client.errors import ClientError, SourceChanged

#: Bytes read at once for a digest.
_BLOCK: Final = 1 << 20


class Identity(NamedTuple):
    """Which file of this machine it is, and which state of it."""

    path: str
    size: int
    mtime_ns: int


class Source:
    """`size` bytes. A context manager, which closes what it has opened itself.

    An open file is read from where it stands. Raises OSError, and ClientError for what is no
    file or cannot be read twice: a pipe.
    """

    def __init__(self, given: str | os.PathLike[str] | BinaryIO) -> None:
        self.identity: Identity | None = None
        self._opened: BinaryIO | None = None
        if isinstance(given, str | os.PathLike):
            self._file = self._opened = _opened(Path(given))
            found = os.fstat(self._file.fileno())
            self.identity = Identity(os.path.realpath(given), found.st_size, found.st_mtime_ns)
        else:
            self._file = given
        try:
            self._start = self._file.tell()
            self.size = self._file.seek(0, io.SEEK_END) - self._start
        except (OSError, AttributeError):
            self.close()
            raise ClientError(
                "what cannot be read twice, such as a pipe, is not uploaded"
            ) from None
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def piece(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on: `length` of them, or those that are left.

        Raises SourceChanged when they are not there any more.
        """
        wanted = min(length, self.size - offset)
        found = self._read(offset, wanted)
        if offset <= self._hashed < offset + len(found):
            self._sha256.update(memoryview(found)[self._hashed - offset :])
            self._hashed = offset + len(found)
        return found

    def sha256(self) -> str:
        """Of all of it, in lower-case hex. What was not read as a piece is read for it."""
        while self._hashed < self.size:
            self.piece(self._hashed, _BLOCK)
        return self._sha256.hexdigest()

    def must_be_unchanged(self) -> None:
        """Raises SourceChanged when the file has another size or time than at the beginning."""
        if self.identity is None:
            return
        found = os.fstat(self._file.fileno())
        if (found.st_size, found.st_mtime_ns) != self.identity[1:]:
            raise SourceChanged(f"{self.identity.path} was changed meanwhile")

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(self._start + offset)
        parts = []
        while length > 0:
            part = self._file.read(length)
            if not part:
                raise SourceChanged("the file has become shorter while it was uploaded")
            parts.append(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _opened(path: Path) -> BinaryIO:
    """For reading. Nobody is waited for: a FIFO is refused like a device."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb", buffering=0)
    os.close(fd)
    raise ClientError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'no file'}")
