"""Content on its way in: small ones wait in memory, large ones go to GridFS as they come.

Dies the process, nothing of it is visible; a content in GridFS has a lease and is reclaimed when
that is over, unless it was made persistent and its own lease lasts.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from bson import Binary

from davstore.errors import (
    DeadlineExceeded,
    DigestMismatch,
    LengthMismatch,
    Locked,
    NoSuchUpload,
    PreconditionFailed,
    Unavailable,
)
from davstore.stores.base import Attributes, Committed, Context, Guard, Upload
from davstore.stores.mongo import contents, uploads
from davstore.stores.mongo.chunks import ChunkWriter, read_chunks
from davstore.stores.mongo.documents import Id, new_id, node_of
from davstore.stores.mongo.nodes import Written
from davstore.stores.mongo.operations import Document
from davstore.stores.mongo.publishing import body_of, publish
from davstore.stores.mongo.resolving import Found
from davstore.stores.mongo.runner import Runner

if TYPE_CHECKING:
    from davstore.stores.mongo.share import Share

#: Seconds for which what was seen of the target may be built upon.
_HINT_HOLDS: Final = 0.5
#: Seconds between two signs of life of an upload.
_SIGN_EVERY: Final = 20.0


#: What its client, or time, can put right; each leaves a persistent upload as it was.
_PASSING: Final = (Locked, PreconditionFailed, Unavailable, DeadlineExceeded)


@dataclass(frozen=True, slots=True)
class Hint:
    """What a path led to when this thread had run `runs` algorithms."""

    found: Found
    runs: int
    seen_at: float = field(default_factory=time.monotonic)

    def holds(self, runner: Runner) -> bool:
        """Whether it may be built upon: the same thread has done nothing since, and quickly."""
        is_fresh = time.monotonic() - self.seen_at < _HINT_HOLDS
        return is_fresh and self.runs == runner.runs


class MongoUpload(Upload):
    """See `Upload`. `resumed` is the `fs.files` document of one that is opened again."""

    def __init__(
        self,
        share: Share,
        ctx: Context,
        path: str,
        attributes: Attributes,
        *,
        hint: Hint | None = None,
        resumed: Document | None = None,
    ) -> None:
        self._hint = hint
        self._share = share
        self._ctx = ctx
        self.path = path
        self._attributes = attributes
        self._content: Id = resumed["_id"] if resumed else new_id()
        self.id = self._content.hex()
        self.offset = resumed["length"] if resumed else 0
        self._lease: float | None = resumed["metadata"]["lease"] if resumed else None
        self.memo = uploads.memo_of(resumed) if resumed else ""
        self._nonce: str = resumed["metadata"]["holder"]["nonce"] if resumed else ""
        self._small = bytearray()
        self._writer: ChunkWriter | None = None
        self._signed = 0.0
        self._over = False
        self._is_cut_off = False
        # Digests of what another process wrote are made at the commit, in one pass.
        self._hashes = {
            algorithm: hashlib.new(algorithm, usedforsecurity=False)
            for algorithm in (share.digests if self.offset == 0 else ())
        }
        if resumed:
            self._go_on()

    def _go_on(self) -> None:
        """Take the last, partial chunk back into memory; it is sent again when it has grown."""
        whole = self.offset // self._share.chunk_size
        start = whole * self._share.chunk_size
        content = {"_id": self._content, "chunkSize": self._share.chunk_size}
        tail = b"".join(
            read_chunks(self._share.connection, content, start, self.offset - start, self.path)
        )
        self._writer = self._new_writer()
        self._writer.go_on(whole, tail)

    def _new_writer(self) -> ChunkWriter:
        share = self._share
        return ChunkWriter(
            share.connection, self._content, share.chunk_size, self.path, self._must_be_own
        )

    @property
    def is_over(self) -> bool:
        return self._over

    def write(self, data: bytes | memoryview) -> None:
        self._must_be_open()
        if self._share.quota is not None:
            self._share.must_have_room(self.path, self.offset + len(data))
        for digest in self._hashes.values():
            digest.update(data)
        self.offset += len(data)
        if self._writer is None and self.offset <= self._share.inline_max:
            self._small += data
            return
        with self._noting_a_cut():
            writer = self._begun()
            writer.take(data)
            if writer.wants_batch:
                self._sign()
                writer.send_batch()

    def rewind(self, offset: int) -> None:
        self._must_be_open()
        if not 0 <= offset <= self.offset:
            raise ValueError(offset)
        self._hashes.clear()  # they know more than there is; the commit reads it again
        if self._writer is None:
            del self._small[offset:]
            self.offset = offset
            return
        with self._noting_a_cut():
            self._sign()
            self._writer.flush()
            cut = uploads.cut(self._content, offset, self._nonce)
            if not self._share.runner.run(cut, self.path):
                self._end()
                raise NoSuchUpload(self.id)
            self._writer.remove_from(-(-offset // self._share.chunk_size))
            self._writer.close()
            self.offset = offset
            self._go_on()

    @contextlib.contextmanager
    def _noting_a_cut(self) -> Iterator[None]:
        """After a database that did not answer nobody knows which chunks are there."""
        try:
            yield
        except Unavailable:
            self._is_cut_off = True
            raise

    def _must_be_open(self) -> None:
        if self._over:
            raise NoSuchUpload(self.id)

    def _begun(self) -> ChunkWriter:
        """The writer into GridFS, with what had waited in memory."""
        if self._writer is None:
            share = self._share
            terms = share.runner.terms
            more = uploads.described(self.path, self._attributes)
            self._nonce = more["holder"]["nonce"]
            begin = contents.begin(self._content, share.chunk_size, terms.lease, terms, **more)
            share.runner.run(begin, self.path)
            self._signed = time.monotonic()
            self._writer = self._new_writer()
            self._writer.take(self._small)
            self._small = bytearray()
        return self._writer

    def _sign(self) -> None:
        """A sign of life, right before chunks are written. Raises NoSuchUpload."""
        if time.monotonic() - self._signed < _SIGN_EVERY:
            return
        terms = self._share.runner.terms
        lease = max(self._lease or 0.0, terms.lease)
        renew = contents.renew(self._content, lease, terms, uploads.own(self._nonce))
        if not self._share.runner.run(renew, self.path):
            self._end()
            raise NoSuchUpload(self.id)
        self._signed = time.monotonic()

    def _must_be_own(self) -> None:
        """Before chunks are replaced. Raises NoSuchUpload."""
        holding = uploads.hold_on(self._content, self._share.runner.terms, self._nonce)
        if not self._share.runner.run(holding, self.path):
            raise NoSuchUpload(self.id)

    def commit(
        self,
        *,
        expected_length: int | None = None,
        expected_digests: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Committed:
        self._must_be_open()
        try:
            self._share.in_time(self._ctx, self.path)
            if expected_length not in (None, self.offset):
                raise LengthMismatch(self.path)
            if self._writer is not None:
                self._sign()
                self._writer.flush()
            digests = self._checked_digests(expected_digests or {})
            done = self._put_in_place(digests, guard)
        except BaseException as error:
            self._fail(error, expected_length)
            raise
        self._end()
        return Committed(node_of(done.node), done.replaced is None)

    def _fail(self, error: BaseException, expected_length: int | None) -> None:
        """A persistent upload survives what its client, or time, can put right."""
        self._is_cut_off = isinstance(error, Unavailable)
        survives = isinstance(error, _PASSING) or (
            isinstance(error, LengthMismatch) and self.offset < (expected_length or 0)
        )
        if self._lease is None or not survives:
            self.abort()

    def _checked_digests(self, expected: Mapping[str, str]) -> dict[str, str]:
        """The digests to keep, lower-case hex. Raises DigestMismatch."""
        known = {algorithm: digest.hexdigest() for algorithm, digest in self._hashes.items()}
        missing = (set(expected) | set(self._share.digests)) - set(known)
        if missing:
            hashes = {name: hashlib.new(name, usedforsecurity=False) for name in missing}
            for piece in self._pieces():
                for digest in hashes.values():
                    digest.update(piece)
            known |= {name: digest.hexdigest() for name, digest in hashes.items()}
        for algorithm, value in expected.items():
            if known[algorithm] != value.lower():
                raise DigestMismatch(self.path)
        return {algorithm: known[algorithm] for algorithm in self._share.digests}

    def _pieces(self) -> Iterator[bytes]:
        """All that was written, again, with signs of life in between."""
        if self._writer is None:
            yield bytes(self._small)
            return
        content = {"_id": self._content, "chunkSize": self._share.chunk_size}
        connection = self._share.connection
        for piece in read_chunks(connection, content, 0, self.offset, self.path):
            self._sign()
            yield piece

    def _put_in_place(self, digests: Mapping[str, str], guard: Guard | None) -> Written:
        share, runner = self._share, self._share.runner
        body = body_of(self._attributes, self.offset, digests)
        if self._writer is None:
            body["data"] = Binary(self._small)
        else:
            body["c"] = self._content
            seal = uploads.seal(
                self._content, self.offset, self._lease or 0.0, runner.terms, self._nonce
            )
            if not runner.run(seal, self.path):
                self._end()
                raise NoSuchUpload(self.id)
        keep = partial(uploads.keep_sealed, self._lease or 0.0, self._nonce)
        hint = self._hint
        seen = hint.found if hint is not None and hint.holds(runner) else None
        try:
            return publish(share, self._ctx, self.path, body, guard=guard, seen=seen, keep=keep)
        except (Locked, PreconditionFailed, DeadlineExceeded):
            self._unseal()
            raise

    def _unseal(self) -> None:
        """A refused persistent upload goes on as one that is being written."""
        if self._writer is not None and self._lease is not None:
            own, terms = uploads.own(self._nonce), self._share.runner.terms
            unseal = contents.unseal(self._content, self._lease, terms, own)
            self._share.runner.run(unseal, self.path)

    def abort(self) -> None:
        if self._over:
            return
        self._end()
        # A database that has just not answered is not waited for again; the lease will end.
        if self._writer is not None and not self._is_cut_off:
            discard = contents.discard(self._content, uploads.own(self._nonce))
            self._share.runner.run(discard, self.path)

    def persist(self, lease: float, memo: str | None = None) -> str:
        self._must_be_open()
        with self._noting_a_cut():
            writer = self._begun()
            self._sign()
            self._lease = lease
            writer.flush()
            terms = self._share.runner.terms
            keep = uploads.keep(
                self._content, self.offset, lease, terms, memo=memo, nonce=self._nonce
            )
            is_kept = self._share.runner.run(keep, self.path)
        if not is_kept:
            self._end()
            raise NoSuchUpload(self.id)
        self._signed = time.monotonic()
        self.memo = self.memo if memo is None else memo
        return self.id

    def suspend(self) -> None:
        self._must_be_open()
        try:
            if not self._is_cut_off:
                with self._noting_a_cut():
                    writer = self._begun()
                    self._sign()
                    writer.flush()
                    letting_go = uploads.let_go(self._content, self.offset, self._nonce)
                    self._share.runner.run(letting_go, self.path)
        finally:
            # Of one that was cut off, what the last `persist` kept is taken up when its hold ends.
            self._end()

    def _end(self) -> None:
        self._over = True
        if self._writer is not None:
            self._writer.close()
