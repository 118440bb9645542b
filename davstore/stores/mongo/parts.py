"""Uploads in parts: what their documents hold, and who may write which chunks.

The document is that of the content in `fs.files`, and part `number` becomes the chunks from
`number * part_size / chunk_size` on. Beside what every content has, its `metadata` holds

    upload, path, type, modified   what the client calls it, and what it shall become
    spell        seconds that it lives after each sign of life
    turn         id of the last change; whoever changes it says which one he saw
    seen         the database's clock, at somebody's look
    parts        how many there will be
    part_size    bytes of all but the last, as soon as that is known
    claimN       who is writing part N, until when, from which chunk on
    partN        part N is there: its length, its digest, its first chunk
    finisher     who is making a file of it, until when
    remembered   so long a finished one keeps its name

Every change is one update that is conditional on `turn`, so it is decided on the state that it
happens to. Chunks of a part are written under its claim only; a claim is renewed right before
chunks are sent, and nobody takes it over before it is over by a time that is longer than the driver
waits for an answer. So no chunk of a part that is there is ever written again, and none at all
once somebody finishes.

Dies a sender before its part is noted, the part is not there; its chunks are written over by the
next one, or removed when the upload is finished or reclaimed.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from davstore.errors import (
    NoSuchUpload,
    PartsMissing,
    UploadInUse,
    WrongPart,
)
from davstore.stores.mongo.contents import DUTY, LIVE, NEW, STATE
from davstore.stores.mongo.documents import Id, Terms, new_op
from davstore.stores.mongo.holders import is_dead
from davstore.stores.mongo.operations import (
    CONTENTS,
    FUTURE,
    NOW,
    PRESENT,
    Algorithm,
    Document,
    Find,
    Insert,
    Now,
    OneOf,
    Update,
)

#: Parts of one upload: their notes are a third of what one document may have.
MOST_PARTS: Final = 10_000
#: Chunks of one part.
MOST_CHUNKS: Final = 1 << 16
#: From this chunk on lie the parts that came before it was known where they belong; each has
#: `MOST_CHUNKS` for itself, which for all parts stays below what GridFS counts to (2 ** 31).
ASIDE: Final = 1 << 30

_UPLOAD: Final = "metadata.upload"
TURN: Final = "metadata.turn"
_SEEN: Final = "metadata.seen"
COUNT: Final = "metadata.parts"
PART_SIZE: Final = "metadata.part_size"
FINISHER: Final = "metadata.finisher"
_REMEMBERED: Final = "metadata.remembered"
#: Ids of uploads of one name, one after the other, that are looked for at once.
_LOOKED_FOR: Final = 8


@dataclass(frozen=True, slots=True)
class Noted:
    """A part that is there: its bytes, their SHA-256, the number of its first chunk."""

    length: int
    sha256: str
    at: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write part `number`, from chunk `at` on, at most so many bytes.

    `others` are the bytes of all parts that were there then.
    """

    content: Id
    number: int
    count: int
    nonce: str
    at: int
    most: int
    others: int


class Parted:
    """An upload as it was at one moment, by its document."""

    def __init__(self, document: Document) -> None:
        metadata: Mapping[str, Any] = document["metadata"]
        self.document = document
        self.content: Id = document["_id"]
        self.id = self.content.hex()
        self.unit: int = document["chunkSize"]
        self.path: str = metadata["path"]
        self.spell: float = metadata["spell"]
        self.turn: str = metadata["turn"]
        self.is_sealed: bool = metadata["state"] != NEW
        self.now: datetime | None = metadata.get("seen")
        self.noted = {
            number: Noted(note["length"], note["sha256"], note["at"])
            for number, note in _numbered(metadata, "part")
        }
        self.claims = dict(_numbered(metadata, "claim"))
        self.finisher: Mapping[str, Any] | None = metadata.get("finisher")
        self._count: int | None = metadata.get("parts")
        self._part_size: int | None = metadata.get("part_size")

    # What is so

    @property
    def is_begun(self) -> bool:
        """Whether a part is there, or on its way. Nothing else that was said binds anybody."""
        return bool(self.noted) or any(map(self.is_held, self.claims.values()))

    @property
    def count(self) -> int | None:
        return self._count if self.is_begun else None

    @property
    def part_size(self) -> int | None:
        return self._part_size if self.is_begun else None

    @property
    def received(self) -> int:
        """Bytes of all parts that are there."""
        return sum(note.length for note in self.noted.values())

    def is_held(self, holder: Mapping[str, Any] | None) -> bool:
        """Whether who has claimed it may still be at work."""
        if holder is None or (self.now is not None and holder["until"] <= self.now):
            return False
        return not is_dead(dict(holder))

    @property
    def is_idle(self) -> bool:
        """Whether nobody finishes it."""
        return not self.is_held(self.finisher)

    # What may be

    def must_be_idle(self) -> None:
        """Raises UploadInUse while somebody finishes it."""
        if not self.is_idle:
            raise UploadInUse(self.path, "Another request is finishing this upload.")

    def must_have_no_sender(self) -> None:
        """Raises UploadInUse while somebody sends a part of it."""
        if any(map(self.is_held, self.claims.values())):
            raise UploadInUse(self.path, "Another request is sending a part of this upload.")

    def has_place(self, number: int) -> bool:
        """Whether what was claimed for a part is nobody else's, though the claim may be over.

        Whoever has said meanwhile that parts are shorter or longer writes where those lie.
        """
        own = self.claims[number]
        if self.is_held(own) or own["at"] >= ASIDE:
            return True
        return not own["open"] and own["most"] == self._part_size

    def must_fit(self, number: int, count: int) -> None:
        """Raises WrongPart unless it can be part `number` of `count`."""
        if not 0 < count <= MOST_PARTS:
            sentence = f"An upload has from 1 to {MOST_PARTS} parts."
            raise WrongPart(self.path, sentence, "count")
        if not 0 <= number < count:
            sentence = f"Of {count} parts the last has the number {count - 1}."
            raise WrongPart(self.path, sentence, "number")
        if self.count not in (None, count):
            sentence = f"This upload was said to have {self.count} parts before."
            raise WrongPart(self.path, sentence, "count")

    def must_measure(self, number: int, count: int, length: int) -> None:
        """Raises WrongPart unless part `number` of `count` can have `length` bytes."""
        is_last = number == count - 1
        size = self.part_size
        if not is_last and (length == 0 or length % self.unit):
            raise WrongPart(
                self.path,
                f"Every part but the last has a multiple of {self.unit} bytes; this has {length}.",
            )
        if size is not None and (length > size if is_last else length != size):
            raise WrongPart(
                self.path,
                f"The parts of this upload have {size} bytes, the last not more; this has"
                f" {length}.",
            )
        if length > MOST_CHUNKS * self.unit:
            raise WrongPart(self.path, f"A part has at most {MOST_CHUNKS * self.unit} bytes.")

    def place(self, number: int, count: int, length: int | None) -> tuple[int, int | None]:
        """The first chunk of a new part, and the size of all parts when that is clear.

        Where it is not (the last part, or one of unknown length, comes first), a part lies
        aside until the upload is finished; but for the first one, when nothing else is there. As
        long as nobody knows how far that will reach, all others lie aside.
        """
        size = self.part_size
        is_last = number == count - 1
        is_open = any(claim["open"] and self.is_held(claim) for claim in self.claims.values())
        if size is None and length is not None and not is_last and not is_open:
            size = length
        if size is not None and not is_open:
            return number * size // self.unit, size
        if number == 0 and not self.is_begun:
            return 0, None
        return ASIDE + number * MOST_CHUNKS, size

    def belongs_at(self, number: int) -> int:
        """The first chunk of a part in the finished content."""
        return number * (self._part_size or 0) // self.unit

    def must_be_whole(self, count: int) -> None:
        """Raises PartsMissing, WrongPart, UploadInUse: whether it can be finished as `count`."""
        missing = [number for number in range(count) if number not in self.noted]
        if missing:
            raise PartsMissing(self.path, missing)
        if self.count not in (None, count):
            sentence = f"This upload was said to have {self.count} parts before."
            raise WrongPart(self.path, sentence, "count")
        if any(number >= count for number in self.noted):
            sentence = f"This upload has more than {count} parts."
            raise WrongPart(self.path, sentence, "count")
        self.must_have_no_sender()
        for number, note in self.noted.items():
            self.must_measure(number, count, note.length)

    # Conditions and changes

    def unchanged(self) -> dict[str, Any]:
        """That nothing has changed since, nor a collector was here: that changes the state."""
        state = LIVE if self.is_sealed else NEW
        return {"_id": self.content, STATE: state, TURN: self.turn}

    def alive(self, terms: Terms) -> dict[str, Any]:
        """A sign of life, and a new turn.

        Is it sealed and a file's already, a collector finds that somebody refers to it.
        """
        return {TURN: new_op(), DUTY: Now(max(self.spell, terms.lease))}


def _numbered(metadata: Mapping[str, Any], name: str) -> list[tuple[int, Mapping[str, Any]]]:
    return [
        (int(key.removeprefix(name)), value)
        for key, value in metadata.items()
        if key.startswith(name) and key.removeprefix(name).isdecimal()
    ]


# Beginning and finding


def name_of(identity: str | None, path: str, upload: str) -> bytes:
    """What an upload is found by: its name is the identity's own, for each path."""
    said = [b"-" if identity is None else b"+" + identity.encode(), path.encode(), upload.encode()]
    return hashlib.sha256(b"\0".join(hashlib.sha256(each).digest() for each in said)).digest()


def _id_of(name: bytes, number: int) -> Id:
    key = hashlib.sha256(name + number.to_bytes(8, "big")).digest()[:16]
    return Id.from_uuid(uuid.UUID(bytes=key, version=4))


def find(name: bytes) -> Algorithm[Document | None]:
    """The upload that has this name now; one that was finished keeps it for a while."""
    found, _ = yield from _search(name)
    return found


def begin(
    name: bytes, chunk_size: int, spell: float, terms: Terms, **more: Any
) -> Algorithm[Document]:
    """The upload of this name, which is begun when there is none.

    The ids of a name follow from it, one after the other: two that begin at once insert one
    document, and one that lives in a finished file's content, or is being reclaimed, is left alone.
    """
    found, free = yield from _search(name)
    if found is not None:
        return found
    metadata = {
        "state": NEW,
        "gc": Now(max(spell, terms.lease)),
        "spell": float(spell),
        "turn": new_op(),
        **more,
    }
    made = yield Insert(
        CONTENTS,
        {"_id": free, "length": 0, "chunkSize": chunk_size, "uploadDate": NOW,
         "metadata": metadata},
    )  # fmt: skip
    return dict(made)


def _search(name: bytes) -> Algorithm[tuple[Document | None, Id]]:
    """The document, or None and the id for the next one."""
    first = 0
    while True:
        ids = [_id_of(name, first + number) for number in range(_LOOKED_FOR)]
        there = yield Find(CONTENTS, {"_id": OneOf(tuple(ids))}, only=("length",))
        if not there:
            return None, ids[0]
        last = max(ids.index(document["_id"]) for document in there)
        if last < _LOOKED_FOR - 1:
            break
        first += _LOOKED_FOR
    usable = ({STATE: NEW}, {STATE: LIVE, _REMEMBERED: FUTURE})
    found = yield Find(CONTENTS, {"_id": ids[last]}, either=usable, limit=1)
    return (found[0] if found else None), ids[last + 1]


def look(content: Id) -> Algorithm[Parted]:
    """As it is now, by the database's clock. Raises NoSuchUpload."""
    where = {"_id": content, STATE: OneOf((NEW, LIVE)), _UPLOAD: PRESENT}
    found = yield Update(CONTENTS, where, {_SEEN: NOW})
    if found is None:
        raise NoSuchUpload(content.hex())
    return Parted(found)
