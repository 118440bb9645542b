"""Who may write which part: a claim, signs of life, and the note that the part is there."""

from __future__ import annotations

from davstore.errors import UploadFinished, UploadInUse
from davstore.stores.mongo.documents import Id, Terms, new_op
from davstore.stores.mongo.holders import this_process
from davstore.stores.mongo.operations import CONTENTS, Algorithm, Now, Update
from davstore.stores.mongo.parts import (
    ASIDE,
    COUNT,
    MOST_CHUNKS,
    PART_SIZE,
    TURN,
    Claim,
    Noted,
    Parted,
    look,
)
from davstore.stores.mongo.slots import attempts


def claim(
    content: Id, number: int, count: int, length: int | None, terms: Terms
) -> Algorithm[Claim | Noted]:
    """The right to write the part; or its note, when it is there already.

    Raises WrongPart, UploadInUse, UploadFinished, NoSuchUpload.
    """
    nonce = new_op()
    tries = attempts("/")
    while True:
        yield next(tries)
        upload = yield from look(content)
        if number in upload.noted:
            return upload.noted[number]
        upload.must_be_idle()
        if upload.is_sealed:
            raise UploadFinished(upload.path)
        upload.must_fit(number, count)
        own = upload.claims.get(number)
        if own is not None and own["nonce"] == nonce:  # the answer was lost
            return Claim(content, number, count, nonce, own["at"], own["most"], upload.received)
        if upload.is_held(own):
            raise UploadInUse(upload.path, "Another request is sending this part.")
        if length is not None:
            upload.must_measure(number, count, length)
        at, size = upload.place(number, count, length)
        most = MOST_CHUNKS * upload.unit if at >= ASIDE or size is None else size
        wanted = Claim(content, number, count, nonce, at, most, upload.received)
        taken = yield from _take(upload, wanted, size, terms)
        if taken is not None:
            return taken


def _take(upload: Parted, wanted: Claim, size: int | None, terms: Terms) -> Algorithm[Claim | None]:
    """None: something has changed since the look. `size` is that of all parts, when it is known."""
    holder = {
        **this_process(),
        "nonce": wanted.nonce,
        "until": Now(terms.mark_lasts),
        "at": wanted.at,
        "most": wanted.most,
        "open": size is None and wanted.at < ASIDE,
    }
    put = {
        **upload.alive(terms),
        f"metadata.claim{wanted.number}": holder,
        COUNT: wanted.count,
    }
    if size is not None:
        put[PART_SIZE] = size
    # What somebody said who never sent a part binds nobody.
    unset = (PART_SIZE,) if size is None else ()
    taken = yield Update(CONTENTS, upload.unchanged(), put, unset)
    return None if taken is None else wanted


def renew(claimed: Claim, terms: Terms) -> Algorithm[bool]:
    """Right before chunks are sent. False: it was over, and somebody has taken it."""
    tries = attempts("/")
    while True:
        yield next(tries)
        upload = yield from look(claimed.content)
        if not _is_own(upload, claimed):
            return False
        holder = {**upload.claims[claimed.number], "until": Now(terms.mark_lasts)}
        put = {**upload.alive(terms), f"metadata.claim{claimed.number}": holder}
        if (yield Update(CONTENTS, upload.unchanged(), put)) is not None:
            return True


def _is_own(upload: Parted, claimed: Claim) -> bool:
    """Whether the claim holds, and its chunks are where nobody else writes."""
    own = upload.claims.get(claimed.number)
    if upload.is_sealed or upload.is_held(upload.finisher) or own is None:
        return False
    return own["nonce"] == claimed.nonce and upload.has_place(claimed.number)


def note(claimed: Claim, length: int, sha256: str, terms: Terms) -> Algorithm[Noted]:
    """All chunks of the part are durable: from now on it is there.

    Raises WrongPart (others have said meanwhile how long parts are), UploadInUse (the claim was
    taken over), NoSuchUpload.
    """
    number = claimed.number
    tries = attempts("/")
    while True:
        yield next(tries)
        upload = yield from look(claimed.content)
        done = upload.noted.get(number)
        if done == Noted(length, sha256, claimed.at):  # the answer was lost
            return done
        if not _is_own(upload, claimed):
            raise UploadInUse(upload.path, "Another request has sent this part meanwhile.")
        upload.must_measure(number, claimed.count, length)
        put = {
            **upload.alive(terms),
            f"metadata.part{number}": {"length": length, "sha256": sha256, "at": claimed.at},
        }
        if number < claimed.count - 1:
            put[PART_SIZE] = length
        gone = (f"metadata.claim{number}",)
        if (yield Update(CONTENTS, upload.unchanged(), put, gone)) is not None:
            return Noted(length, sha256, claimed.at)


def release(claimed: Claim) -> Algorithm[None]:
    """The part did not come: anybody may send it."""
    key = f"metadata.claim{claimed.number}"
    where = {"_id": claimed.content, f"{key}.nonce": claimed.nonce}
    yield Update(CONTENTS, where, {TURN: new_op()}, (key,))
