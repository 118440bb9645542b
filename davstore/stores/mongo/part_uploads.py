"""Uploads in parts, with their bytes: see `parts` for what keeps their senders apart."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from davstore.errors import (
    Corrupt,
    DigestMismatch,
    LengthMismatch,
    NoSuchUpload,
    PartDiffers,
    StoreError,
    Unavailable,
    UploadFinished,
    UploadInUse,
    WrongPart,
)
from davstore.stores.base import (
    Attributes,
    Committed,
    Context,
    Guard,
    Part,
    PartsUpload,
)
from davstore.stores.mongo import contents, part_claims, part_completion, parts
from davstore.stores.mongo.chunks import ChunkWriter, read_chunks
from davstore.stores.mongo.documents import Id, new_op, node_of
from davstore.stores.mongo.nodes import Written
from davstore.stores.mongo.operations import Algorithm
from davstore.stores.mongo.parts import Claim, Noted, Parted
from davstore.stores.mongo.publishing import body_of, publish
from davstore.stores.mongo.resolving import resolve
from davstore.stores.mongo.share import Share
from davstore.stores.mongo.uploads import attributes_of

#: Seconds between two signs of life: a third of what a claim lasts, so that what is sent right
#: before the next one has an answer before the claim can be over (15 s at most).
_SIGN_EVERY: Final = 10.0


def begin(
    share: Share, ctx: Context, path: str, upload: str, *, spell: float, attributes: Attributes
) -> str:
    """See `TakesParts.begin_parts`; whether something may be written there is looked at before."""
    more: dict[str, Any] = {"path": path, "upload": upload}
    if attributes.content_type is not None:
        more["type"] = attributes.content_type
    if attributes.modified is not None:
        more["modified"] = float(attributes.modified)
    name = parts.name_of(ctx.identity, path, upload)
    begun = parts.begin(name, share.chunk_size, spell, share.runner.terms, **more)
    return bytes(share.runner.run(begun, path, ctx.deadline)["_id"]).hex()


def find(share: Share, ctx: Context, path: str, upload: str) -> PartsUpload:
    """See `TakesParts.find_parts`."""
    share.in_time(ctx, path)
    name = parts.name_of(ctx.identity, path, upload)
    document = share.runner.run(parts.find(name), path, ctx.deadline)
    if document is None:
        raise NoSuchUpload(upload)
    found: Parted = share.runner.run(parts.look(document["_id"]), path)
    told = {number: Part(note.length, note.sha256) for number, note in found.noted.items()}
    finished = share.runner.run(part_completion.is_finished(found), path)
    return PartsUpload(found.id, found.path, found.part_size, found.count, told, finished)


# One part


class Sender:
    """Takes one part."""

    def __init__(self, share: Share, ctx: Context, content: Id) -> None:
        self._share = share
        self._ctx = ctx
        self._content = content
        self._path = "/"
        self._signed = 0.0

    def put(
        self,
        number: int,
        count: int,
        blocks: Iterable[bytes],
        *,
        length: int | None,
        sha256: str | None,
    ) -> Part:
        """See `TakesParts.put_part`."""
        run, terms = self._share.runner.run, self._share.runner.terms
        wanted = part_claims.claim(self._content, number, count, length, terms)
        claimed = run(wanted, self._path, self._ctx.deadline)
        if isinstance(claimed, Noted):
            return _compared(claimed, blocks, sha256, self._content.hex())
        self._signed = time.monotonic()
        try:
            size, digest = self._received(claimed, blocks)
            if length not in (None, size):
                raise LengthMismatch(self._path)
            if sha256 not in (None, digest):
                raise DigestMismatch(self._path)
            run(part_claims.note(claimed, size, digest, terms), self._path)
        except BaseException:
            with contextlib.suppress(StoreError):
                run(part_claims.release(claimed), self._path)
            raise
        return Part(size, digest)

    def _received(self, claimed: Claim, blocks: Iterable[bytes]) -> tuple[int, str]:
        """Everything, durable; its length and SHA-256."""
        share, digest, size = self._share, hashlib.sha256(), 0
        writer = ChunkWriter(
            share.connection,
            self._content,
            share.chunk_size,
            self._path,
            partial(self._must_be_own, claimed),
        )
        try:
            writer.go_on(claimed.at, b"")
            for block in blocks:
                size += len(block)
                if size > claimed.most:
                    sentence = f"A part of this upload has at most {claimed.most} bytes."
                    raise WrongPart(self._path, sentence)
                share.must_have_room(self._path, claimed.others + size)
                digest.update(block)
                writer.take(block)
                self._sign(claimed)
                if writer.wants_batch:
                    writer.send_batch()
            self._sign(claimed)
            writer.flush()
        finally:
            # Nothing is on its way any more when the claim goes.
            writer.close()
        return size, digest.hexdigest()

    def _sign(self, claimed: Claim) -> None:
        if time.monotonic() - self._signed < _SIGN_EVERY:
            return
        self._must_be_own(claimed)
        self._signed = time.monotonic()

    def _must_be_own(self, claimed: Claim) -> None:
        """Raises UploadInUse."""
        renewing = part_claims.renew(claimed, self._share.runner.terms)
        if not self._share.runner.run(renewing, self._path):
            raise UploadInUse(self._path, "Another request has taken this part over.")


def _compared(note: Noted, blocks: Iterable[bytes], sha256: str | None, key: str) -> Part:
    """The part that is there, when it is what comes."""
    if sha256 in (None, note.sha256):
        digest = hashlib.sha256()
        for block in blocks:
            digest.update(block)
        if digest.hexdigest() == note.sha256:
            return Part(note.length, note.sha256)
        if sha256 is not None:
            raise DigestMismatch(key)
    raise PartDiffers(key)


# The whole


class Finisher:
    """Makes a file of all parts."""

    def __init__(self, share: Share, ctx: Context, content: Id) -> None:
        self._share = share
        self._ctx = ctx
        self._content = content
        self._nonce = new_op()
        self._signed = 0.0

    def finish(
        self,
        count: int,
        *,
        expected_length: int | None,
        expected_digests: Mapping[str, str],
        guard: Guard | None,
    ) -> Committed:
        """See `TakesParts.finish_parts`.

        Dies the process before the seal, another one finishes it; after it as well; and
        once the file is there, it finds that it is.
        """
        run, terms = self._share.runner.run, self._share.runner.terms
        taking = part_completion.take_over(self._content, count, self._nonce, terms)
        try:
            upload = run(taking, "/", self._ctx.deadline)
        except UploadFinished:
            return self._again(expected_length, expected_digests)
        self._signed = time.monotonic()
        if run(part_completion.is_finished(upload), upload.path):
            run(contents.confirm(self._content, None), upload.path)
            run(part_completion.forget_parts(upload, self._nonce), upload.path)
            return self._again(expected_length, expected_digests)
        try:
            if expected_length not in (None, upload.received):
                sentence = f"The parts have {upload.received} bytes, not {expected_length}."
                raise LengthMismatch(upload.path, sentence)
            if not upload.is_sealed:
                self._put_in_order(upload)
            digests = self._checked_digests(upload, expected_digests)
            self._still_mine(part_completion.seal(upload, self._nonce, terms), upload)
        except BaseException:
            self._give_back(upload)
            raise
        done = self._put_in_place(upload, digests, guard)
        run(part_completion.forget_parts(upload, self._nonce), upload.path)
        return Committed(node_of(done.node), done.replaced is None)

    def _again(self, expected_length: int | None, expected_digests: Mapping[str, str]) -> Committed:
        """The file that was made of it before, if it has this content still."""
        upload = self._share.runner.run(parts.look(self._content))
        found = self._share.runner.run(resolve(upload.path, self._share.tree.cache), upload.path)
        if found.node is None or found.node.get("c") != self._content:
            sentence = "This upload was finished; its file was replaced, moved or deleted since."
            raise NoSuchUpload(upload.id, sentence)
        node = node_of(found.node)
        if expected_length not in (None, node.size):
            raise LengthMismatch(upload.path)
        for algorithm, value in expected_digests.items():
            if node.digests.get(algorithm, value) != value:
                raise DigestMismatch(upload.path)
        return Committed(node, created=False)

    def _put_in_order(self, upload: Parted) -> None:
        """Bring the parts that lie aside to where they belong; then nothing lies behind the end.

        Each is copied, then noted there; what lies aside goes when all are. So whoever comes
        after a death in between finds each part whole where its note says.
        """
        for number, note in upload.noted.items():
            at = upload.belongs_at(number)
            if at != note.at:
                self._copy(upload, note, at)
                self._still_mine(part_completion.moved(upload, number, self._nonce), upload)
        self._sign(upload)
        self._share.runner.run(part_completion.trim(upload), upload.path)

    def _copy(self, upload: Parted, note: Noted, at: int) -> None:
        writer = ChunkWriter(
            self._share.connection,
            self._content,
            upload.unit,
            upload.path,
            partial(self._must_be_own, upload),
        )
        try:
            writer.go_on(at, b"")
            for piece in self._read(upload, note.at * upload.unit, note.length):
                writer.take(piece)
                if writer.wants_batch:
                    writer.send_batch()
            writer.flush()
        finally:
            writer.close()

    def _read(self, upload: Parted, start: int, length: int) -> Iterator[bytes]:
        """Bytes of the content, with signs of life in between."""
        pieces = read_chunks(self._share.connection, upload.document, start, length, upload.path)
        try:
            for piece in pieces:
                if time.monotonic() - self._signed > _SIGN_EVERY:
                    self._sign(upload)
                yield piece
        except Corrupt:
            self._sign(upload)  # who has taken it over may have moved what lay aside
            raise

    def _sign(self, upload: Parted) -> None:
        self._must_be_own(upload)
        self._signed = time.monotonic()

    def _must_be_own(self, upload: Parted) -> None:
        """Raises UploadInUse."""
        terms = self._share.runner.terms
        self._still_mine(part_completion.still_mine(upload, self._nonce, terms), upload)

    def _still_mine(self, change: Algorithm[bool], upload: Parted) -> None:
        if not self._share.runner.run(change, upload.path):
            raise UploadInUse(upload.path, "Another request has begun to finish this upload.")

    def _checked_digests(self, upload: Parted, expected: Mapping[str, str]) -> dict[str, str]:
        """All bytes once more: the digests to keep. Raises DigestMismatch."""
        names = {*expected, *self._share.digests}
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        for piece in self._read(upload, 0, upload.received):
            for digest in hashes.values():
                digest.update(piece)
        for algorithm, value in expected.items():
            if hashes[algorithm].hexdigest() != value.lower():
                raise DigestMismatch(upload.path)
        return {name: hashes[name].hexdigest() for name in self._share.digests}

    def _put_in_place(
        self, upload: Parted, digests: Mapping[str, str], guard: Guard | None
    ) -> Written:
        share, terms = self._share, self._share.runner.terms
        body = body_of(attributes_of(upload.document), upload.received, digests)
        body["c"] = self._content
        keep = partial(part_completion.keep, upload, self._nonce)
        try:
            return publish(share, self._ctx, upload.path, body, guard=guard, keep=keep)
        except Unavailable:
            # The write may be on its way still: others wait until it cannot be any more.
            raise
        except StoreError:
            share.runner.run(part_completion.unseal(upload, self._nonce, terms), upload.path)
            self._give_back(upload)
            raise

    def _give_back(self, upload: Parted) -> None:
        with contextlib.suppress(StoreError):  # what made it fail has to be heard of
            giving = part_completion.give_back(upload, self._nonce)
            self._share.runner.run(giving, upload.path)
