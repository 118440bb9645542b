"""Answers in pages: where the next one begins, in a text that clients do not look into."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated

from pydantic import Field

from davstore.dav.request import Environ
from davstore.web.rest.answers import NDJSON
from davstore.web.rest.asked import Whole
from davstore.web.rest.problems import Problem

#: Entries of a page that is not told how many it may have, and the most of any.
USUAL = 1000
MOST = 10_000

Limit = Annotated[Whole, Field(ge=1, le=MOST)]
Cursor = Annotated[str, Field(max_length=20_000)]

#: A place in an order: what is ordered by, then what tells those apart that have it in common.
Key = tuple[float | str, str]


def cursor_of(kind: str, key: Key) -> str:
    """The cursor of what comes after `key` in the order that `kind` names."""
    text = json.dumps([kind, *key], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def key_of(kind: str, cursor: str | None, value: type[str] | type[float]) -> Key | None:
    """The key that `cursor` was made of; `value` is what its first part has to be.

    Raises 400 for what was not made by `cursor_of`, or for another order.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, b"-_", validate=True))
        said, first, second = found
        str(second).encode()  # JSON can hold half a character, which is in no name
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise cursor_invalid() from None
    kinds = (int, float) if value is float else (str,)
    if said != kind or type(first) not in kinds or type(second) is not str:
        raise cursor_invalid()
    return first, second


def wants_stream(environ: Environ) -> bool:
    """Whether the client asks for everything at once, one JSON document per line."""
    accepted = str(environ.get("HTTP_ACCEPT", "")).lower().split(",")
    return any(each.partition(";")[0].strip() == NDJSON for each in accepted)


def cursor_invalid() -> Problem:
    """What is said of a cursor that cannot be."""
    sentence = "The cursor is none that this listing has given, in this order."
    return Problem(400, "cursor-invalid", sentence, field="cursor")
