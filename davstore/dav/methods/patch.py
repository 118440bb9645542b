"""PATCH as Nextcloud's clients use it: ask for a file's checksum. Nothing changes."""

from __future__ import annotations

from wsgidav.dav_error import DAVError

from davstore.auth.base import Action
from davstore.dav import checksums, errors
from davstore.dav.methods.options import headers
from davstore.dav.request import Request
from davstore.dav.response import Response, empty
from davstore.errors import NotFound


def patch(request: Request) -> Response:
    """204 with OC-Checksum for X-Recalculate-Hash, which rclone sends after it set a time.

    405 without that header: contents are replaced by PUT only.
    """
    request.require(Action.READ)
    name = request.header("X_RECALCULATE_HASH")
    if name is None:
        raise DAVError(405, add_headers=headers(read_only=request.share.read_only)[:1])
    algorithm = checksums.algorithm_of(name)
    if algorithm is None:
        raise errors.bad_request(f"X-Recalculate-Hash names no known algorithm: {name[:40]!r}.")
    node = request.stat()
    if node is None:
        raise NotFound(request.path)
    guard = request.guard()
    guard.check_preconditions(node)
    with request.store.open(request.ctx, request.path) as reader:
        text = checksums.text_of({algorithm: checksums.digest_of(reader, algorithm)})
    return empty(204, [("OC-Checksum", text)])
