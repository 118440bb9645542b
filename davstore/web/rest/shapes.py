"""The documents that the REST face answers, as their schemas. The answers are made by
`answers` and the endpoints, as plain dictionaries: thousands of them per listing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

#: RFC 3339, in UTC.
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
UrlPath = Annotated[str, Field(pattern="^/")]


class Document(BaseModel):
    """Has these members and no others. Attribute docstrings become descriptions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Node(Document):
    path: UrlPath
    """From the root of all shares; not percent-encoded."""
    name: str
    created: Time
    modified: Time
    etag: str
    """With its quotes, as If-Match takes it."""


class FileEntry(Node):
    """A file."""

    kind: Literal["file"]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    content_type: str
    digests: dict[str, Annotated[str, Field(pattern="^[0-9a-f]+$")]]
    """Lower-case hex by algorithm: sha256, and others that are known."""


class FolderEntry(Node):
    """A folder."""

    kind: Literal["folder"]


class Entry(RootModel[FileEntry | FolderEntry]):
    """A file or a folder."""


class Gone(Document):
    """Where something is now, unless somebody has taken it away again meanwhile."""

    path: UrlPath


class Transferred(RootModel[FileEntry | FolderEntry | Gone]):
    """What is at the destination."""


class Page(Document):
    """A part of a folder's members."""

    path: UrlPath
    entries: list[Entry]
    next: str | None
    """The `cursor` of the following page; null on the last."""


class Found(Document):
    """A part of what was found."""

    below: UrlPath
    entries: list[Entry]
    next: str | None
    """The `cursor` of the following page; null on the last."""


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: Annotated[str, Field(json_schema_extra={"format": "uri"})]
    """A name, the same on every server."""
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    """A sentence for a person: what is wrong, where, and what to do."""
    code: str
    """What programs compare."""
    field: str = ""
    """The parameter or header field that is to blame, where one is."""
    locks: list[Any] = []
    """Of `locked`: the paths of the locks."""
    failures: list[dict[str, Any]] = []
    """Of `copied-in-part`: what could not be copied."""
