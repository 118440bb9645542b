"""The end of an upload in parts: one has it to himself, brings its parts in order and seals it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from davstore.errors import UploadFinished
from davstore.stores.mongo import contents
from davstore.stores.mongo.contents import DEAD, DUTY, LIVE, NEW, STATE
from davstore.stores.mongo.documents import Id, Terms, new_op
from davstore.stores.mongo.holders import this_process
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    NOW,
    PRESENT,
    Algorithm,
    Compare,
    Delete,
    Now,
    Update,
)
from davstore.stores.mongo.parts import COUNT, FINISHER, PART_SIZE, TURN, Parted, look
from davstore.stores.mongo.slots import attempts


def take_over(content: Id, count: int, nonce: str, terms: Terms) -> Algorithm[Parted]:
    """Have the whole upload to oneself, to make a file of its parts.

    Also one that was sealed by somebody who died before the file was there. Raises
    UploadFinished (it is one already), PartsMissing, WrongPart, UploadInUse, NoSuchUpload.
    """
    tries = attempts("/")
    while True:
        yield next(tries)
        upload = yield from look(content)
        if upload.finisher is not None and upload.finisher["nonce"] == nonce:
            return upload
        # What a dead finisher has left is put away by who comes first.
        is_anybodys = upload.finisher is not None and upload.is_idle
        if not is_anybodys and (yield from is_finished(upload)):
            raise UploadFinished(upload.path)
        upload.must_be_idle()
        upload.must_be_whole(count)
        put = {**upload.alive(terms), FINISHER: _finisher(nonce, terms.mark_lasts), COUNT: count}
        taken = yield Update(CONTENTS, upload.unchanged(), put)
        if taken is not None:
            return Parted(taken)


def is_finished(upload: Parted) -> Algorithm[bool]:
    """Whether it is a file, or was one; also when who has made it died before noting that."""
    if not upload.is_sealed or upload.finisher is None:
        return upload.is_sealed
    return (yield from contents.was_published(upload.content))


def _finisher(nonce: str, seconds: float) -> dict[str, Any]:
    return {**this_process(), "nonce": nonce, "until": Now(seconds)}


def still_mine(upload: Parted, nonce: str, terms: Terms) -> Algorithm[bool]:
    """A sign of life of who finishes. False: somebody else has taken it over."""
    put = {**upload.alive(terms), FINISHER: _finisher(nonce, terms.mark_lasts)}
    where = {**mine(nonce), "_id": upload.content, DUTY: PRESENT}
    return (yield Update(CONTENTS, where, put)) is not None


def mine(nonce: str) -> dict[str, Any]:
    """That nobody else finishes it."""
    return {f"{FINISHER}.nonce": nonce}


def seal(upload: Parted, nonce: str, terms: Terms) -> Algorithm[bool]:
    """All parts are in their places: see `contents.seal`. It keeps its name for a while."""
    length, remembered = upload.received, Now(upload.spell)
    return (
        yield from contents.seal(
            upload.content,
            length,
            terms,
            mine(nonce),
            lease=upload.spell,
            remembered=remembered,
        )
    )


def keep(upload: Parted, nonce: str, content: Id, terms: Terms) -> Algorithm[datetime | None]:
    """Right before the file is written: see `contents.keep`. None as well when another finishes it.

    Nobody takes it over as long as the write may be on its way: made twice, the file that was
    moved, replaced or deleted in between would come back.
    """
    finisher = _finisher(nonce, terms.commit_within + terms.mark_lasts)
    return (
        yield from contents.keep(
            content, terms, mine(nonce), lease=upload.spell, finisher=finisher, turn=new_op()
        )
    )


def unseal(upload: Parted, nonce: str, terms: Terms) -> Algorithm[None]:
    """The file may not be written now, for certain; see `contents.unseal`."""
    lease = max(upload.spell, terms.lease)
    yield from contents.unseal(upload.content, lease, terms, mine(nonce))


def moved(upload: Parted, number: int, nonce: str) -> Algorithm[bool]:
    """A part that lay aside was copied to where it belongs. What lies aside goes afterwards."""
    noted = upload.noted[number]
    key = f"metadata.part{number}"
    put = {
        key: {
            "length": noted.length,
            "sha256": noted.sha256,
            "at": upload.belongs_at(number),
        },
        TURN: new_op(),
    }
    where = {**mine(nonce), "_id": upload.content, STATE: NEW}
    return (yield Update(CONTENTS, where, put)) is not None


def trim(upload: Parted) -> Algorithm[None]:
    """Remove the chunks behind the end: of parts that broke off, or lay aside."""
    count = -(-upload.received // upload.unit)
    where = {"files_id": upload.content, "n": Compare("$gte", count)}
    yield Delete(CHUNKS, where, many=True)


def give_back(upload: Parted, nonce: str) -> Algorithm[None]:
    """It was not finished after all; others may go on at once.

    Who was in the middle of it stays to be seen, so that a sealed one is not taken for finished.
    """
    over = {**this_process(), "nonce": nonce, "until": NOW}
    where = {**mine(nonce), "_id": upload.content}
    yield Update(CONTENTS, where, {FINISHER: over, TURN: new_op()})


def forget_parts(upload: Parted, nonce: str) -> Algorithm[None]:
    """It is a file now. Without this step it is one as well, and who finishes again looks."""
    gone = [f"metadata.{kind}{number}" for kind, numbers in (
        ("part", upload.noted), ("claim", upload.claims)) for number in numbers]  # fmt: skip
    where = {**mine(nonce), "_id": upload.content, STATE: LIVE}
    yield Update(CONTENTS, where, {TURN: new_op()}, (FINISHER, PART_SIZE, *gone))


def give_up(content: Id, terms: Terms) -> Algorithm[None]:
    """Nothing becomes of it; its bytes go when nobody can be writing any more.

    Raises UploadInUse, UploadFinished, NoSuchUpload.
    """
    tries = attempts("/")
    while True:
        yield next(tries)
        upload = yield from look(content)
        if (yield from is_finished(upload)):
            raise UploadFinished(upload.path)
        upload.must_be_idle()
        upload.must_have_no_sender()
        put = {TURN: new_op(), STATE: DEAD, DUTY: Now(terms.slot_kept)}
        if (yield Update(CONTENTS, upload.unchanged(), put)) is not None:
            return
