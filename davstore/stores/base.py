"""The store interface: files and folders, and nothing of HTTP.

Terms. A *share* is a tree that is served; a *store* keeps one share. A *node* is a file
or a folder. A path is canonical as `davstore.paths` has it. An *upload* is content that
arrives and is not visible before it is committed. A *guard* carries the conditions under
which a change may happen; the store has it judged in the same step as the change, so
that nobody can slip in between.

What every store promises:
- After `commit` (and every other change) returns, the change survives `kill -9`, and, unless
  the share's durability is set lower, power loss. Before, nothing of it is visible.
- A change that raises has changed nothing, but for COPY's listed failures.
- Replacing is one step: no reader meets a missing target in between (where a folder is
  involved: see `Store.swaps_at_once`).
- Names are case-sensitive and NFC. A name that begins with `paths.RESERVED_PREFIX` is not
  found when looked for, and Forbidden when it would be created.
- Methods may be called by many threads and processes at once.
"""

from __future__ import annotations

import contextlib
import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from davstore.errors import StoreError
from davstore.handoff import FileSpan

#: Digest algorithms that can be kept, by hashlib's names.
DIGESTS = ("md5", "sha1", "sha256")


class Node(NamedTuple):
    """A file or folder as it was at one moment.

    `id` stays the same when the node is moved (as far as the store can tell).
    `size` is in bytes, 0 for a folder. `created` and `modified` are seconds since 1970, kept
    at least to the whole second. A folder's `modified` changes when its entries do.
    `etag` is opaque, without quotes; it changes with every change of the content and never
    repeats, not within one second either. `content_type` is None when nobody said one.
    `digests` maps algorithm to lower-case hex, only those that are known to hold for
    this content. `props` are the dead properties: Clark name ("{namespace}local") to the
    whole property element, serialised as XML.
    """

    id: str
    name: str
    is_folder: bool
    size: int
    created: float
    modified: float
    etag: str
    content_type: str | None = None
    digests: Mapping[str, str] = {}
    props: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, until when, and under which id it stands in the logs.

    `deadline` is on time.monotonic()'s clock. Past it, an operation that has not yet
    changed anything raises DeadlineExceeded.
    """

    identity: str | None = None
    deadline: float | None = None
    request_id: str = ""


class Effect(enum.Enum):
    """What a change does to the node that a guard is asked about."""

    CREATE = "create"  # a new member appears at the path (the parent's entries change)
    MODIFY = "modify"  # content or properties of what is there change
    REMOVE = "remove"  # what is there goes away, with everything below it


class Guard(Protocol):
    """Conditions of a change: entity tags, times, locks."""

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        """Return if `effect` may happen at `path`, where `node` is now (None: nothing).

        Raises PreconditionFailed or Locked, and nothing is changed then. A store calls it
        once for each resource that the call would change, in the same step as the
        change: a MOVE asks for the source (REMOVE) and for the target (CREATE when
        there is none, REMOVE when it is replaced). A COPY asks for the target only: MODIFY
        when a file replaces a file, REMOVE when what is there goes away with a tree,
        CREATE when it is new. May be called more than once, when the store has to try again.
        """


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an upload sets beside the content. None leaves the store's default."""

    content_type: str | None = None
    modified: float | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """A change of a node's attributes: all of it happens or nothing.

    `set_props` maps Clark names to serialised elements; `remove_props` names those that
    go (one that is not there is no error). Order does not matter: a name is in one of
    them only.
    """

    set_props: Mapping[str, str] = field(default_factory=dict)
    remove_props: Sequence[str] = ()
    modified: float | None = None


class Committed(NamedTuple):
    """`created`: nothing was at the path before."""

    node: Node
    created: bool


class Transfer(NamedTuple):
    """The outcome of a move or copy.

    `created`: nothing was at the target before. `failures`: members of a copied tree that
    could not be copied, as errors that carry the *source* path; the rest was. Empty for
    a move, which is all or nothing.
    """

    created: bool
    failures: Sequence[StoreError] = ()


class Usage(NamedTuple):
    """Bytes. `used` is None while it is not yet known; `available` None when unlimited."""

    used: int | None
    available: int | None


class Kept(NamedTuple):
    """What a store knows of a persistent upload that nobody need have open.

    `offset` is how many bytes there are, as far as they are safe; None when it was committed, and
    has a memo. `memo` is what its writer noted. `expires`: when its lease is over, seconds since
    1970; None when it has none any more.
    """

    path: str
    offset: int | None
    memo: str
    expires: float | None


class Reader(ABC):
    """An open file: one version of its content, whatever happens to the path meanwhile."""

    node: Node

    @abstractmethod
    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """Yield exactly `length` bytes from `start` on, in pieces of bounded size.

        Raises Corrupt when they are not all there.
        """

    def span(self, start: int, length: int) -> FileSpan | None:
        """The same bytes as a part of an open file, when they are one. See FileSpan."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Give everything back. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Upload(ABC):
    """Content on its way in. Not visible to anybody before `commit` returns.

    Used as a context manager, it is aborted at the end unless it was committed or suspended.
    """

    id: str
    path: str
    #: Bytes received so far.
    offset: int
    #: What `persist` has noted.
    memo: str = ""

    @abstractmethod
    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises QuotaExceeded."""

    @abstractmethod
    def rewind(self, offset: int) -> None:
        """Forget what came after the first `offset` bytes; of a persistent one for good.

        Raises ValueError when there are fewer.
        """

    @abstractmethod
    def commit(
        self,
        *,
        expected_length: int | None = None,
        expected_digests: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Committed:
        """Make the content the file's at `path`, all at once; see the store's promises.

        `expected_digests` maps algorithm (of DIGESTS, kept or not) to lower-case hex.
        Replacing keeps the node's dead properties and creation time.
        Raises LengthMismatch, DigestMismatch, PreconditionFailed, Locked, ParentMissing
        (also when the parent was deleted meanwhile), NotAFolder (the parent is a file),
        IsAFolder (the target is one), QuotaExceeded. The upload is over in any case, except
        that a persistent one survives LengthMismatch (when too short), Locked and
        PreconditionFailed.
        """

    @abstractmethod
    def abort(self) -> None:
        """Throw it away. Does nothing when it is over already."""

    @abstractmethod
    def persist(self, lease: float, memo: str | None = None) -> str:
        """Make the upload outlive this process, with what was written so far; returns its id.

        After `lease` seconds without a further `persist` it may be swept. Until then
        `ResumableUploads.resume` opens it again, in any process, after `suspend` or after
        the death of the one that had it. `memo` is kept beside it, None leaves the former one;
        with one, the store can tell later that the upload was committed (see `Kept`), for the
        length of the lease at least.
        """

    @abstractmethod
    def suspend(self) -> None:
        """Let go of a persistent upload without ending it; what was written is kept.

        After a write that failed, at least what was there at the last `persist`.
        """

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether it was committed, aborted or suspended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.is_over:
            self.abort()


class Store(ABC):
    """Required: these nine methods. All paths are canonical, all raise StoreError only."""

    @property
    def swaps_at_once(self) -> bool:
        """Whether a target is there at every moment while a folder replaces it, or it a folder.

        Where not, a reader may find nothing there for an instant.
        """
        return True

    @abstractmethod
    def stat(self, ctx: Context, path: str) -> Node:
        """The node at `path`, with digests and dead properties. Raises NotFound.

        A path that runs through a file is NotFound.
        """

    @abstractmethod
    def list(
        self, ctx: Context, path: str, after: str | None = None, limit: int | None = None
    ) -> Iterator[Node]:
        """The members of the folder, by name in code point order, each complete.

        Only names greater than `after`, at most `limit`. Raises NotFound, NotAFolder when
        called (not at the first node). Memory does not grow with the members' attributes.
        """

    def open_folder(self, ctx: Context, path: str) -> tuple[Node, Iterator[Node]]:
        """The folder itself and its members; see `stat` and `list`. Raises NotFound, NotAFolder."""
        return self.stat(ctx, path), self.list(ctx, path)

    @abstractmethod
    def open(self, ctx: Context, path: str) -> Reader:
        """The file at `path` for reading. Raises NotFound, IsAFolder."""

    @abstractmethod
    def upload(self, ctx: Context, path: str, attributes: Attributes = Attributes()) -> Upload:
        """Begin to write a file at `path`.

        Raises early, before any byte is taken, what is already clear: ParentMissing,
        NotAFolder, IsAFolder, Forbidden. `commit` looks again.
        """

    @abstractmethod
    def create_folder(self, ctx: Context, path: str, guard: Guard | None = None) -> Node:
        """Raises Exists, ParentMissing, NotAFolder (the parent is a file), Forbidden."""

    @abstractmethod
    def delete(self, ctx: Context, path: str, guard: Guard | None = None) -> None:
        """Remove what is at `path` with everything below, at once. Raises NotFound.

        The root cannot be deleted (Forbidden).
        """

    @abstractmethod
    def move(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        guard: Guard | None = None,
    ) -> Transfer:
        """Give what is at `source` the path `target`; what is there is replaced in one step.

        Raises NotFound, Exists (when not `overwrite`), ParentMissing, NotAFolder, IntoItself
        (either path is or lies within the other), Forbidden (the root).
        """

    @abstractmethod
    def copy(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        recursive: bool = True,
        guard: Guard | None = None,
    ) -> Transfer:
        """Make `target` a copy of `source`, properties and content type included.

        The copy of a tree appears at once when it is whole. `recursive=False` copies a
        folder without its members (Depth: 0). A replaced target goes away wholly, it
        is not merged with (RFC 4918, 9.8.4). Times: `modified` of files is kept, `created`
        is now. Raises as `move`; IntoItself also for a copy of a file, or a recursive one of a
        folder, to a path below it.
        """

    @abstractmethod
    def update(self, ctx: Context, path: str, change: Update, guard: Guard | None = None) -> Node:
        """Change attributes, all or nothing; the content and its etag stay usable.

        Raises NotFound, QuotaExceeded (more than 1 MiB of properties on one node).
        """


# Optional abilities: small, each with what a caller does when a store has it not.


@runtime_checkable
class ResumableUploads(Protocol):
    """Stores whose uploads can be made persistent (all of ours)."""

    def resume(self, ctx: Context, upload_id: str) -> Upload:
        """Open a persistent upload again. Raises NoSuchUpload, UploadInUse."""

    def look_up(self, ctx: Context, upload_id: str) -> Kept:
        """What is known of a persistent upload, without opening it.

        Raises NoSuchUpload (also when its lease is over), UploadInUse when it is being committed.
        """


class Part(NamedTuple):
    """A part that is there: its bytes, and their SHA-256 as lower-case hex."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PartsUpload:
    """An upload in parts, as far as it has come.

    `parts` by number are those that surely are there. `part_size`, the bytes of every part but
    the last, and `count` are None as long as nobody has said them. When it is `finished` the
    parts are not told any more.
    """

    id: str
    path: str
    part_size: int | None
    count: int | None
    parts: Mapping[int, Part]
    finished: bool

    def missing(self, count: int) -> list[int]:
        """The numbers below `count` of which there is no part."""
        return [number for number in range(count) if number not in self.parts]


class PartRules(NamedTuple):
    """In bytes: every part but the last has a multiple of `unit`, at most `largest`.

    An upload has at most `most` parts. Files of at most `small` bytes need no parts: the store
    keeps them as one piece.
    """

    unit: int
    largest: int
    most: int
    small: int


@runtime_checkable
class TakesParts(Protocol):
    """Stores whose uploads can come as numbered parts, in any order and repeated, through any
    process. Without it, such uploads are refused.

    Every part but the last has the same size, a multiple of `PartRules.unit`. Nothing of an
    upload is visible before it is finished. `lease` seconds after the last sign of life it may be
    swept. Two that send one part at once: the second is told UploadInUse; a sender that
    died is in nobody's way for longer than half a minute.
    """

    def part_rules(self) -> PartRules:
        """What the parts have to be like."""

    def begin_parts(
        self,
        ctx: Context,
        path: str,
        upload: str,
        lease: float,
        attributes: Attributes = Attributes(),
    ) -> str:
        """The id of the upload that the client calls `upload`: begun, if it is not yet.

        The name is the asking identity's own for each path. A finished upload keeps it for
        `lease` seconds; afterwards another one begins. Raises as `Store.upload`.
        """

    def find_parts(self, ctx: Context, path: str, upload: str) -> PartsUpload:
        """The same one, if it is there. Raises NoSuchUpload."""

    def put_part(
        self,
        ctx: Context,
        upload_id: str,
        number: int,
        count: int,
        blocks: Iterable[bytes],
        *,
        length: int | None = None,
        sha256: str | None = None,
    ) -> Part:
        """Take part `number` (from 0) of `count`; it is durable when this returns.

        One that is there already is compared, not written. `length` and `sha256` are what was
        announced of it. Raises PartDiffers, WrongPart, LengthMismatch, DigestMismatch,
        UploadInUse, UploadFinished, NoSuchUpload, QuotaExceeded; no part is there or gone then.
        """

    def finish_parts(
        self,
        ctx: Context,
        upload_id: str,
        count: int,
        *,
        expected_length: int | None = None,
        expected_digests: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Committed:
        """Make of all parts the content of the file, all at once, as `Upload.commit` does.

        Finishing again what is finished answers the file as it is, as long as its content is
        this one. Raises PartsMissing, WrongPart (there are more than `count`), UploadInUse, and
        as `Upload.commit`; the upload goes on in any case.
        """

    def give_up_parts(self, ctx: Context, upload_id: str) -> None:
        """Throw it away; its name is free at once.

        Raises UploadInUse (somebody sends or finishes), UploadFinished, NoSuchUpload.
        """


@runtime_checkable
class FindsById(Protocol):
    """Stores that know where the node of an id lies. Without it there are no addresses by id."""

    def path_of(self, ctx: Context, node_id: str) -> str:
        """The path of the node with this `Node.id`, as of a moment ago. Raises NotFound."""


@runtime_checkable
class HasUsage(Protocol):
    """Stores that know how much they hold. Without it no quota properties are shown."""

    def usage(self, ctx: Context) -> Usage:
        """From counters, never by walking."""


@runtime_checkable
class Fenced(Protocol):
    """Stores that order the taking of a lock and the writes that it must stop.

    Without it, see NotesLocks; without that, a lock is granted unfenced.
    """

    def fence(self, ctx: Context, path: str) -> contextlib.AbstractContextManager[None]:
        """While it is held, a LOCK on `path` (and all below) is granted.

        Every write at or below `path` whose guard was judged before has happened before the
        fence opens; every other one is judged after it closes.
        """


@runtime_checkable
class NotesLocks(Protocol):
    """Stores that cannot hold off the writers of other nodes, but notice a lock afterwards."""

    def note_lock(self, ctx: Context, path: str) -> None:
        """Called after a lock on `path` was granted, before the client is told.

        A change of the node there, or of a folder's members, whose guard was judged before and
        that comes after, does not happen: it is judged again.
        """


@runtime_checkable
class Sweepable(Protocol):
    """Stores with background duties. The housekeeper calls it about once a second."""

    def sweep(self, now: float, budget: float = 1.0) -> int:
        """Spend at most about `budget` seconds on left-overs; returns how many were done.

        `now` is seconds since 1970. Removes what a dead process left and nobody holds, ends
        leases that are over, takes deleted trees apart, settles interrupted moves.
        """


@runtime_checkable
class Probed(Protocol):
    """Stores that can tell whether they work. Of one without it a stat of the root has to do."""

    def probe(self, seconds: float) -> None:
        """Return when reads and writes would be taken now; nothing is changed by it.

        Raises StoreError, whose detail says what is wrong, if not, or when that was not found
        out within about `seconds`. A file system that hangs can keep it for longer.
        """


@runtime_checkable
class Closable(Protocol):
    def close(self) -> None:
        """Give connections and descriptors back."""
