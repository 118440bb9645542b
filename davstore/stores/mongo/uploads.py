"""Uploads that outlive their process: what their documents hold, and who may go on with one.

An upload's document is that of its content in `fs.files`, with state "new". `length` is how many
bytes surely are there; whoever goes on starts from it.

Dies the process, or the database's answer is lost, between the seal and the file: then it is
sealed, nobody refers to it, and after `writing` nobody can any more who was about to. So it is
opened again, by who wants to go on, and is as it was before the last commit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from davstore.errors import NoSuchUpload, UploadInUse
from davstore.stores.base import Attributes, Kept
from davstore.stores.mongo import contents
from davstore.stores.mongo.contents import DUTY, HELD, LIVE, NEW, STATE
from davstore.stores.mongo.documents import Id, Terms, new_op
from davstore.stores.mongo.holders import is_dead, this_process
from davstore.stores.mongo.operations import (
    CONTENTS,
    MISSING,
    PAST,
    PRESENT,
    Algorithm,
    Document,
    Find,
    Now,
    OneOf,
    Update,
)

_LEASE = "metadata.lease"
_MEMO = "metadata.memo"
_HOLDER = "metadata.holder"
#: Until then the file may still be written by who has sealed it.
_WRITING = "metadata.writing"


def described(path: str, attributes: Attributes) -> dict[str, Any]:
    """What is kept from the beginning: who writes, and what it shall become."""
    found: dict[str, Any] = {"path": path, "holder": {**this_process(), "nonce": new_op()}}
    if attributes.content_type is not None:
        found["type"] = attributes.content_type
    if attributes.modified is not None:
        found["modified"] = float(attributes.modified)
    return found


def own(nonce: str | None) -> dict[str, Any]:
    """As a condition: that nobody has taken it over from who has this nonce; None: whoever has it.

    A writer that waits for its client for longer than its hold may have lost it, and what it has
    in memory must not replace what came since.
    """
    return {} if nonce is None else {f"{_HOLDER}.nonce": nonce}


def attributes_of(upload: Document) -> Attributes:
    return Attributes(upload["metadata"].get("type"), upload["metadata"].get("modified"))


def keep(
    content: Id,
    offset: int,
    lease: float,
    terms: Terms,
    *,
    memo: str | None = None,
    nonce: str | None = None,
) -> Algorithm[bool]:
    """Make it persistent, or renew its lease. False: it was collected, or taken over."""
    put: dict[str, Any] = {
        "length": offset,
        _LEASE: float(lease),
        DUTY: Now(lease),
        HELD: Now(terms.hold),
    }
    if memo is not None:
        put[_MEMO] = memo
    kept = yield Update(CONTENTS, {"_id": content, STATE: NEW, **own(nonce)}, put)
    return kept is not None


def hold_on(content: Id, terms: Terms, nonce: str | None) -> Algorithm[bool]:
    """A sign of life that leaves its lease as it is. False: it was collected, or taken over."""
    where = {"_id": content, STATE: NEW, **own(nonce)}
    return (yield Update(CONTENTS, where, {HELD: Now(terms.hold)})) is not None


def let_go(content: Id, offset: int, nonce: str | None = None) -> Algorithm[None]:
    """Anybody may go on with it from now on."""
    where = {"_id": content, STATE: NEW, **own(nonce)}
    yield Update(CONTENTS, where, {"length": offset}, unset=(HELD, _HOLDER))


def cut(content: Id, offset: int, nonce: str) -> Algorithm[bool]:
    """Fewer bytes count from now on; before the chunks beyond them go. False: as `keep`."""
    is_cut = yield Update(CONTENTS, {"_id": content, STATE: NEW, **own(nonce)}, {"length": offset})
    return is_cut is not None


def seal(
    content: Id, length: int, lease: float, terms: Terms, nonce: str | None
) -> Algorithm[bool]:
    """All of it is there; see `contents.seal`. False as well when it was taken over."""
    writing = Now(_writing(terms))
    return (
        yield from contents.seal(content, length, terms, own(nonce), lease=lease, writing=writing)
    )


def keep_sealed(
    lease: float, nonce: str | None, content: Id, terms: Terms
) -> Algorithm[datetime | None]:
    """Right before the file is written: see `contents.keep`. None also when it was taken over."""
    writing = Now(_writing(terms))
    return (yield from contents.keep(content, terms, own(nonce), lease=lease, writing=writing))


def _writing(terms: Terms) -> float:
    """Seconds after which what was about to be written has been written, or never is."""
    return terms.commit_within + terms.mark_lasts


def look_up(content: Id) -> Algorithm[Kept]:
    """How far it has come. Raises NoSuchUpload, UploadInUse when it may be about to be a file's.

    Sealed contents keep what was noted of the upload, so one that was published is known.
    """
    upload = yield from _known(content)
    metadata = upload["metadata"]
    path, memo = metadata["path"], memo_of(upload)
    if metadata["state"] == LIVE and (yield from _abandoned(content)) is None:
        return Kept(path, None, memo, None)
    return Kept(path, upload["length"], memo, metadata["gc"].timestamp())


def _known(content: Id) -> Algorithm[Document]:
    """Raises NoSuchUpload."""
    where = {"_id": content, STATE: OneOf((NEW, LIVE)), _LEASE: PRESENT}
    found = yield Find(CONTENTS, where, limit=1)
    if not found:
        raise NoSuchUpload(content.hex())
    return dict(found[0])


def _abandoned(content: Id) -> Algorithm[Document | None]:
    """A sealed one that is no file's, and of which nobody can make one; None: it was published.

    Raises UploadInUse. First the look whether anybody can, then the one whether somebody has:
    as long as `writing` stays what it was, both hold.
    """
    where = {"_id": content, STATE: LIVE, _WRITING: PAST, DUTY: PRESENT}
    found = yield Find(CONTENTS, where, limit=1)
    if (yield from contents.was_published(content)):
        return None
    if not found:
        raise UploadInUse(content.hex())
    return dict(found[0])


def memo_of(upload: Document) -> str:
    return str(upload["metadata"].get("memo", ""))


def take_up(content: Id, terms: Terms) -> Algorithm[Document]:
    """Have it to oneself. Raises NoSuchUpload, UploadInUse.

    Two that try at once: each claims it conditionally on the state that it saw.
    """
    upload = yield from _known(content)
    me = {**this_process(), "nonce": new_op()}
    put: dict[str, Any] = {HELD: Now(terms.hold), _HOLDER: me}
    if upload["metadata"]["state"] == LIVE:
        where = yield from _still_abandoned(content)
        lease = upload["metadata"]["lease"]
        put |= {STATE: NEW, DUTY: Now(max(lease, terms.lease))}
    else:
        where = _free(upload)
    taken = yield Update(CONTENTS, where, put)
    if taken is not None:
        return dict(taken)
    # Had it been taken already, and only the answer was lost?
    mine = yield Find(CONTENTS, {"_id": content, STATE: NEW, f"{_HOLDER}.nonce": me["nonce"]})
    if not mine:
        raise UploadInUse(content.hex())
    return dict(mine[0])


def _free(upload: Document) -> dict[str, Any]:
    """As a condition: that nobody has it, or who had it is dead, or was not heard of for long."""
    metadata = upload["metadata"]
    where = {"_id": upload["_id"], STATE: NEW, _LEASE: PRESENT}
    if "held" not in metadata:
        return {**where, HELD: MISSING}
    if "holder" in metadata and is_dead(metadata["holder"]):
        return {**where, HELD: metadata["held"]}
    return {**where, HELD: PAST}


def _still_abandoned(content: Id) -> Algorithm[dict[str, Any]]:
    """As a condition: that it is as `_abandoned` sees it. Raises NoSuchUpload, UploadInUse."""
    left = yield from _abandoned(content)
    if left is None:
        raise NoSuchUpload(content.hex())
    writing = left["metadata"]["writing"]
    return {"_id": content, STATE: LIVE, _WRITING: writing, DUTY: PRESENT}
