"""The single-document operations that every algorithm of this package is made of.

An algorithm is a generator: it yields operations and is sent their results, so it neither
knows PyMongo nor waits for anything. `runner` carries it out on a real database; the tests'
schedule explorer runs several at once, one operation at a time, in every order.

Each operation is atomic, because MongoDB's single-document operations are. Values that only the
database can know (its clock, a field's former value) are small objects here, never strings
that begin with "$": whatever is not such an object is a literal, also the name "$HOME".
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Document = dict[str, Any]

T = TypeVar("T")
#: Yields operations, is sent their results, returns T. Raises StoreError.
Algorithm = Generator["Operation", Any, T]

NODES = "nodes"
#: GridFS's own two collections, so that any GridFS tool can read the contents.
CONTENTS = "fs.files"
CHUNKS = "fs.chunks"
COUNTERS = "counters"


class _Test:
    """A condition on one field, other than equality."""


@dataclass(frozen=True, slots=True)
class Exists(_Test):
    wanted: bool


#: The field is there / is not there. A field is never kept with the value null.
PRESENT = Exists(True)
MISSING = Exists(False)


@dataclass(frozen=True, slots=True)
class Passed(_Test):
    """A date that is there and not after the database's clock (or, `wanted` False, after it)."""

    wanted: bool = True


PAST = Passed(True)
FUTURE = Passed(False)


@dataclass(frozen=True, slots=True)
class OneOf(_Test):
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Compare(_Test):
    """`how` is one of MongoDB's "$lt", "$lte", "$gt", "$gte". False for a missing field."""

    how: str
    value: Any


class _Value:
    """A value that the database computes in the same step."""


@dataclass(frozen=True, slots=True)
class Now(_Value):
    """The database's clock, `after` seconds later."""

    after: float = 0.0


NOW = Now()


@dataclass(frozen=True, slots=True)
class Later(_Value):
    """The database's clock, but later than what the field has: no time comes twice."""


@dataclass(frozen=True, slots=True)
class Append(_Value):
    """The field's list with `item` at its end, of which only the last `keep` stay.

    The values of an item that is a mapping may be `_Value`s.
    """

    item: Any
    keep: int


@dataclass(frozen=True, slots=True)
class Plus(_Value):
    """The field's number and `amount`; a missing field counts as 0."""

    amount: int


@dataclass(frozen=True, slots=True)
class Sooner(_Value):
    """The earlier of what the field has and the database's clock `after` seconds later."""

    after: float = 0.0


#: Field (dotted for one level of nesting) -> literal or test. All have to hold.
Where = Mapping[str, Any]


class Operation:
    """One of those below; "->" says what the algorithm is sent for it."""


@dataclass(frozen=True, slots=True)
class Find(Operation):
    """-> list of documents. `either`: one of these has to hold as well, when there are any.

    `sort` is a list of (field, 1 or -1). `without` names fields that are left out.
    """

    collection: str
    where: Where = field(default_factory=dict)
    either: Sequence[Where] = ()
    sort: Sequence[tuple[str, int]] = ()
    limit: int = 0
    without: Sequence[str] = ()
    #: Only these fields and _id, when there are any.
    only: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Insert(Operation):
    """-> the new document, or None when one with such a unique key is there already.

    The values of `document` may be `Now`s. `op` names this write: a document that is there
    already and carries it is the own one of an earlier try.
    """

    collection: str
    document: Document
    op: str = ""


@dataclass(frozen=True, slots=True)
class Update(Operation):
    """-> the changed document, None when none matched, or DUPLICATE.

    `where` names one document by `_id`. `either` as in Find. With `op`, a write that the
    connection was lost under is recognised by it in the document's `ops`.
    """

    collection: str
    where: Where
    put: Mapping[str, Any] = field(default_factory=dict)
    unset: Sequence[str] = ()
    either: Sequence[Where] = ()
    op: str = ""


@dataclass(frozen=True, slots=True)
class Touch(Operation):
    """An update of one document that need not be durable; -> whether there is such a document.

    `insert`: there is one afterwards.
    """

    collection: str
    where: Where
    put: Mapping[str, Any] = field(default_factory=dict)
    insert: bool = False


@dataclass(frozen=True, slots=True)
class Delete(Operation):
    """-> whether one was there. Removes one document, or with `many` all that match."""

    collection: str
    where: Where
    many: bool = False


@dataclass(frozen=True, slots=True)
class Measure(Operation):
    """-> list of (files_id, n, bytes of data) of the chunks of `content`, without their data.

    For None: one such entry for each content that has chunks at all.
    """

    collection: str
    content: Any


@dataclass(frozen=True, slots=True)
class Begin(Operation):
    """-> None. A try begins, whose writes all have to come soon (`Terms.commit_within`).

    From the second on (`attempt` 1) somebody else was in the way: wait a moment, longer each time.
    """

    attempt: int = 0


class _Duplicate:
    """The update would have given two documents one unique key."""

    def __bool__(self) -> bool:
        return False


DUPLICATE = _Duplicate()
