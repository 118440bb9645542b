"""The reference store: a tree of Python objects under one lock.

It is what the other stores are compared with, so it is written to be obviously right. It
keeps nothing: what if the process dies? Everything is gone, and nothing else was promised.
What if somebody else does the same at this moment? Every call holds the one lock, guards
are judged under it, and a fence is that lock.

Where several errors apply, a call raises the first of: DeadlineExceeded, NotFound, Forbidden,
IntoItself, ParentMissing or NotAFolder, Exists or IsAFolder, then what the guard raises.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from davstore import paths
from davstore.errors import (
    Corrupt,
    DeadlineExceeded,
    DigestMismatch,
    Exists,
    Forbidden,
    IntoItself,
    IsAFolder,
    LengthMismatch,
    Locked,
    NoSuchUpload,
    NotAFolder,
    PreconditionFailed,
    QuotaExceeded,
    UploadInUse,
)
from davstore.stores.base import (
    Attributes,
    Committed,
    Context,
    Effect,
    Guard,
    Kept,
    Node,
    Reader,
    Store,
    Transfer,
    Update,
    Upload,
    Usage,
)
from davstore.stores.memory_tree import Entry, Tree

#: Dead properties of one node, names and values together.
MAX_PROPS_BYTES = 1 << 20

#: A reader's pieces.
_PIECE_BYTES = 1 << 16


@dataclass(slots=True)
class _Pending:
    """What an upload has so far. `expires` is None until it is made persistent."""

    path: str
    attributes: Attributes
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    content: bytearray = field(default_factory=bytearray)
    expires: float | None = None
    in_use: bool = True
    memo: str = ""
    is_committed: bool = False


class MemoryStore(Store):
    """Also ResumableUploads, HasUsage, Fenced, Sweepable and Closable.

    `digests` are the algorithms that are kept; `capacity` is a limit in bytes, None for no limit.
    """

    def __init__(
        self, digests: Sequence[str] = ("sha1", "sha256"), capacity: int | None = None
    ) -> None:
        self._digests = tuple(digests)
        self._capacity = capacity
        self._mutex = threading.RLock()
        self._tree = Tree()
        self._uploads: dict[str, _Pending] = {}

    # Required

    def stat(self, ctx: Context, path: str) -> Node:
        with self._mutex:
            return self._get(ctx, path).node(paths.name(path))

    def list(
        self, ctx: Context, path: str, after: str | None = None, limit: int | None = None
    ) -> Iterator[Node]:
        with self._mutex:
            members = self._get(ctx, path).members
            if members is None:
                raise NotAFolder(path)
            wanted = sorted(name for name in members if after is None or name > after)[:limit]
            return iter([members[name].node(name) for name in wanted])

    def open(self, ctx: Context, path: str) -> Reader:
        with self._mutex:
            entry = self._get(ctx, path)
            if entry.members is not None:
                raise IsAFolder(path)
            return _MemoryReader(path, entry.node(paths.name(path)), entry.content)

    def upload(self, ctx: Context, path: str, attributes: Attributes = Attributes()) -> Upload:
        with self._mutex:
            self._check_deadline(ctx, path)
            self._tree.file_to_replace(path)
            return _MemoryUpload(self, ctx, _Pending(path, attributes))

    def create_folder(self, ctx: Context, path: str, guard: Guard | None = None) -> Node:
        with self._mutex:
            self._check_deadline(ctx, path)
            if path == paths.ROOT:
                raise Exists(path)
            self._tree.target(path, overwrite=False)
            self._judge(guard, path, None, Effect.CREATE)
            entry = Entry(members={})
            self._tree.put(path, entry)
            return entry.node(paths.name(path))

    def delete(self, ctx: Context, path: str, guard: Guard | None = None) -> None:
        with self._mutex:
            entry = self._get(ctx, path)
            if path == paths.ROOT:
                raise Forbidden(path)
            self._judge(guard, path, entry, Effect.REMOVE)
            self._tree.take(path)

    def move(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        guard: Guard | None = None,
    ) -> Transfer:
        with self._mutex:
            entry = self._get(ctx, source)
            if paths.ROOT in (source, target):
                raise Forbidden(paths.ROOT)
            if paths.is_within(target, source) or paths.is_within(source, target):
                raise IntoItself(target)
            replaced = self._tree.target(target, overwrite=overwrite)
            self._judge(guard, source, entry, Effect.REMOVE)
            effect = Effect.CREATE if replaced is None else Effect.REMOVE
            self._judge(guard, target, replaced, effect)
            self._tree.put(target, self._tree.take(source))
            return Transfer(created=replaced is None)

    def copy(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        recursive: bool = True,
        guard: Guard | None = None,
    ) -> Transfer:
        with self._mutex:
            entry = self._get(ctx, source)
            if target == paths.ROOT:
                raise Forbidden(target)
            shallow = entry.members is not None and not recursive
            into_itself = paths.is_within(target, source) and not shallow
            if into_itself or paths.is_within(source, target):
                raise IntoItself(target)
            replaced = self._tree.target(target, overwrite=overwrite)
            self._judge(guard, target, replaced, _effect_of_copy(entry, replaced))
            copy = entry.clone(recursive=recursive)
            growth = copy.total() - (replaced.total() if replaced else 0)
            self.check_capacity(target, growth)
            self._tree.put(target, copy)
            return Transfer(created=replaced is None)

    def update(self, ctx: Context, path: str, change: Update, guard: Guard | None = None) -> Node:
        with self._mutex:
            entry = self._get(ctx, path)
            self._judge(guard, path, entry, Effect.MODIFY)
            props = {**entry.props, **change.set_props}
            for name in change.remove_props:
                props.pop(name, None)
            size = sum(len(name.encode()) + len(value.encode()) for name, value in props.items())
            if size > MAX_PROPS_BYTES:
                raise QuotaExceeded(path, "A resource has at most 1 MiB of properties.")
            entry.props = props
            if change.modified is not None:
                entry.modified = change.modified
            return entry.node(paths.name(path))

    # Optional abilities

    def resume(self, ctx: Context, upload_id: str) -> Upload:
        with self._mutex:
            pending = self._uploads.get(upload_id)
            if pending is None or pending.is_committed:
                raise NoSuchUpload(upload_id)
            if pending.in_use:
                raise UploadInUse(upload_id)
            self._check_deadline(ctx, pending.path)
            pending.in_use = True
            return _MemoryUpload(self, ctx, pending)

    def look_up(self, ctx: Context, upload_id: str) -> Kept:
        with self._mutex:
            self._check_deadline(ctx, paths.ROOT)
            pending = self._uploads.get(upload_id)
            if pending is None or (pending.expires or 0) <= time.time():
                raise NoSuchUpload(upload_id)
            offset = None if pending.is_committed else len(pending.content)
            return Kept(pending.path, offset, pending.memo, pending.expires)

    def usage(self, ctx: Context) -> Usage:
        with self._mutex:
            self._check_deadline(ctx, paths.ROOT)
            free = None if self._capacity is None else max(0, self._capacity - self._tree.used)
            return Usage(self._tree.used, free)

    @contextlib.contextmanager
    def fence(self, ctx: Context, path: str) -> Iterator[None]:
        with self._mutex:
            self._check_deadline(ctx, path)
            yield

    def sweep(self, now: float, budget: float = 1.0) -> int:
        with self._mutex:
            over = [
                pending.id
                for pending in self._uploads.values()
                if not pending.in_use and pending.expires is not None and pending.expires <= now
            ]
            for upload_id in over:
                del self._uploads[upload_id]
            return len(over)

    def close(self) -> None:
        """Forget everything."""
        with self._mutex:
            self._tree = Tree()
            self._uploads.clear()

    # For the uploads of this store

    def hold(self, pending: _Pending) -> None:
        """Remember an upload that was made persistent."""
        with self._mutex:
            self._uploads[pending.id] = pending

    def drop(self, pending: _Pending) -> None:
        """Forget an upload."""
        with self._mutex:
            self._uploads.pop(pending.id, None)

    def finish(self, pending: _Pending) -> None:
        """Forget what was committed, but for the word that it was, when it has a memo."""
        with self._mutex:
            pending.is_committed, pending.in_use = True, False
            pending.content = bytearray()
            if not pending.memo:
                self.drop(pending)

    def check_capacity(self, path: str, growth: int) -> None:
        """Raise QuotaExceeded when `growth` more bytes do not fit."""
        if self._capacity is not None and self._tree.used + growth > self._capacity:
            raise QuotaExceeded(path)

    def commit(self, ctx: Context, pending: _Pending, guard: Guard | None) -> Committed:
        """Put the content in its place."""
        path, attributes = pending.path, pending.attributes
        with self._mutex:
            self._check_deadline(ctx, path)
            replaced = self._tree.file_to_replace(path)
            effect = Effect.CREATE if replaced is None else Effect.MODIFY
            self._judge(guard, path, replaced, effect)
            growth = len(pending.content) - (len(replaced.content) if replaced else 0)
            self.check_capacity(path, growth)
            entry = Entry(
                members=None,
                content=bytes(pending.content),
                content_type=attributes.content_type,
                digests={name: _digest(name, pending.content) for name in self._digests},
            )
            if attributes.modified is not None:
                entry.modified = attributes.modified
            if replaced is not None:
                entry.id, entry.created = replaced.id, replaced.created
                entry.props = replaced.props
            self._tree.put(path, entry)
            return Committed(entry.node(paths.name(path)), created=replaced is None)

    def _get(self, ctx: Context, path: str) -> Entry:
        self._check_deadline(ctx, path)
        return self._tree.get(path)

    @staticmethod
    def _judge(guard: Guard | None, path: str, entry: Entry | None, effect: Effect) -> None:
        if guard is not None:
            guard.judge(path, entry.node(paths.name(path)) if entry else None, effect)

    @staticmethod
    def _check_deadline(ctx: Context, path: str) -> None:
        if ctx.deadline is not None and time.monotonic() > ctx.deadline:
            raise DeadlineExceeded(path)


def _effect_of_copy(source: Entry, replaced: Entry | None) -> Effect:
    if replaced is None:
        return Effect.CREATE
    files = source.members is None and replaced.members is None
    return Effect.MODIFY if files else Effect.REMOVE


def _digest(algorithm: str, content: bytearray) -> str:
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


class _MemoryReader(Reader):
    def __init__(self, path: str, node: Node, content: bytes) -> None:
        self.node = node
        self._path = path
        self._content = content

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        if start + length > len(self._content):
            raise Corrupt(self._path)
        for at in range(start, start + length, _PIECE_BYTES):
            yield self._content[at : min(at + _PIECE_BYTES, start + length)]

    def close(self) -> None:
        self._content = b""


class _MemoryUpload(Upload):
    def __init__(self, store: MemoryStore, ctx: Context, pending: _Pending) -> None:
        self.id = pending.id
        self.path = pending.path
        self.offset = len(pending.content)
        self.memo = pending.memo
        self._store = store
        self._ctx = ctx
        self._pending = pending
        self._over = False

    @property
    def is_over(self) -> bool:
        return self._over

    def write(self, data: bytes | memoryview) -> None:
        self._check_open()
        self._store.check_capacity(self.path, self.offset + len(data))
        self._pending.content += data
        self.offset += len(data)

    def commit(
        self,
        *,
        expected_length: int | None = None,
        expected_digests: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Committed:
        self._check_open()
        keep = False
        try:
            self._check_content(expected_length, expected_digests or {})
            committed = self._store.commit(self._ctx, self._pending, guard)
            self._over = True
            self._store.finish(self._pending)
            return committed
        except (Locked, PreconditionFailed):
            keep = self._pending.expires is not None
            raise
        except LengthMismatch:
            too_short = expected_length is not None and self.offset < expected_length
            keep = too_short and self._pending.expires is not None
            raise
        finally:
            if not keep:
                self.abort()

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._store.drop(self._pending)

    def rewind(self, offset: int) -> None:
        self._check_open()
        if not 0 <= offset <= self.offset:
            raise ValueError(offset)
        del self._pending.content[offset:]
        self.offset = offset

    def persist(self, lease: float, memo: str | None = None) -> str:
        self._check_open()
        self._pending.expires = time.time() + lease
        if memo is not None:
            self.memo = self._pending.memo = memo
        self._store.hold(self._pending)
        return self.id

    def suspend(self) -> None:
        self._check_open()
        self._over = True
        self._pending.in_use = False

    def _check_open(self) -> None:
        if self._over:
            raise NoSuchUpload(self.id)

    def _check_content(self, length: int | None, digests: Mapping[str, str]) -> None:
        if length is not None and length != self.offset:
            raise LengthMismatch(self.path)
        for algorithm, wanted in digests.items():
            if _digest(algorithm, self._pending.content) != wanted:
                raise DigestMismatch(self.path)
