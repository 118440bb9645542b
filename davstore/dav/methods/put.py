"""PUT (RFC 9110, 9.3.4; RFC 4918, 9.7): all of the content arrives, or nothing changes."""

from __future__ import annotations

from collections.abc import Mapping

from davstore.auth.base import Action
from davstore.dav import checksums, dates, errors
from davstore.dav.conditions import quote_etag
from davstore.dav.properties import UNKNOWN_TYPE
from davstore.dav.request import Request
from davstore.dav.response import Headers, Response, empty
from davstore.errors import IsAFolder, NotAFolder
from davstore.stores.base import Attributes, Effect, Upload

#: Bytes per read: large enough that Python's part of a big upload is small.
BLOCK = 1 << 18

#: What clients send when they do not know: no better than a guess by the name.
_UNKNOWN_TYPES = (UNKNOWN_TYPE, "application/x-www-form-urlencoded", "")


def put(request: Request) -> Response:
    """201 or 204 once the content is safe. A body that breaks off changes nothing."""
    request.require(Action.WRITE)
    if request.has_slash:
        raise NotAFolder(request.path, "A file's address does not end in a slash.")
    if request.header("CONTENT_RANGE") is not None:
        # RFC 9110, 14.5: stored as the whole, a part would destroy the file.
        raise errors.bad_request("Content-Range is not supported with PUT.")
    guard = request.guard()
    node = request.stat()
    if node is not None and node.is_folder:
        raise IsAFolder(request.path)
    if _is_worth_asking_first(request):
        guard.judge(request.path, node, Effect.CREATE if node is None else Effect.MODIFY)
    modified = client_mtime(request)
    attributes = Attributes(known_type(request.environ.get("CONTENT_TYPE")), modified)
    with request.store.upload(request.ctx, request.path, attributes) as upload:
        _receive(request, upload)
        done = upload.commit(
            expected_length=_expected_length(request),
            expected_digests=_expected_digests(request),
            guard=guard,
        )
    headers: Headers = [
        ("ETag", quote_etag(done.node)),
        ("Last-Modified", dates.http_date(int(done.node.modified))),
    ]
    return empty(201 if done.created else 204, headers + accepted_mtime(modified))


def _is_worth_asking_first(request: Request) -> bool:
    """Whether a refusal should come before the body: it waits for 100 Continue, or is large.

    The store judges at the commit in any case, and asking costs a look at the locks.
    """
    length = request.environ.get("CONTENT_LENGTH")
    return not length or int(length) > BLOCK or request.header("EXPECT") is not None


def _receive(request: Request, upload: Upload) -> None:
    """Everything that the client sends. The server raises when it breaks off early."""
    read = request.environ["wsgi.input"].read
    while data := read(BLOCK):
        upload.write(data)


def client_mtime(request: Request) -> float | None:
    """X-OC-Mtime: the file's own time, in seconds since 1970 (rclone, ownCloud, gvfs)."""
    text = request.header("X_OC_MTIME")
    if text is None:
        return None
    seconds = dates.parse_client_seconds(text)
    if seconds is None:
        raise errors.bad_request(f"X-OC-Mtime is not a number of seconds: {text[:40]!r}.")
    return seconds


def accepted_mtime(modified: float | None) -> Headers:
    """What tells the client that its time was taken."""
    return [] if modified is None else [("X-OC-Mtime", "accepted")]


def known_type(said: object) -> str | None:
    """The content type that a client said, None when it says nothing of the content."""
    kind = str(said or "").strip()
    if kind.partition(";")[0].strip().lower() in _UNKNOWN_TYPES or not kind.isprintable():
        return None
    return kind


def _expected_length(request: Request) -> int | None:
    """Content-Length, or what Finder announces beside a chunked body."""
    text = request.environ.get("CONTENT_LENGTH") or request.header("X_EXPECTED_ENTITY_LENGTH")
    return int(text) if text and text.isdecimal() and len(text) < 19 else None


def _expected_digests(request: Request) -> Mapping[str, str] | None:
    """OC-Checksum: "SHA1:<hex>", several separated by spaces."""
    try:
        return checksums.parse(request.header("OC_CHECKSUM") or "") or None
    except ValueError as error:
        raise errors.bad_request(str(error)) from None
