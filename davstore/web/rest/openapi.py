"""What each endpoint declares of itself, beside its code; help and tests are made of it.

An endpoint's parameters are the very model that checks them. What holds for all endpoints of a
kind (a path in the address, a change, a body of parameters) is not declared but follows here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from davstore.web.rest.answers import JSON
from davstore.web.rest.asked import NoParameters, Parameters

#: A JSON schema (draft 2020-12), as OpenAPI 3.1 has it.
Schema = Mapping[str, Any]

#: What a body holds, by its media type.
Media = Mapping[str, type[BaseModel] | Schema]

#: Any bytes.
BYTES: Schema = {"type": "string", "format": "binary"}
TEXT: Schema = {"type": "string"}
#: A file's content, under its own type.
ANY_CONTENT: Media = {"*/*": BYTES}


@dataclass(frozen=True, slots=True)
class Header:
    """A header field of a request or an answer; `always`: it has to be, or is, there."""

    name: str
    meaning: str
    schema: Schema = field(default_factory=lambda: TEXT)
    always: bool = False


@dataclass(frozen=True, slots=True)
class Success:
    """An answer when all is well. Without `media` it has no body."""

    status: int
    meaning: str
    media: Media = field(default_factory=dict)
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What a request brings that is not parameters. `is_form`: or the field `file` of a form
    that may hold the parameters of the query as well."""

    meaning: str
    media_type: str = "application/octet-stream"
    is_form: bool = False
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """`parameters` come from the query; with `in_body` from a JSON object or a form in the
    body, or from the query. `problems` are the codes that are its own. `changes`: whether
    it changes something, unless it is a GET.
    """

    successes: tuple[Success, ...]
    parameters: type[Parameters] = NoParameters
    in_body: bool = False
    content: Content | None = None
    headers: tuple[Header, ...] = ()
    problems: tuple[str, ...] = ()
    changes: bool = True
    summary: str = ""
    description: str = ""


_DECLARED: dict[Callable[..., Any], Operation] = {}

F = TypeVar("F", bound=Callable[..., Any])


def operation(
    *successes: Success,
    parameters: type[Parameters] = NoParameters,
    in_body: bool = False,
    content: Content | None = None,
    headers: tuple[Header, ...] = (),
    problems: tuple[str, ...] = (),
    changes: bool = True,
) -> Callable[[F], F]:
    """Declare what the decorated endpoint takes and answers, as `Operation` has it.

    Its docstring says what it does: the first paragraph in short, the rest at length. It is
    written below Flask's route, which is given the very same function.
    """

    def declare(view: F) -> F:
        summary, _, rest = (view.__doc__ or "").partition("\n\n")
        _DECLARED[view] = Operation(
            successes=successes,
            parameters=parameters,
            in_body=in_body,
            content=content,
            headers=headers,
            problems=problems,
            changes=changes,
            summary=_one_line(summary),
            description=_one_line(rest),
        )
        return view

    return declare


def declared(view: Callable[..., Any]) -> Operation | None:
    """What `view` declares; None when it declares nothing."""
    return _DECLARED.get(view)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def json_of(model: type[BaseModel]) -> Media:
    """A JSON document."""
    return {JSON: model}


# Header fields that several endpoints have

IF_MATCH = Header("If-Match", "Only if the ETag is one of these (RFC 9110, 13.1.1).")
IF_NONE_MATCH = Header("If-None-Match", "Only if the ETag is none of these; `*`: is not there.")
IF_MODIFIED_SINCE = Header("If-Modified-Since", "304 unless it was changed since (13.1.3).")
IF_UNMODIFIED_SINCE = Header("If-Unmodified-Since", "Only if it was not changed since (13.1.4).")
IF = Header("If", "Conditions and lock tokens as in WebDAV (RFC 4918, 10.4).")
LOCK_TOKEN = Header("Lock-Token", "Tokens of locks that the client holds, `<urn:uuid:...>`, ...")
RANGE = Header("Range", "The part to send, `bytes=0-1023` (RFC 9110, 14.2).")
IF_RANGE = Header("If-Range", "The part only if this is still the ETag, or the time; else all.")
CONTENT_DIGEST_OF_ALL = Header("Repr-Digest", "`sha-256=:BASE64:` of the content (RFC 9530).")
DIGEST = Header("Digest", "`SHA-256=BASE64` of the content (RFC 3230).")
OC_CHECKSUM = Header("OC-Checksum", "`SHA1:HEX` of the content, as ownCloud's clients say it.")
OC_MTIME = Header("X-OC-Mtime", "The file's own time in seconds since 1970.")

#: Conditions of a change.
CONDITIONS = (IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, IF, LOCK_TOKEN)
#: Conditions of a question.
READ_CONDITIONS = (IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF)
DIGESTS = (CONTENT_DIGEST_OF_ALL, DIGEST, OC_CHECKSUM)

ETAG = Header("ETag", "Changes with every change of the content.", always=True)
LAST_MODIFIED = Header("Last-Modified", "When the content was changed.", always=True)
LOCATION = Header("Location", "The address of what was made.", always=True)
VARY = Header("Vary", "What in the request the answer depends on.")
VALIDATORS = (ETAG, LAST_MODIFIED)
#: Of a 304: the validator that decides is enough (RFC 9110, 15.4.5).
KNOWN = (ETAG,)
MADE = (*VALIDATORS, LOCATION)
ACCEPT_RANGES = Header("Accept-Ranges", "Parts can be asked for.", always=True)
DISPOSITION = Header("Content-Disposition", "Has a browser save the file under its name.")
CONTENT_RANGE = Header("Content-Range", "Which part this is, unless there are several.")
DOWNLOADED = (*VALIDATORS, ACCEPT_RANGES, DISPOSITION)
PART = (*DOWNLOADED, CONTENT_RANGE)


# Problems that follow from what an endpoint is

_ALWAYS = (
    "request-invalid",
    "unauthenticated",
    "forbidden",
    "host-unknown",
    "unavailable",
    "deadline-exceeded",
    "internal",
    "parameter-invalid",
    "parameter-missing",
    "parameter-unknown",
    "parameter-repeated",
)
#: Of an address that names a file or folder.
OF_TARGETS = ("not-found", "not-a-folder", "name-invalid", "name-too-long", "precondition-failed")
_OF_CHANGES = (
    "read-only",
    "locked",
    "precondition-failed",
    "quota-exceeded",
)
_OF_BODIES = ("json-invalid", "media-type-unsupported", "too-large")
_OF_FORMS = ("multipart-invalid", "too-large")

_SAFE = ("GET", "HEAD", "OPTIONS")


def problems_of(found: Operation, method: str, rule: str) -> tuple[str, ...]:
    """All codes that a request of `method` to the address `rule` can meet, sorted."""
    codes = {*_ALWAYS, *found.problems}
    if "<target:" in rule:
        codes.update(OF_TARGETS)
    if method not in _SAFE:
        codes.add("cross-origin")
        if found.changes:
            codes.update(_OF_CHANGES)
    if found.in_body:
        codes.update(_OF_BODIES)
    if found.content is not None and found.content.is_form:
        codes.update(_OF_FORMS)
    return tuple(sorted(codes))
