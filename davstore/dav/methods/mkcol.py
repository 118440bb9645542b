"""MKCOL (RFC 4918, 9.3)."""

from __future__ import annotations

from wsgidav.dav_error import DAVError

from davstore.auth.base import Action
from davstore.dav.request import Request
from davstore.dav.response import Response, empty


def mkcol(request: Request) -> Response:
    """201. A body of any kind is not understood: 415 (9.3)."""
    request.require(Action.WRITE)
    if request.environ["wsgi.input"].read(1):
        raise DAVError(415, "MKCOL takes no body.")
    request.store.create_folder(request.ctx, request.path, request.guard())
    return empty(201)
