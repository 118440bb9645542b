"""Where everything that goes wrong becomes a problem document (RFC 9457): once, here.

`code` is what programs compare: it never changes its meaning, and each condition has its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import flask
from werkzeug.exceptions import HTTPException
from wsgidav.dav_error import DAVError

from davstore import errors
from davstore.dav.errors import RETRY_AFTER
from davstore.dav.response import Headers
from davstore.handoff import Refusal
from davstore.stores import resumable
from davstore.web.rest.answers import Answer

MEDIA_TYPE = "application/problem+json"

#: The type of a problem is a name, not an address: it is the same on every server.
TYPE_PREFIX = "urn:davstore:problem:"


class NotOverwritten(errors.PreconditionFailed):
    """Something is there, and `overwrite` is false. A guard may say so, and no Exists."""

    meaning = "There is already something at this path, and overwrite is false."


#: From the most special class to the most general; the first that fits counts.
_OF_STORES: tuple[tuple[type[errors.StoreError], int, str], ...] = (
    (errors.NotFound, 404, "not-found"),
    (errors.ParentMissing, 409, "parent-missing"),
    (errors.NotAFolder, 409, "not-a-folder"),
    (errors.IsAFolder, 409, "is-a-folder"),
    (errors.Exists, 409, "exists"),
    (errors.NameTooLong, 400, "name-too-long"),
    (errors.InvalidName, 400, "name-invalid"),
    (errors.IntoItself, 409, "into-itself"),
    (errors.OtherShare, 409, "other-share"),
    (errors.Forbidden, 403, "forbidden"),
    (NotOverwritten, 409, "exists"),
    (errors.PreconditionFailed, 412, "precondition-failed"),
    (errors.Locked, 423, "locked"),
    (errors.NoSuchLock, 412, "precondition-failed"),
    (errors.LengthMismatch, 400, "length-mismatch"),
    (resumable.PieceMismatch, 460, "checksum-mismatch"),
    (resumable.OffsetMismatch, 409, "offset-mismatch"),
    (resumable.TooLong, 413, "too-large"),
    (errors.DigestMismatch, 400, "digest-mismatch"),
    (errors.NoSuchUpload, 404, "no-such-upload"),
    (errors.UploadInUse, 409, "upload-in-use"),
    (errors.UploadFinished, 409, "upload-finished"),
    (errors.WrongPart, 400, "part-invalid"),
    (errors.PartDiffers, 409, "part-differs"),
    (errors.PartsMissing, 409, "parts-missing"),
    (errors.QuotaExceeded, 507, "quota-exceeded"),
    (errors.DeadlineExceeded, 503, "deadline-exceeded"),
    (errors.Unavailable, 503, "unavailable"),
    (errors.Corrupt, 500, "damaged"),
    (errors.StoreError, 500, "internal"),
)

#: For what HTTP itself, Flask, and the layer below say by a status only.
_OF_STATUSES = {
    400: "request-invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "no-such-endpoint",
    405: "method-not-allowed",
    408: "request-timeout",
    409: "conflict",
    412: "precondition-failed",
    413: "too-large",
    414: "path-too-long",
    415: "media-type-unsupported",
    416: "range-not-satisfiable",
    417: "expectation-unknown",
    421: "host-unknown",
    431: "headers-too-large",
    500: "internal",
    501: "not-implemented",
    505: "version-unknown",
}

#: The field that is to blame, where a status alone tells it.
_FIELDS_OF_STATUSES = {416: "Range", 421: "Host"}

#: What werkzeug says less plainly.
_SENTENCES = {
    404: "There is no endpoint of this name; help lists those that there are.",
    405: "This endpoint does not answer this method; the Allow field has those that it does.",
}

#: Every code there is: its status, and what it means.
CATALOGUE: Mapping[str, tuple[int, str]] = {
    "name-too-long": (400, "A name or path is too long"),
    "name-invalid": (400, "A name cannot be used"),
    "length-mismatch": (400, "The content does not have the announced length"),
    "digest-mismatch": (400, "The content does not have the announced digest"),
    "parameter-invalid": (400, "A parameter is wrong"),
    "parameter-missing": (400, "A parameter is missing"),
    "parameter-unknown": (400, "There is no such parameter"),
    "parameter-repeated": (400, "A parameter is there more than once"),
    "cursor-invalid": (400, "The cursor is none of this listing"),
    "json-invalid": (400, "The body is not JSON as it is expected here"),
    "multipart-invalid": (400, "The multipart body cannot be read"),
    "part-invalid": (400, "A part does not fit into its upload"),
    "request-invalid": (400, "The request cannot be understood"),
    "unauthenticated": (401, "Name and password are missing or wrong"),
    "cross-origin": (403, "Pages of this origin may not use this server"),
    "read-only": (403, "This share is read-only"),
    "forbidden": (403, "This is not allowed here"),
    "not-found": (404, "There is nothing at this path"),
    "no-such-upload": (404, "There is no such upload"),
    "no-such-endpoint": (404, "There is no such endpoint"),
    "method-not-allowed": (405, "The endpoint does not answer this method"),
    "request-timeout": (408, "The request took too long to arrive"),
    "parent-missing": (409, "The parent folder does not exist"),
    "not-a-folder": (409, "A file is where a folder is needed"),
    "is-a-folder": (409, "A folder is where a file is needed"),
    "exists": (409, "There is something at this path already"),
    "into-itself": (409, "Source and destination are the same, or one lies within the other"),
    "other-share": (409, "Source and destination lie in different shares"),
    "upload-in-use": (409, "Another request is writing to this upload"),
    "offset-mismatch": (409, "The piece does not begin where the upload ends"),
    "upload-finished": (409, "The upload has become a file already"),
    "part-differs": (409, "This part was sent before, with another content"),
    "parts-missing": (409, "Parts of the upload are missing"),
    "copied-in-part": (409, "Not everything could be copied"),
    "conflict": (409, "The state of what is there does not allow this"),
    "precondition-failed": (412, "A condition of the request does not hold"),
    "tus-version": (412, "The server speaks another version of tus"),
    "too-large": (413, "The body is too large"),
    "path-too-long": (414, "The address is too long"),
    "media-type-unsupported": (415, "The body has a type that is not taken here"),
    "range-not-satisfiable": (416, "The range lies outside of the content"),
    "expectation-unknown": (417, "The Expect field asks for something else than 100-continue"),
    "host-unknown": (421, "The server does not answer to this host name"),
    "locked": (423, "A lock forbids this"),
    "headers-too-large": (431, "The header fields are too large"),
    "checksum-mismatch": (460, "The piece does not have the announced checksum"),
    "damaged": (500, "The stored content is damaged"),
    "internal": (500, "Something went wrong in the server"),
    "uploads-not-kept": (501, "This share keeps no unfinished uploads"),
    "not-implemented": (501, "The server knows no such method or transfer coding"),
    "no-such-share": (501, "This server has no share that the endpoint works on"),
    "deadline-exceeded": (503, "This took too long"),
    "unavailable": (503, "The storage does not answer now"),
    "version-unknown": (505, "The server speaks HTTP/1.0 and HTTP/1.1"),
    "quota-exceeded": (507, "There is no space left"),
}


class Problem(Exception):
    """A refusal with its own code. `more` are further members of the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Headers | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.headers = list(headers or [])
        self.more = dict(more or {})

    def document(self) -> dict[str, Any]:
        """The members of RFC 9457, 3.1, then `code`, and `field` where one is to blame."""
        members: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": CATALOGUE[self.code][1],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.field is not None:
            members["field"] = self.field
        return members | self.more

    def body(self) -> bytes:
        return json.dumps(self.document(), ensure_ascii=False).encode("utf-8", "replace")

    def response(self) -> Answer:
        response = Answer(self.body(), self.status, content_type=MEDIA_TYPE)
        # The type is a name; this is where a person reads what it means.
        base = flask.request.environ.get("SCRIPT_NAME", "")
        response.headers["Link"] = f'<{base}/help#{self.code}>; rel="help"'
        for name, value in self.headers:
            if name.lower() not in ("content-type", "content-length"):
                response.headers.add(name, value)
        return response


def invalid(field: str, sentence: str) -> Problem:
    """The parameter (or header) `field` has a value that cannot be."""
    return Problem(400, "parameter-invalid", sentence, field=field)


def of_store(error: errors.StoreError, field: str | None = None) -> Problem:
    """What a store, or a lock, said. `field` is the parameter that holds the path, if any."""
    status, code = next(
        (status, code) for kind, status, code in _OF_STORES if isinstance(error, kind)
    )
    headers = [("Retry-After", RETRY_AFTER)] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
    more = {}
    if isinstance(error, errors.Locked):
        more["locks"] = list(error.roots)
    return Problem(status, code, error.detail, field=field, headers=headers, more=more)


def of_dav(error: DAVError) -> Problem:
    """What the layer that is shared with WebDAV refused by a status."""
    sentence = error.context_info or HTTPStatus(error.value).phrase
    code = _OF_STATUSES.get(error.value, "request-invalid")
    field = _FIELDS_OF_STATUSES.get(error.value)
    return Problem(error.value, code, str(sentence), field=field, headers=error.add_headers)


def of_server(refusal: Refusal) -> Problem:
    """What the server refused before, or while, the face saw it. As there, a path that cannot be
    one is a name that cannot be used."""
    status = int(refusal.status[:3])
    is_path = refusal.field == "path" and status == HTTPStatus.BAD_REQUEST
    code = "name-invalid" if is_path else _OF_STATUSES.get(status, "request-invalid")
    return Problem(status, code, refusal.sentence, field=refusal.field or None)


def of_http(error: HTTPException) -> Problem:
    """What Flask and werkzeug refused: a path without an endpoint, a wrong method, ..."""
    status = error.code or 500
    headers = [(name, value) for name, value in error.get_headers()]
    code = _OF_STATUSES.get(status, "request-invalid" if status < 500 else "internal")
    sentence = _SENTENCES.get(status) or error.description or f"{HTTPStatus(status).phrase}."
    return Problem(status, code, sentence, headers=headers)
