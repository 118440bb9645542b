"""The one tree of errors.

Every error carries a path (within its share, "/" first) and a meaning, never an
HTTP status: each face maps the classes to its own answers in one table
(`davstore.dav.errors` for WebDAV).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class StoreError(Exception):
    """Something that a store, or a lock store, could not or would not do.

    `path` is where; `detail` is a sentence for a person, free of traceback and of
    paths of the server's own machine. `meaning` is the default sentence of the class.
    """

    meaning: ClassVar[str] = "The request could not be carried out."

    def __init__(self, path: str, detail: str = "") -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail or self.meaning

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


class NotFound(StoreError):
    meaning = "There is nothing at this path."


class ParentMissing(StoreError):
    """The folder that would hold the new member does not exist (RFC 4918: 409)."""

    meaning = "The folder that should hold this does not exist."


class NotAFolder(StoreError):
    """A folder was needed and a file is there."""

    meaning = "This is a file, not a folder."


class IsAFolder(StoreError):
    """A file was needed and a folder is there."""

    meaning = "This is a folder, not a file."


class Exists(StoreError):
    meaning = "There is already something at this path."


class InvalidName(StoreError):
    """A name that no store keeps: empty, `.`, `..`, NUL, not UTF-8, not XML-safe."""

    meaning = "This name cannot be used."


class NameTooLong(InvalidName):
    meaning = "A name has at most 255 bytes and a path at most 4,096."


class Forbidden(StoreError):
    """Not allowed by the operating system, by the share (read-only) or by a reserved name."""

    meaning = "This is not allowed here."


class IntoItself(Forbidden):
    """A folder would be moved or copied into itself, or onto itself."""

    meaning = "Source and destination are the same, or one lies within the other."


class OtherShare(Forbidden):
    """A move or copy from one share to another: it could not be one step."""

    meaning = "Source and destination lie in different shares."


class PreconditionFailed(StoreError):
    meaning = "A condition of the request does not hold."


class Locked(StoreError):
    """A lock forbids the change. `roots` are the paths of the locks in the way."""

    meaning = "This is locked."

    def __init__(self, path: str, roots: Sequence[str] = (), detail: str = "") -> None:
        super().__init__(path, detail)
        self.roots: tuple[str, ...] = tuple(roots) or (path,)


class LockConflict(Locked):
    """A new lock would conflict with the locks at `roots`."""

    meaning = "Another lock is in the way."


class NoSuchLock(StoreError):
    meaning = "There is no such lock on this path."


class LengthMismatch(StoreError):
    """Fewer or more bytes came than were announced. Nothing was changed."""

    meaning = "The content does not have the length that was announced."


class DigestMismatch(StoreError):
    """The bytes do not have the digest that the client sent. Nothing was changed."""

    meaning = "The content does not have the digest that was announced."


class NoSuchUpload(StoreError):
    """No persistent upload of that id, or its lease is over. `path` is the id."""

    meaning = "There is no such upload, or its time is over."


class UploadInUse(StoreError):
    """Another process or thread is writing to this persistent upload right now."""

    meaning = "This upload is being written to by another request."


class UploadFinished(StoreError):
    """The upload has become a file already; nothing more can be sent to it."""

    meaning = "This upload is finished already."


class WrongPart(StoreError):
    """A part that cannot be one of its upload, or not beside its other parts.

    `about` is what of it is wrong: its "number", the "count" of parts, or its "length".
    """

    meaning = "This part does not fit into its upload."

    def __init__(self, path: str, detail: str = "", about: str = "length") -> None:
        super().__init__(path, detail)
        self.about = about


class PartDiffers(StoreError):
    """The part is there already, with another content. Nothing was changed."""

    meaning = "This part was sent before, with another content."


class PartsMissing(StoreError):
    """An upload in parts cannot be finished yet. `missing` are the numbers of those it lacks."""

    meaning = "Parts of this upload are missing."

    def __init__(self, path: str, missing: Sequence[int] = (), detail: str = "") -> None:
        super().__init__(path, detail)
        self.missing: tuple[int, ...] = tuple(missing)


class QuotaExceeded(StoreError):
    """The share's quota, or the disk, is full."""

    meaning = "There is no space left for this."


class Unavailable(StoreError):
    """The storage does not answer now; trying again later may work."""

    meaning = "The storage is not available at the moment."


class DeadlineExceeded(Unavailable):
    meaning = "This took longer than the request may take."


class Corrupt(StoreError):
    """Stored bytes are missing or wrong. A download is cut, never shortened."""

    meaning = "The stored content is damaged."


class FormatTooNew(StoreError):
    """The state was written by a newer davstore. `path` is the state file's."""

    meaning = "This was written by a newer version of davstore; upgrade to read it."


class ConfigError(Exception):
    """Everything that is wrong with a configuration, at once.

    `faults` holds one sentence per fault, each naming key and value.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults: tuple[str, ...] = tuple(faults)
