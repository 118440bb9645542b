"""What can go wrong between a client and davstore: one tree, made of the problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, Final

import requests

#: The media type of problem documents (RFC 9457, 6.1).
_PROBLEM: Final = "application/problem+json"


class ClientError(Exception):
    """Something that could not be done. `str()` of it is a sentence for a person."""

    #: Whether another node may do what this one could not, and has not been tried just now.
    elsewhere = False
    #: Seconds before which the server does not want to be asked again; None: it did not say.
    retry_after: float | None = None


class Unreachable(ClientError):
    """No server answered, or the connection broke. It may have been carried out all the same."""


class Damaged(ClientError):
    """What arrived is not what was sent: a digest or a length differs."""


class SourceChanged(ClientError):
    """The file was changed while it was uploaded."""


class Refused(ClientError):
    """The server answered, and the answer is no.

    `code` is the problem's stable name ("locked", "quota-exceeded"; "" when the answer was no
    problem document), `field` the parameter that is to blame, `document` all members.
    """

    #: Whether the answer to an earlier attempt of the same request was lost. Then that one may
    #: have been carried out, and be what this refusal is about.
    after_loss = False

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        field: str | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.document = dict(document or {})


class Unauthenticated(Refused):
    """401: no user name and password, or wrong ones."""


class Forbidden(Refused):
    """403: this user may not do it, or nobody, as where a share is read-only."""


class NotFound(Refused):
    """404: there is nothing at this path, or no such upload any more."""


class NoFace(Refused):
    """404 from something that is no REST face of davstore."""


class Conflict(Refused):
    """409: the tree is not as the request needs it; `code` says how."""


class Exists(Conflict):
    """There is something at the path, and it was not to be replaced."""


class InUse(Conflict):
    """Another request is writing to this upload, or its end has not been noticed yet."""


class PreconditionFailed(Refused):
    """412: a condition of the request does not hold."""


class Locked(Refused):
    """423: a lock forbids it; `document["locks"]` are the paths of the locks."""


class Unavailable(Refused):
    """The server cannot answer now: 408, 502, 503, 504."""


class QuotaExceeded(Refused):
    """507: there is no space left."""


#: What goes by, and is worth another try.
PASSING: Final = (Unreachable, Unavailable)

_BY_CODE: Final[Mapping[str, type[Refused]]] = {
    "exists": Exists,
    "no-such-endpoint": NoFace,
    "upload-in-use": InUse,
}

_BY_STATUS: Final[Mapping[int, type[Refused]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: NotFound,
    412: PreconditionFailed,
    423: Locked,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: QuotaExceeded,
}


def refusal(response: requests.Response) -> Refused:
    """The error that `response`, whose status is 300 or more, stands for."""
    status = response.status_code
    document = _document(response)
    code = str(document.get("code", ""))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, Refused)
    detail = document.get("detail") or document.get("title") or _in_words(response)
    if status == 404 and not document and response.request.method != "HEAD":
        kind = NoFace
        detail += " and no problem document: this is not the REST face of a davstore"
    field = document.get("field")
    made = kind(status, code, str(detail), None if field is None else str(field), document)
    made.retry_after = _seconds(response.headers.get("Retry-After"))
    return made


def _document(response: requests.Response) -> dict[str, Any]:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != _PROBLEM:
        return {}
    try:
        found = response.json()
    except (requests.JSONDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _in_words(response: requests.Response) -> str:
    status = response.status_code
    if 300 <= status < 400:
        return f"the server sends on to {response.headers.get('Location')}; use that address"
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = response.reason or ""
    return f"the server answers {status} {phrase}".rstrip()


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After field (RFC 9110, 10.2.3); None when it cannot be understood."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (TypeError, ValueError):
        return None
