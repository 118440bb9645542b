"""What the server tells of a file or folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from davstore.client.errors import Damaged

#: Is told how many bytes of how many are there, now and then. The first can become less again:
#: what broke off is sent once more.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder as it was when the server was asked."""

    #: From the root of all shares: "/files/report.pdf".
    path: str
    name: str
    is_folder: bool
    #: In UTC, to the second.
    created: datetime
    modified: datetime
    #: With its quotes; another one with each change of the content.
    etag: str
    #: Bytes; 0 of a folder.
    size: int = 0
    content_type: str | None = None
    #: Algorithm ("sha256", "sha1", "md5") -> lower-case hex, of those that the share keeps.
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: bytes) -> Self:
        """Of a node in JSON. Raises Damaged when it is none."""
        document = document_of(text)
        try:
            return cls(
                path=str(document["path"]),
                name=str(document["name"]),
                is_folder=document["kind"] == "folder",
                created=datetime.fromisoformat(document["created"]),
                modified=datetime.fromisoformat(document["modified"]),
                etag=str(document["etag"]),
                size=int(document.get("size", 0)),
                content_type=document.get("content_type"),
                digests=dict(document.get("digests", {})),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Damaged(f"the server's answer describes no file or folder: {error}") from None


def document_of(text: bytes) -> Any:
    """What an answer holds. Raises Damaged when it is no JSON: something else answers there."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"the server's answer is no JSON: {error}") from None
