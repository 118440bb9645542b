"""One file on its way from the server: into a hidden file beside the target, which becomes the
target once it is whole, has the right digest, and lies on the disk.

The hidden file's name is made of the remote path and its entity tag. So a later try goes on with
what is there of the same content, and never with that of another.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from davstore.client.entry import Entry, Progress
from davstore.client.errors import PASSING, ClientError, Damaged, PreconditionFailed
from davstore.client.wire import Wire

#: From the strongest; the first that the server knows is compared.
_ALGORITHMS: Final = ("sha256", "sha1", "md5")

#: How often it is begun anew: the file changes again and again, or what arrives is damaged.
_ANEW: Final = 3

_BLOCK: Final = 1 << 20


class Downloading:
    """`resume` False: what an earlier try has left is not used."""

    def __init__(
        self, wire: Wire, path: str, target: Path, *, progress: Progress | None, resume: bool
    ) -> None:
        self._wire = wire
        self._path = path
        self._target = _real(target)
        self._progress = progress
        self._resume = resume

    def run(self) -> Entry:
        """What was downloaded. Raises ClientError, OSError."""
        for anew in range(_ANEW + 1):
            entry = self._stat()
            try:
                self._run(entry, resume=self._resume and anew == 0)
            except _Changed:
                if anew == _ANEW:
                    raise
            except Damaged:
                if anew > 0:
                    raise
            except OSError as error:
                # It tells of the file that was asked for, not of the hidden one.
                raise OSError(error.errno, error.strerror, str(self._target)) from error
            else:
                return entry
        raise AssertionError("not reached")

    def _run(self, entry: Entry, *, resume: bool) -> None:
        with closing(_Part(self._part_name(entry), entry, resume=resume)) as part:
            part.be_as_private_as(self._target)
            try:
                self._fetch(entry, part)
                part.become(self._target)
            except (_Changed, Damaged):
                part.remove()
                raise

    def _stat(self) -> Entry:
        answer = self._wire.ask("GET", self._wire.at("stat", self._path), self._path)
        entry = Entry.of(answer.content)
        if entry.is_folder:
            raise ClientError(f"{self._path} is a folder")
        return entry

    def _part_name(self, entry: Entry) -> Path:
        about = "\0".join((self._wire.places.name, self._path, self._target.name, entry.etag))
        name = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._target.with_name(f".davstore-{name}.part")

    def _fetch(self, entry: Entry, part: _Part) -> None:
        """Raises _Changed when there is another content now."""
        patience = self._wire.patience()
        while part.size < entry.size:
            begun_at = part.size
            try:
                self._read_on(entry, part)
            except PASSING as trouble:
                if part.size > begun_at:
                    patience.renew()
                patience.bear(trouble)
            else:
                if part.size < entry.size:
                    sentence = f"of {self._path} came {part.size} bytes, and it has {entry.size}"
                    raise Damaged(sentence)

    def _read_on(self, entry: Entry, part: _Part) -> None:
        wire = self._wire
        headers = {"If-Match": entry.etag}
        if part.size:
            headers = {"Range": f"bytes={part.size}-", "If-Range": entry.etag}
        address = wire.at("download", self._path)
        try:
            response = wire.once("GET", address, self._path, headers=headers, stream=True)
        except PreconditionFailed:
            raise _Changed(self._path) from None
        with closing(response):
            if response.headers.get("ETag") != entry.etag:
                raise _Changed(self._path)
            if response.status_code != 206:
                part.begin_again()
            for block in wire.blocks(response, self._path):
                part.write(block)
                if self._progress is not None:
                    self._progress(part.size, entry.size)


class _Changed(ClientError):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changes again and again while it is downloaded")


class _Part:
    """What has arrived so far, held by a lock: another process has one of its own."""

    def __init__(self, path: Path, entry: Entry, *, resume: bool) -> None:
        self._path = path
        self._entry = entry
        self._algorithm = next((each for each in _ALGORITHMS if each in entry.digests), "sha256")
        self._fd = self._opened()
        if not resume or os.fstat(self._fd).st_size > entry.size:
            os.ftruncate(self._fd, 0)
        self.size = 0
        self._hash = self._new_hash()
        while block := os.pread(self._fd, _BLOCK, self.size):
            self._hash.update(block)
            self.size += len(block)
        os.lseek(self._fd, self.size, os.SEEK_SET)

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        path, number = self._path, 1
        while True:
            fd = os.open(self._path, flags, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(fd, self._path):
                    return fd
            except BlockingIOError:
                self._path = path.with_suffix(f".{number}.part")
                number += 1
            except OSError:
                os.close(fd)
                raise
            os.close(fd)

    def _new_hash(self) -> Any:
        return hashlib.new(self._algorithm, usedforsecurity=False)

    def write(self, block: bytes) -> None:
        self._hash.update(block)
        left = memoryview(block)
        while left:
            written = os.write(self._fd, left)
            self.size += written
            left = left[written:]

    def begin_again(self) -> None:
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.size = 0
        self._hash = self._new_hash()

    def be_as_private_as(self, target: Path) -> None:
        """Let nobody read it who may not read what it is to replace."""
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(target.stat().st_mode)
            os.fchmod(self._fd, mode | stat.S_IRUSR | stat.S_IWUSR)

    def become(self, target: Path) -> None:
        """Be `target`, all at once and for good. Raises Damaged for what it should not be."""
        known = self._entry.digests.get(self._algorithm)
        if self.size != self._entry.size or known not in (None, self._hash.hexdigest()):
            raise Damaged(f"what arrived of {self._entry.path} has another {self._algorithm}")
        os.fsync(self._fd)
        self._path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._fd)


def _is_same(fd: int, path: Path) -> bool:
    """Whether `path` still is what was opened: it may have become a target meanwhile."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _real(target: Path) -> Path:
    """Where `target` leads. Raises OSError when what is there is no file that can be replaced."""
    target = Path(os.path.realpath(target))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "Not a regular file", str(target))
    return target
