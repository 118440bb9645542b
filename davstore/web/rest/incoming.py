"""The content that a request brings: its raw body, or the field `file` of a form.

It streams. werkzeug's own form parser would first put the whole upload aside on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio import multipart

from davstore.dav.methods.put import BLOCK
from davstore.dav.request import Environ
from davstore.web.rest.problems import Problem

FILE = "file"

#: What the decoder may hold: two blocks and a boundary; it also bounds a part's headers.
_MOST_HELD = 4 * BLOCK
_MOST_PARTS = 100
#: Bytes of all fields beside the file.
_MOST_FIELDS = 64 * 1024


class Incoming:
    """`fields` are those of the form that come before the file; none of a raw body.

    `content_type` is what the client says of the content, None when it says nothing.
    """

    fields: dict[str, str]
    content_type: str | None

    def __init__(
        self,
        fields: dict[str, str],
        content_type: str | None,
        length: int | None,
        blocks: Iterator[bytes],
    ) -> None:
        self.fields = fields
        self.content_type = content_type
        #: Bytes that are announced, None when they are not.
        self.length = length
        self._blocks = blocks

    def blocks(self) -> Iterator[bytes]:
        """The content, once. Raises a problem at its end when the form goes on wrongly.

        Only a content that was read to its end may be kept.
        """
        return self._blocks


def incoming(environ: Environ) -> Incoming:
    """What the request brings, read up to the first byte of the content.

    Raises a problem (400, 413) when a form cannot be read or has no field `file`.
    """
    kind, options = parse_options_header(environ.get("CONTENT_TYPE") or "")
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    if kind.lower() != "multipart/form-data":
        length = environ.get("CONTENT_LENGTH") or ""
        announced = int(length) if length.isdecimal() and len(length) < 19 else None
        return Incoming({}, environ.get("CONTENT_TYPE"), announced, iter(lambda: read(BLOCK), b""))
    boundary = options.get("boundary", "")
    if not boundary or len(boundary) > 200 or not boundary.isascii():
        raise _broken("Content-Type names no boundary", field="Content-Type")
    events = _events(read, boundary.encode())
    fields, part = _until_file(events)
    return Incoming(fields, part.headers.get("Content-Type"), None, _content(events))


def _events(read: Callable[[int], bytes], boundary: bytes) -> Iterator[Any]:
    """The form as werkzeug's decoder sees it, to the end of the body."""
    decoder = multipart.MultipartDecoder(boundary, _MOST_HELD, max_parts=_MOST_PARTS)
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, multipart.NeedData):
                decoder.receive_data(read(BLOCK) or None)
                continue
            yield event
            if isinstance(event, multipart.Epilogue):
                return
    except RequestEntityTooLarge:
        raise Problem(
            413, "too-large", "The form has too many parts, or too large headers.", field="body"
        ) from None
    except (ValueError, TypeError, AttributeError):
        # UnicodeDecodeError is a ValueError; a part without a name or a line end is the others.
        raise _broken("The form in the body ends early or is malformed") from None


def _until_file(events: Iterator[Any]) -> tuple[dict[str, str], multipart.Field | multipart.File]:
    fields: dict[str, str] = {}
    left = _MOST_FIELDS
    for event in events:
        if not isinstance(event, multipart.Field | multipart.File):
            continue
        if event.name == FILE:
            return fields, event
        name = str(event.name or "")
        if not name or name in fields:
            raise _broken("A field has no name" if not name else f"{name} is there twice", name)
        value = _value(events, left)
        left -= len(value)
        try:
            fields[name] = value.decode()
        except UnicodeDecodeError:
            raise _broken(f"{name} is not UTF-8", name) from None
    raise Problem(400, "parameter-missing", "The form has no field `file`.", field=FILE)


def _value(events: Iterator[Any], most: int) -> bytes:
    value = b""
    for event in events:
        value += event.data
        if len(value) > most:
            raise Problem(413, "too-large", "The fields of the form are too long.", field="body")
        if not event.more_data:
            break
    return value


def _content(events: Iterator[Any]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, multipart.Data):
            if event.data:
                yield event.data
            if not event.more_data:
                break
    for event in events:
        if isinstance(event, multipart.Field | multipart.File):
            name = str(event.name or "")
            sentence = f"{name} comes after the file; the file has to be the last field"
            raise _broken(sentence, name)


def _broken(sentence: str, field: str = "body") -> Problem:
    return Problem(400, "multipart-invalid", sentence + ".", field=field or "body")
