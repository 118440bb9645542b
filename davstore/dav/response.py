"""An answer: a status, headers, a body."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from wsgidav.dav_error import DAVError, DAVErrorCondition

Headers = list[tuple[str, str]]

XML_TYPE = "application/xml; charset=utf-8"

#: "207 Multi-Status" and so on, by code.
STATUS_LINES: dict[int, str] = {
    status.value: f"{status.value} {status.phrase}" for status in HTTPStatus
}


@dataclass(slots=True)
class Response:
    """`body` may be closed by the server, when it has a close(). Headers are added to."""

    status: int
    headers: Headers = field(default_factory=list)
    body: Iterable[bytes] = ()

    def start(self, start_response: Callable[[str, Headers], object]) -> Iterable[bytes]:
        """Answer in the WSGI way."""
        start_response(STATUS_LINES[self.status], self.headers)
        return self.body


def empty(status: int, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """An answer without a body; its length is said where one may be said (RFC 9110, 8.6)."""
    length = [] if status in (204, 304) else [("Content-Length", "0")]
    return Response(status, [*headers, *length])


def whole(status: int, content_type: str, body: bytes, headers: Headers | None = None) -> Response:
    """An answer whose body is known."""
    fixed = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    return Response(status, fixed + (headers or []), (body,))


def text(status: int, sentence: str, headers: Headers | None = None) -> Response:
    """A short answer for a person."""
    return whole(status, "text/plain; charset=utf-8", f"{sentence}\n".encode(), headers)


def of_error(error: DAVError) -> Response:
    """A short answer that says what is wrong: XML where RFC 4918 has a condition, else text."""
    headers = list(error.add_headers or [])
    if error.value in (204, 304):
        return empty(error.value, headers)
    if error.err_condition:
        return whole(error.value, XML_TYPE, _condition(error.err_condition).encode(), headers)
    return text(error.value, error.context_info or HTTPStatus(error.value).phrase, headers)


def _condition(condition: DAVErrorCondition) -> str:
    """The error element (RFC 4918, 14.5), with the prefix that clients are used to."""
    name = condition.condition_code.removeprefix("{DAV:}")
    hrefs = "".join(f"<D:href>{each}</D:href>" for each in condition.hrefs)
    element = f"<D:{name}>{hrefs}</D:{name}>" if hrefs else f"<D:{name}/>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<D:error xmlns:D="DAV:">{element}</D:error>'
