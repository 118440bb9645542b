"""GET and HEAD (RFC 9110, 9.3.1 and 14) of files: whole, ranges, conditions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import parse_qs, quote

from wsgidav.dav_error import DAVError

from davstore import handoff
from davstore.auth.base import Action
from davstore.dav import dates, properties, ranges
from davstore.dav.conditions import quote_etag
from davstore.dav.request import Request
from davstore.dav.response import Headers, Response, empty
from davstore.errors import IsAFolder, NotFound, PreconditionFailed
from davstore.stores.base import Node, Reader

#: A stored page must not run with the rights of the server's origin: it could read and change
#: the visitor's files.
_HARMLESS = ("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")
_ACTIVE_TYPES = ("html", "xml", "svg", "javascript", "pdf")


def get(request: Request) -> Response:
    """The file, or the part that was asked for; a folder's page."""
    request.require(Action.READ)
    try:
        return get_file(request, as_attachment=_is_to_be_saved(request))
    except IsAFolder:
        return _folder_page(request)


def get_file(request: Request, *, as_attachment: bool) -> Response:
    """The file, or the part that was asked for; `as_attachment`: for a browser to save.

    Raises NotFound, IsAFolder, PreconditionFailed, and 416 as a DAVError. Of the store's own
    errors none comes after the answer began.
    """
    reader = request.store.open(request.ctx, request.path)
    try:
        if request.has_slash:
            raise NotFound(request.path, "A file's address does not end in a slash.")
        response = _answer(request, reader, as_attachment)
    except BaseException:
        reader.close()
        raise
    if not isinstance(response.body, _Body):
        reader.close()
    return response


def _answer(request: Request, reader: Reader, as_attachment: bool) -> Response:
    node = reader.node
    request.guard().check_if_header(node)
    conditions = request.conditions
    if conditions.fails(node):
        raise PreconditionFailed(request.path, "If-Match or If-Unmodified-Since does not hold.")
    headers: Headers = [
        ("ETag", quote_etag(node)),
        ("Last-Modified", dates.http_date(int(node.modified))),
    ]
    if conditions.is_known(node) or conditions.is_unmodified(node):
        return empty(304, headers)
    kind = properties.content_type(node)
    headers += [("Accept-Ranges", "bytes"), ("X-Content-Type-Options", "nosniff")]
    if any(active in kind for active in _ACTIVE_TYPES):
        headers.append(_HARMLESS)
    if as_attachment:
        headers.append(_disposition(node))
    return _content(request, reader, kind, headers)


def _content(request: Request, reader: Reader, kind: str, headers: Headers) -> Response:
    node = reader.node
    try:
        wanted = _wanted_ranges(request, node)
    except ranges.Unsatisfiable:
        headers.insert(0, ("Content-Range", f"bytes */{node.size}"))
        sentence = f"The file has {node.size} bytes, none of them in this range."
        raise DAVError(416, sentence, add_headers=headers) from None
    if wanted is not None and len(wanted) > 1:
        return _multipart(reader, kind, headers, wanted)
    headers.append(("Content-Type", kind))
    start, length, status = 0, node.size, 200
    if wanted is not None:
        start, length = wanted[0]
        status = 206
        headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{node.size}"))
    headers.append(("Content-Length", str(length)))
    if request.method == "HEAD":
        return Response(status, headers)
    span = reader.span(start, length) if handoff.SPAN_OFFERED_KEY in request.environ else None
    if span is not None:
        request.environ[handoff.SPAN_KEY] = span
        return Response(status, headers, _Body(reader, iter(())))
    return Response(status, headers, _Body(reader, reader.chunks(start, length)))


def _wanted_ranges(request: Request, node: Node) -> list[tuple[int, int]] | None:
    """The ranges to send, None for the whole (also when If-Range does not match: 13.1.5)."""
    header = request.header("RANGE")
    if header is None or request.method != "GET":
        return None
    validator = request.header("IF_RANGE")
    if validator is not None:
        validator = validator.strip()
        if validator.startswith(('"', "W/")):
            matches = validator == quote_etag(node)
        else:  # a date, as Finder sends it: it has to be exactly the one it was given
            matches = dates.parse_http_date(validator) == int(node.modified)
        if not matches:
            return None
    return ranges.parse(header, node.size)


def _is_to_be_saved(request: Request) -> bool:
    """`?download` makes a browser save the file."""
    query = request.environ.get("QUERY_STRING")
    return bool(query) and "download" in parse_qs(query, keep_blank_values=True)


def _disposition(node: Node) -> tuple[str, str]:
    """The field that names the file to be saved (RFC 6266, RFC 8187)."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in node.name
    )
    encoded = quote(node.name, safe="")
    return "Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def _folder_page(request: Request) -> Response:
    """A page for the person who opened a folder in a browser; HEAD has to work too (Office)."""
    node, members = request.store.open_folder(request.ctx, request.path)
    request.guard().check_if_header(node)
    query = request.environ.get("QUERY_STRING", "")
    headers, body = request.realm.folder_page(request.url_path, members, query, request.prefix)
    headers.append(("Last-Modified", dates.http_date(int(node.modified))))
    return Response(200, headers, () if request.method == "HEAD" else body)


class _Body:
    """A response body that gives the reader back, however the response ends."""

    def __init__(self, reader: Reader, chunks: Iterator[bytes]) -> None:
        self._reader = reader
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._reader.close()


def _multipart(
    reader: Reader,
    kind: str,
    headers: Headers,
    wanted: list[tuple[int, int]],
) -> Response:
    """multipart/byteranges (14.6), with its length."""
    boundary = secrets.token_hex(16)
    size = reader.node.size
    heads = [
        f"--{boundary}\r\nContent-Type: {kind}\r\n"
        f"Content-Range: bytes {start}-{start + length - 1}/{size}\r\n\r\n".encode()
        for start, length in wanted
    ]
    tail = f"--{boundary}--\r\n".encode()
    total = sum(map(len, heads)) + sum(length + 2 for _, length in wanted) + len(tail)
    headers += [
        ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
        ("Content-Length", str(total)),
    ]

    def parts() -> Iterator[bytes]:
        for head, (start, length) in zip(heads, wanted, strict=True):
            yield head
            yield from reader.chunks(start, length)
            yield b"\r\n"
        yield tail

    return Response(206, headers, _Body(reader, parts()))
