"""What the documents hold, and how a node's becomes a `Node`.

A document of `nodes`:

    _id   UUID (version 4) as a binary; the root's is fixed
    p, n  the parent's id and the name: with `g`, the generation, a *slot* (unique)
    g     of several documents with one p and n only that of the highest generation counts
    t     "d" folder, "f" file
    v     id of the last write (every conditional write filters on the one that it saw)
    ops   ids of the last eight writes, so that a lost answer can be made up for
    ct    created; mt: modified (dates)
    size, etag, type, dg (algorithm -> hex), props (list of [Clark name, XML])
    data  the content itself, when it is small; else
    c     the id of the content in GridFS (`fs.files`)
    old   [{c, t}]: contents that were replaced, and when
    mk    {op, exp}: a move mark
    lk    counts the locks that were granted on this node; lks, the root's: on all nodes
    over  id of the node that a move replaced by this one and that is not yet a tombstone
    del   a tombstone, since when
    slot  a tombstone keeps its slot until then at least
    stg   true: the root of a copy that is being built, under STAGE
    gc    date of the next background duty

A document of `fs.files` has in its `metadata`: state (see `contents`), and for uploads that can
be resumed what they need.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bson import Binary, CodecOptions, DatetimeConversion
from bson.tz_util import utc

from davstore.stores.base import Node
from davstore.stores.mongo.operations import (
    MISSING,
    NOW,
    PAST,
    Append,
    Document,
    Now,
    Where,
)

Id = Binary

#: A date that Python has not comes as another type, and fails with its document alone.
DECODING: Final[CodecOptions[Document]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

FOLDER: Final = "d"
FILE: Final = "f"


def fixed_id(number: int) -> Id:
    """An id that no random one can be."""
    return Binary.from_uuid(uuid.UUID(int=number))


#: The root of the tree. Its slot is its own and never changes.
ROOT: Final = fixed_id(1)
#: The parent of staged copies; it has no document, so nothing leads there.
STAGE: Final = fixed_id(2)
#: The folder that fsck moves strays into.
LOST_AND_FOUND: Final = "lost+found"

#: How many ids of writes a document remembers.
REMEMBERED: Final = 8


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things last, in seconds. Only tests have reasons for others than these."""

    #: How long replaced contents and deleted nodes are kept, so that running downloads finish.
    grace: float = 3600.0
    #: Within this an operation has to commit after it looked at a slot.
    commit_within: float = 60.0
    #: So long a tombstone keeps its slot: longer than `commit_within`, with slack for a database
    #: that answers late, or an operation could use a generation that somebody else had.
    slot_kept: float = 300.0
    #: After this, somebody's move mark may be taken away.
    mark_lasts: float = 30.0
    #: So long a sealed content waits for its reference, and an upload for its next piece.
    #: Longer than `commit_within`, or a reference could come too late.
    lease: float = 600.0
    #: So long whoever writes or reads a content has it after each sign of life.
    hold: float = 120.0


def new_id() -> Id:
    return Binary.from_uuid(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def new_op() -> str:
    return secrets.token_hex(8)


def slot(document: Document) -> dict[str, Any]:
    """Where this document stands, as a condition that names it."""
    return {key: document[key] for key in ("_id", "p", "n", "g")}


def unchanged(document: Document) -> dict[str, Any]:
    """That it is still as it was seen: in its slot, alive, not written since."""
    return {**slot(document), "del": MISSING, "v": document["v"]}


def written(op: str, **put: Any) -> dict[str, Any]:
    """What every conditional write sets beside `put`."""
    return {**put, "v": op, "ops": Append(op, REMEMBERED)}


#: Nobody's move mark is on it, or one that may be taken away.
UNMARKED: Final[Sequence[Where]] = ({"mk": MISSING}, {"mk.exp": PAST})


def mark(op: str, terms: Terms) -> Document:
    return {"op": op, "exp": Now(terms.mark_lasts)}


def is_marked_by_other(document: Document, op: str) -> bool:
    """Whether somebody's mark was on it; it may be over by now."""
    return bool(document.get("mk")) and document["mk"]["op"] != op


def tombstone(terms: Terms) -> dict[str, Any]:
    """What makes a tombstone of a node; its duties begin at once (see `reclaim`)."""
    return written(new_op(), **{"del": NOW, "gc": NOW, "slot": Now(terms.slot_kept)})


def is_folder(document: Document) -> bool:
    return bool(document["t"] == FOLDER)


def is_live(document: Document | None) -> bool:
    return document is not None and "del" not in document


def node_of(document: Document) -> Node:
    """The node that everybody else sees."""
    folder = is_folder(document)
    key = document["_id"].hex()
    modified = _seconds(document["mt"])
    return Node(
        key,
        document["n"],
        folder,
        document.get("size", 0),
        _seconds(document["ct"]),
        modified,
        f"{key[:12]}-{int(modified * 1000):x}" if folder else document["etag"],
        document.get("type"),
        document.get("dg", _NOTHING),
        dict(document["props"]) if "props" in document else _NOTHING,
    )


_NOTHING: Final[Mapping[str, str]] = {}


#: In the driver's own time zone object: subtracting within one zone takes a fifth of timestamp().
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=utc)


def _seconds(date: datetime) -> float:
    return (date - _EPOCH).total_seconds()


def date(seconds: float) -> datetime:
    """Seconds since 1970 as MongoDB keeps times: to the millisecond.

    Clipped to the years that both ends can show.
    """
    found = datetime.fromtimestamp(min(max(seconds, -62135596800.0), 253402300799.0), UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)
