"""What senders and finishers of uploads in parts do, as algorithms.

What the store does around the algorithms is done here the same way, with chunks of four bytes and
parts of two chunks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from davstore.errors import (
    NoSuchUpload,
    PartDiffers,
    StoreError,
    Unavailable,
    UploadFinished,
    UploadInUse,
    WrongPart,
)
from davstore.stores.mongo import contents, part_claims, part_completion, parts
from davstore.stores.mongo.documents import Id, new_op
from davstore.stores.mongo.nodes import Judge, confirm_content, no_judge, write_file
from davstore.stores.mongo.operations import (
    CHUNKS,
    Algorithm,
    Begin,
    Compare,
    Find,
    Insert,
    Update,
)
from davstore.stores.mongo.parts import Noted, Parted
from davstore.stores.mongo.slots import Tree
from tests.stores.mongo.calls import CHUNK, Call
from tests.stores.mongo.explorer import HARSH

PART: Final = 2 * CHUNK
NAME: Final = parts.name_of(None, "/f", "mine")
#: A claim outlasts what may be on its way, as in the store: 30 s and 15 s there.
TERMS: Final = replace(HARSH, mark_lasts=8.0, slot_kept=20.0, lease=12.0)
#: Nothing of an upload is reclaimed while anybody is at work; or it may be at any moment.
PATIENT: Final = replace(TERMS, lease=300.0)
CONTENT: Final = "AAAAaaaaBBBBbbbbCCCCc"
PIECES: Final = [CONTENT[at : at + PART] for at in range(0, len(CONTENT), PART)]


def begin(tree: Tree) -> Algorithm[Id]:
    more = {"path": "/f", "upload": "mine"}
    found = yield from parts.begin(NAME, CHUNK, 3 * tree.terms.lease, tree.terms, **more)
    content: Id = found["_id"]
    return content


def _write(content: Id, number: int, data: bytes) -> Algorithm[None]:
    """A chunk's number is its identity."""
    key = Id(hashlib.sha256(content + number.to_bytes(4, "big")).digest()[:16], 4)
    yield Insert(CHUNKS, {"_id": key, "files_id": content, "n": number, "data": data})
    yield Update(CHUNKS, {"_id": key}, {"data": data})


def send(number: int, data: str, *, announced: bool = True, count: int = len(PIECES)) -> Call:
    """One part, chunk by chunk, each right after a sign of life."""

    def run(tree: Tree) -> Algorithm[Any]:
        yield Begin()
        content = yield from begin(tree)
        length = len(data) if announced else None
        claimed = yield from part_claims.claim(content, number, count, length, tree.terms)
        digest = sha256_of(data)
        if isinstance(claimed, Noted):
            if claimed.sha256 != digest:
                raise PartDiffers("/f")
            return claimed
        for at in range(0, len(data), CHUNK):
            if at + CHUNK > claimed.most:
                raise WrongPart("/f")
            if not (yield from part_claims.renew(claimed, tree.terms)):
                raise UploadInUse("/f")
            piece = data[at : at + CHUNK].encode()
            yield from _write(content, claimed.at + at // CHUNK, piece)
        return (yield from part_claims.note(claimed, len(data), digest, tree.terms))

    return run


def finish(count: int = len(PIECES), judge: Judge = no_judge) -> Call:
    """Answers the content. Each `Begin` is where the store runs another algorithm."""

    def run(tree: Tree) -> Algorithm[str]:
        yield Begin()
        found = yield from parts.find(NAME)
        if found is None:
            raise NoSuchUpload("mine")
        nonce = new_op()
        upload = yield from part_completion.take_over(found["_id"], count, nonce, tree.terms)
        yield Begin()
        if (yield from part_completion.is_finished(upload)):
            yield from contents.confirm(upload.content, None)
            yield from part_completion.forget_parts(upload, nonce)
            raise UploadFinished("/f")
        if not upload.is_sealed:
            yield from _put_in_order(tree, upload, nonce)
        text = yield from _read(tree, upload, nonce, 0, upload.received)
        yield Begin()
        if not (yield from part_completion.seal(upload, nonce, tree.terms)):
            raise UploadInUse("/f")
        body = {"c": upload.content, "size": len(text), "etag": text}
        keep = partial(part_completion.keep, upload, nonce)
        try:
            done = yield from write_file(tree, "/f", body, judge, keep=keep)
        except Unavailable:
            raise
        except StoreError:
            yield Begin()
            yield from part_completion.unseal(upload, nonce, tree.terms)
            yield Begin()
            yield from part_completion.give_back(upload, nonce)
            raise
        yield Begin()
        if not (yield from confirm_content(tree, done, upload.content)):
            raise Unavailable("/f")
        yield Begin()
        yield from part_completion.forget_parts(upload, nonce)
        return text

    return run


def _put_in_order(tree: Tree, upload: Parted, nonce: str) -> Algorithm[None]:
    for number, note in upload.noted.items():
        at = upload.belongs_at(number)
        if at == note.at:
            continue
        text = yield from _read(tree, upload, nonce, note.at, note.length)
        for start in range(0, note.length, CHUNK):
            yield from _still_mine(tree, upload, nonce)
            piece = text[start : start + CHUNK].encode()
            yield from _write(upload.content, at + start // CHUNK, piece)
        if not (yield from part_completion.moved(upload, number, nonce)):
            raise UploadInUse("/f")
    yield from _still_mine(tree, upload, nonce)
    yield from part_completion.trim(upload)


def _still_mine(tree: Tree, upload: Parted, nonce: str) -> Algorithm[None]:
    yield Begin()
    if not (yield from part_completion.still_mine(upload, nonce, tree.terms)):
        raise UploadInUse("/f")


def _read(tree: Tree, upload: Parted, nonce: str, first: int, length: int) -> Algorithm[str]:
    count = -(-length // CHUNK)
    where = {"files_id": upload.content, "n": Compare("$gte", first)}
    found = yield Find(CHUNKS, where, sort=(("files_id", 1), ("n", 1)), limit=count)
    text = b"".join(chunk["data"] for chunk in found).decode()
    if [chunk["n"] for chunk in found] != list(range(first, first + count)) or len(text) != length:
        yield from _still_mine(tree, upload, nonce)
        raise AssertionError("a part is not where it is noted")
    return text


def sent(order: Sequence[int], *, announced: bool = True) -> list[Call]:
    return [send(number, PIECES[number], announced=announced) for number in order]


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
