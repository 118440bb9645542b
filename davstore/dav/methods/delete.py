"""DELETE (RFC 4918, 9.6): of a tree too, it is one step."""

from __future__ import annotations

from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.auth.base import Action
from davstore.dav import multistatus
from davstore.dav.errors import as_dav_error
from davstore.dav.request import INFINITY, Request
from davstore.dav.response import Response, empty
from davstore.errors import Locked, NotFound


def delete(request: Request) -> Response:
    request.require(Action.DELETE)
    node = request.stat()
    if node is None:
        raise NotFound(request.path)
    if node.is_folder:
        request.depth(INFINITY, INFINITY)  # 9.6.1: nothing else can be asked for
    try:
        request.store.delete(request.ctx, request.path, request.guard())
    except Locked as error:
        return locked_below(request, error, request.url_path)
    # After the deletion: a lock that stays for a moment does no harm, one that goes too early does.
    request.locks.forget(request.url_path)
    return empty(204)


def locked_below(request: Request, error: Locked, url_path: str) -> Response:
    """207 with 423 for each locked member below `url_path` (9.6.2); raises 423 otherwise."""
    members = [root for root in error.roots if root != url_path and paths.is_within(root, url_path)]
    if not members:
        raise as_dav_error(error, lambda root: request.href(root, is_folder=False))
    return multistatus.multistatus(
        multistatus.status_response(request.href(root, is_folder=False), DAVError(423))
        for root in members
    )
