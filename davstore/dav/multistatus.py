"""207 Multi-Status (RFC 4918, 13), written terse and in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from wsgidav.dav_error import DAVError

from davstore.dav import properties
from davstore.dav.response import STATUS_LINES, XML_TYPE, Response

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
TAIL = "</D:multistatus>"

#: Bytes (roughly) per block of a streamed answer. One block is sent with its length.
BLOCK = 96 * 1024

OK = "<D:status>HTTP/1.1 200 OK</D:status>"
NOT_FOUND = "<D:status>HTTP/1.1 404 Not Found</D:status>"


def status_response(href: str, error: DAVError) -> str:
    """A response element that says that `href` failed, and how."""
    condition = ""
    if error.err_condition:
        hrefs = "".join(f"<D:href>{each}</D:href>" for each in error.err_condition.hrefs)
        name = properties.empty_element(error.err_condition.condition_code)
        element = name if not hrefs else f"{name[:-2]}>{hrefs}</{name[1:-2]}>"
        condition = f"<D:error>{element}</D:error>"
    return (
        f"<D:response><D:href>{href}</D:href>"
        f"<D:status>HTTP/1.1 {STATUS_LINES[error.value]}</D:status>{condition}</D:response>"
    )


def propstat(elements: str, status: int, extra: str = "") -> str:
    return (
        f"<D:propstat><D:prop>{elements}</D:prop>"
        f"<D:status>HTTP/1.1 {STATUS_LINES[status]}</D:status>{extra}</D:propstat>"
    )


def description(text: str) -> str:
    return f"<D:responsedescription>{escape(text)}</D:responsedescription>"


def multistatus(responses: Iterable[str]) -> Response:
    """The answer made of these response elements.

    The first block is made before the answer begins, so that what fails at once still
    becomes an ordinary error; a short answer is sent with its length, a long one streams
    and memory does not grow with it.
    """
    blocks = _blocks(responses)
    first = next(blocks)
    second = next(blocks, None)
    headers = [("Content-Type", XML_TYPE)]
    if second is None:
        return Response(207, [*headers, ("Content-Length", str(len(first)))], (first,))
    return Response(207, headers, _chain(first, second, blocks))


def _chain(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest


def _blocks(responses: Iterable[str]) -> Iterator[bytes]:
    parts = [HEAD]
    size = 0
    for response in responses:
        parts.append(response)
        size += len(response)
        if size >= BLOCK:
            yield "".join(parts).encode()
            parts.clear()
            size = 0
    parts.append(TAIL)
    yield "".join(parts).encode()
