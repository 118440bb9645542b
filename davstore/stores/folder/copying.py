"""COPY: built out of sight, then put in place in one step.

Links are followed: a copy holds what a client sees in the source, not the link. A link that
leads to a folder above itself is reported as a failure and left out. What clients do not see
(FIFOs, names that cannot be served) is not copied.

The source is not locked meanwhile: each file in the copy is one version of its source, files
that come or go while the copy is made are in it or not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from davstore import paths
from davstore.errors import (
    DeadlineExceeded,
    IntoItself,
    IsAFolder,
    NotFound,
    QuotaExceeded,
    StoreError,
)
from davstore.handoff import about_to_wait
from davstore.stores.base import Context, Effect, Guard, Node, Transfer
from davstore.stores.folder import rows, trash, usage
from davstore.stores.folder.arriving import (
    Entry,
    check_paths,
    intent_for,
    must_be_free,
    put,
    replaced_bytes,
)
from davstore.stores.folder.changing import changing
from davstore.stores.folder.listing import members
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.place import Place, place_for_member
from davstore.stores.folder.reader import FolderReader, open_reader
from davstore.stores.folder.resolve import FOLDER
from davstore.stores.folder.rows import Row
from davstore.stores.folder.schema import STAGED
from davstore.stores.folder.settling import announce, conclude
from davstore.stores.folder.share import Share, in_time
from davstore.stores.folder.staging import COPY, DISCARDED, Reserved
from davstore.stores.folder.times import fresh_mtime

#: Bytes that the kernel copies at once; between two, the deadline is looked at.
_PIECE: Final = 32 << 20
_BATCH: Final = 256
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
#: What copy_file_range(2) says where read and write have to do.
_NO_KERNEL_COPY: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


def copy(
    share: Share,
    ctx: Context,
    source: str,
    target: str,
    *,
    overwrite: bool,
    recursive: bool,
    guard: Guard | None,
) -> Transfer:
    """See `Store.copy`. Judged before the work and again when the copy is put in place."""
    node = share.stat(source) if not paths.is_reserved(source) else None
    if node is None:
        raise NotFound(source)
    check_paths(share, ctx, source, target, within=recursive or not node.is_folder)
    with place_for_member(share.tree, target) as new, reported(target):
        _check(share, node, new, overwrite, guard)
        reserved = share.staging.beside(new.parent, paths.parent(target))
    made = Copy(share, ctx, reserved)
    thrown = None
    try:
        with reported(target):
            entry = made.make(source, recursive=recursive)
            with changing(share, ctx, target), place_for_member(share.tree, target) as new:
                _check(share, node, new, overwrite, guard)
                intent = intent_for(share, None, entry, new)._replace(staged=made.staged)
                announce(share, intent, None, new.own)
                thrown = put(share, intent, entry, new)
                made.has_arrived = True
                conclude(share, intent, made.copied - replaced_bytes(entry, new))
                created = new.own is None
    finally:
        made.close()
    if thrown is not None:
        trash.take_apart(share, *thrown, time.monotonic() + trash.INLINE_BUDGET)
    return Transfer(created, tuple(made.failures))


def _check(share: Share, source: Node, new: Place, overwrite: bool, guard: Guard | None) -> None:
    must_be_free(new, overwrite)
    there = share.node_at(new, share.row(new.path))
    if there is not None and there.id == source.id:
        raise IntoItself(new.path)
    if guard is None:
        return
    if there is None:
        effect = Effect.CREATE
    else:
        has_tree = source.is_folder or there.is_folder
        effect = Effect.REMOVE if has_tree else Effect.MODIFY
    guard.judge(new.path, there, effect)


class _Folder(NamedTuple):
    """A folder to be copied. `relative` is its path in the copy, "." the copy itself.

    `row` is the id of the copy's row, `above` the ids of the nodes it lies in.
    """

    source: str
    relative: str
    row: int
    above: frozenset[str]


class Copy:
    """A copy being built in the reserved folder; held by a flock, so that nobody sweeps it.

    Its rows stand under STAGED by the name `staged` until it arrives. Dies the process, the
    sweeper removes both.
    """

    def __init__(self, share: Share, ctx: Context, reserved: Reserved) -> None:
        self._share = share
        self._ctx = ctx
        self._reserved = reserved
        self._fd = -1
        self._name = ""
        self._rows: list[tuple[int, str, Row]] = []
        self._room = usage.room(share)
        self.failures: list[StoreError] = []
        self.copied = 0
        self.has_arrived = False

    @property
    def staged(self) -> str:
        return staged_name(self._share, self._name)

    def make(self, source: str, *, recursive: bool) -> Entry:
        """Build the copy. Raises NotFound, QuotaExceeded, DeadlineExceeded, Forbidden."""
        node = self._share.stat(source)
        if node.is_folder:
            self._make_tree(source, node, recursive)
        else:
            with open_reader(self._share, source) as reader:
                mode = _mode(reader)
                self._name, self._fd = self._reserved.new_file(COPY, mode)
                self._content(reader, self._fd, STAGED, self.staged)
        self._flush()
        self._share.sync(self._fd)
        return Entry(self._reserved.fd, self._name, os.fstat(self._fd))

    def _make_tree(self, source: str, node: Node, recursive: bool) -> None:
        self._name, self._fd = self._reserved.new_folder(COPY)
        row = self._remember_folder(STAGED, self.staged, node)
        pending = [_Folder(source, ".", row, frozenset((node.id,)))] if recursive else []
        while pending:
            self._fill(pending.pop(), pending)

    def _fill(self, folder: _Folder, pending: list[_Folder]) -> None:
        """Copy the files of one folder, make its folders and leave them to `pending`."""
        into = os.open(folder.relative, FOLDER | os.O_NOFOLLOW, dir_fd=self._fd)
        try:
            for node in members(self._share, folder.source):
                in_time(self._ctx, folder.source)
                with self._noted():
                    self._member(folder, node, into, pending)
            self._share.sync(into)
        except NotFound:
            pass  # gone meanwhile
        except StoreError as error:
            self._note(error)
        finally:
            os.close(into)

    def _member(self, folder: _Folder, node: Node, into: int, pending: list[_Folder]) -> None:
        source = paths.join(folder.source, node.name)
        if not node.is_folder:
            with open_reader(self._share, source) as reader:
                fd = os.open(node.name, _NEW_FILE, _mode(reader), dir_fd=into)
                try:
                    self._content(reader, fd, folder.row, node.name)
                    self._share.sync(fd)
                except BaseException:
                    os.unlink(node.name, dir_fd=into)
                    raise
                finally:
                    os.close(fd)
            return
        if node.id in folder.above:
            raise IntoItself(source, "This link leads to a folder that it lies in.")
        os.mkdir(node.name, dir_fd=into)
        row = self._remember_folder(folder.row, node.name, node)
        above = folder.above | {node.id}
        pending.append(_Folder(source, f"{folder.relative}/{node.name}", row, above))

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """A member that cannot be copied is a failure of its own."""
        try:
            yield
        except (NotFound, IsAFolder):
            pass  # gone, or something else, meanwhile
        except StoreError as error:
            self._note(error)

    def _note(self, error: StoreError) -> None:
        if isinstance(error, QuotaExceeded | DeadlineExceeded):
            raise error
        self.failures.append(error)

    def _content(self, reader: FolderReader, fd: int, parent: int, name: str) -> None:
        """Bytes, times and memory of one file."""
        span = reader.span(0, 0)
        before = os.fstat(span.fd)
        at = 0
        while more := self._piece(span.fd, fd, at, reader.path):
            at += more
        after = os.fstat(span.fd)
        # To the second only: a copy of the nanoseconds could repeat an entity tag.
        mtime = fresh_mtime(after.st_mtime_ns // 1_000_000_000)
        os.utime(fd, ns=(after.st_atime_ns, mtime))
        self.copied += at
        node = reader.node
        is_same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        row = Row(
            rows.new_id(),
            time.time(),
            content_type=node.content_type,
            props=rows.encode_props(node.props),
            **rows.digest_columns(node.digests if is_same else {}),
        )
        self._remember(parent, name, row.holding_for(os.fstat(fd)))

    def _piece(self, source: int, target: int, at: int, path: str) -> int:
        in_time(self._ctx, path)
        if self._room is not None and self.copied + at > self._room:
            raise QuotaExceeded(path)
        about_to_wait()
        with reported(path):
            try:
                return os.copy_file_range(source, target, _PIECE, at, at)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
            return _write_all(target, os.pread(source, _PIECE // 32, at), at)

    def _remember_folder(self, parent: int, name: str, node: Node) -> int:
        row = Row(rows.new_id(), props=rows.encode_props(node.props))
        self._remember(parent, name, row)
        return row.id

    def _remember(self, parent: int, name: str, row: Row) -> None:
        self._rows.append((parent, name, row))
        if len(self._rows) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        with self._share.database.writing() as db:
            for parent, name, row in self._rows:
                rows.write(db, (parent, name), row)
        self._rows.clear()

    def close(self) -> None:
        """Let go of it; throw it away unless it has arrived."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if not self.has_arrived:
                self._discard()
        finally:
            os.close(fd)

    def _discard(self) -> None:
        with contextlib.suppress(StoreError, FileNotFoundError), reported(self._name):
            with self._share.database.writing() as db:
                rows.detach(db, (STAGED, self.staged))
            thrown = trash.throw(self._reserved, self._reserved.fd, self._name, DISCARDED)
            until = time.monotonic() + trash.INLINE_BUDGET
            trash.take_apart(self._share, self._reserved, thrown, until)


def staged_name(share: Share, name: str) -> str:
    """The name of the row of a staged copy; all shares have theirs under one parent."""
    return f"{share.rows.root:x}:{name}"


def _mode(reader: FolderReader) -> int:
    return os.fstat(reader.span(0, 0).fd).st_mode & 0o777


def _write_all(fd: int, piece: bytes, at: int) -> int:
    left = memoryview(piece)
    while left:
        written = os.pwrite(fd, left, at)
        at += written
        left = left[written:]
    return len(piece)
