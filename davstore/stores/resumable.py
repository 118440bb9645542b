"""Uploads that a client sends piece by piece, in order: one engine for every face that takes them.

An upload is known by its id, has an owner, a length, an offset and a lease. It stands on the
stores' persistent uploads; what the engine has to know of it (`Plan`) is their memo, so any
process and any node can go on with it.

The offset that `find` tells is never beyond what survives the death of the process, and below the
length as long as the file is not published: whoever sends from there on to the end knows, when
it is taken, that the file is there.

What if the process dies while a piece arrives: what came until the last step (`STEP`) is kept, of
a piece with a digest of its own nothing. What if it dies between the last byte and the commit: the
client is told that the last byte is missing, and sends it again. What if two pieces come at
once: the second is told UploadInUse, or that its offset is not the upload's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple, Self

from davstore.errors import DigestMismatch, NoSuchUpload, StoreError, UploadFinished
from davstore.stores.base import (
    Attributes,
    Committed,
    Context,
    Guard,
    ResumableUploads,
    Store,
    Upload,
)

#: Bytes after which what has come is made safe: at most so much is sent again after a death.
STEP = 4 << 20

#: Seconds after which it is as well, however slowly it comes: a store lets others take up an
#: upload of whose writer it has not heard for long.
SIGN_EVERY = 20.0


class OffsetMismatch(StoreError):
    """A piece does not begin where the upload stands. `offset` is where that is."""

    meaning = "The piece does not begin where the upload ends."

    def __init__(self, path: str, offset: int) -> None:
        super().__init__(path, f"The upload has {offset} bytes; the next piece has to begin there.")
        self.offset = offset


class PieceMismatch(DigestMismatch):
    """A piece does not have the digest that was announced for it. Nothing of it is kept."""

    meaning = "The piece does not have the digest that was announced for it."


class TooLong(StoreError):
    """A piece goes beyond the upload's length. Nothing of it is kept."""

    meaning = "The piece goes beyond the length that was announced for the upload."


@dataclass(frozen=True, slots=True)
class Plan:
    """What is kept beside an upload. `kind` is the face that began it, `owner` the identity.

    `length` in bytes; `digests` are of the whole, algorithm to lower-case hex; `notes` is for the
    face. `sure`: bytes beyond these came with a digest that was not looked at yet.
    """

    kind: str
    owner: str | None
    length: int
    lease: float
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    sure: int | None = None

    def memo(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of(cls, memo: str) -> Self | None:
        """None when it is none: another part of davstore uses persistent uploads as well."""
        try:
            found = json.loads(memo or "null")
            return cls(**found) if found else None
        except (ValueError, TypeError):
            return None


class Progress(NamedTuple):
    """How far an upload has come. `expires` in seconds since 1970, None when it is finished."""

    id: str
    path: str
    plan: Plan
    offset: int
    expires: float | None
    finished: bool


class Digest(NamedTuple):
    """Of one piece: the algorithm by hashlib's name, and its value."""

    algorithm: str
    value: bytes


class Resumable:
    """The uploads of one kind and one owner in one store. All methods raise StoreError."""

    def __init__(self, store: Store, ctx: Context, kind: str) -> None:
        if not isinstance(store, ResumableUploads):
            raise TypeError("the store keeps no uploads")
        self._store = store
        self._begin = store.upload
        self._ctx = ctx
        self._kind = kind

    def begin(
        self,
        path: str,
        length: int,
        lease: float,
        attributes: Attributes,
        *,
        digests: Mapping[str, str],
        notes: Mapping[str, str],
    ) -> Progress:
        """An upload to `path` that outlives this process, with nothing in it yet.

        Raises as `Store.upload`.
        """
        plan = Plan(self._kind, self._ctx.identity, length, lease, dict(digests), dict(notes))
        upload = self._begin(self._ctx, path, attributes)
        with upload:
            upload_id = upload.persist(lease, plan.memo())
            upload.suspend()
        return Progress(upload_id, path, plan, 0, time.time() + lease, False)

    def find(self, upload_id: str) -> Progress:
        """Raises NoSuchUpload, also for one of another owner or another kind."""
        kept = self._store.look_up(self._ctx, upload_id)
        plan = self._own(upload_id, kept.memo)
        if kept.offset is None:
            return Progress(upload_id, kept.path, plan, plan.length, None, True)
        offset = _offset(plan, kept.offset)
        return Progress(upload_id, kept.path, plan, offset, kept.expires, False)

    def _own(self, upload_id: str, memo: str) -> Plan:
        plan = Plan.of(memo)
        if plan is None or (plan.kind, plan.owner) != (self._kind, self._ctx.identity):
            raise NoSuchUpload(upload_id)
        return plan

    def append(
        self,
        upload_id: str,
        offset: int,
        blocks: Iterable[bytes],
        *,
        digest: Digest | None = None,
        guard: Guard | None = None,
    ) -> Progress | Committed:
        """Take a piece that begins at `offset`; with the last byte the file is published.

        What came stays when `blocks` ends in an error, unless the piece has a `digest`. Raises
        NoSuchUpload, UploadInUse, UploadFinished, OffsetMismatch, TooLong and PieceMismatch
        (nothing of the piece is kept), DigestMismatch (of the whole: the upload is over),
        QuotaExceeded, and as `Upload.commit`: after Locked, PreconditionFailed and Unavailable
        the last byte is to be sent again.
        """
        with self._opened(upload_id) as (upload, plan):
            if upload.offset != offset:
                raise OffsetMismatch(upload.path, upload.offset)
            if digest is None:
                _take(upload, plan, blocks)
            else:
                _take_checked(upload, plan, blocks, digest)
            if upload.offset < plan.length:
                upload.persist(plan.lease)
                expires = time.time() + plan.lease
                return Progress(upload_id, upload.path, plan, upload.offset, expires, False)
            return upload.commit(
                expected_length=plan.length, expected_digests=plan.digests or None, guard=guard
            )

    def give_up(self, upload_id: str) -> None:
        """Throw it away. Raises NoSuchUpload, UploadInUse, UploadFinished."""
        with self._opened(upload_id) as (upload, _):
            upload.abort()

    @contextlib.contextmanager
    def _opened(self, upload_id: str) -> Iterator[tuple[Upload, Plan]]:
        """The upload at its sure offset; what is not over at the end is kept."""
        if self.find(upload_id).finished:  # one of somebody else is not even held for a moment
            raise UploadFinished(upload_id)
        upload = self._store.resume(self._ctx, upload_id)
        try:
            plan = self._own(upload_id, upload.memo)
            sure = _offset(plan, upload.offset)
            if sure != upload.offset:
                upload.rewind(sure)
            if plan.sure is not None:
                plan = replace(plan, sure=None)
                upload.persist(plan.lease, plan.memo())
            yield upload, plan
        except BaseException:
            if not upload.is_over:
                with contextlib.suppress(StoreError):  # what made it fail has to be heard of
                    upload.suspend()
            raise
        if not upload.is_over:
            upload.suspend()


def _offset(plan: Plan, there: int) -> int:
    """Where the next piece has to begin, when `there` bytes have come and nothing is published."""
    sure = there if plan.sure is None else min(there, plan.sure)
    return min(sure, max(0, plan.length - 1))


def _take(upload: Upload, plan: Plan, blocks: Iterable[bytes]) -> None:
    """Every STEP is made safe. Raises TooLong; the upload is as it was before then."""
    start = safe = upload.offset
    told = time.monotonic()
    for block in blocks:
        if upload.offset + len(block) > plan.length:
            upload.rewind(start)
            raise TooLong(upload.path)
        upload.write(block)
        is_due = upload.offset - safe >= STEP or time.monotonic() - told >= SIGN_EVERY
        if is_due and upload.offset < plan.length:
            upload.persist(plan.lease)
            safe, told = upload.offset, time.monotonic()


def _take_checked(upload: Upload, plan: Plan, blocks: Iterable[bytes], digest: Digest) -> None:
    """Take a piece only if it is the announced one. It is noted first from where on nothing is
    sure, so a death leaves nothing of it either."""
    start = upload.offset
    upload.persist(plan.lease, replace(plan, sure=start).memo())
    hashed = hashlib.new(digest.algorithm, usedforsecurity=False)
    try:
        _take(upload, plan, _hashing(blocks, hashed.update))
        if hashed.digest() != digest.value:
            raise PieceMismatch(upload.path)
    except BaseException:
        if not upload.is_over:
            upload.rewind(start)
            upload.persist(plan.lease, plan.memo())
        raise
    upload.persist(plan.lease, plan.memo())


def _hashing(blocks: Iterable[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for block in blocks:
        update(block)
        yield block
