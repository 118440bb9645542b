"""From a parsed request to the method that answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from wsgidav.dav_error import DAVError
from wsgidav.request_server import RequestServer as WsgiDavRequestServer

from davstore.dav.methods.delete import delete
from davstore.dav.methods.get import get
from davstore.dav.methods.lock import lock, unlock
from davstore.dav.methods.mkcol import mkcol
from davstore.dav.methods.options import WRITE_METHODS, headers, options
from davstore.dav.methods.patch import patch
from davstore.dav.methods.propfind import propfind
from davstore.dav.methods.proppatch import proppatch
from davstore.dav.methods.put import put
from davstore.dav.methods.transfer import copy, move
from davstore.dav.provider import StoreProvider
from davstore.dav.request import Environ, Realm, Request
from davstore.dav.response import Headers, Response

METHODS: Mapping[str, Callable[[Request], Response]] = {
    "GET": get,
    "HEAD": get,
    "PROPFIND": propfind,
    "PROPPATCH": proppatch,
    "PUT": put,
    "PATCH": patch,
    "DELETE": delete,
    "MKCOL": mkcol,
    "COPY": copy,
    "MOVE": move,
    "LOCK": lock,
    "UNLOCK": unlock,
    "OPTIONS": lambda request: options(read_only=request.share.read_only),
}

#: Known methods that have no meaning here: 405. Whatever else is unknown: 501.
_NOT_ALLOWED = ("POST", "TRACE", "CONNECT")


class RequestServer(WsgiDavRequestServer):
    """Answers the requests for one share.

    wsgidav's own methods replace in place, delete before they move and hold answers in
    memory, so none of them is used: each method is a function of ours (`METHODS`).
    """

    def __init__(self, provider: StoreProvider, realm: Realm) -> None:
        super().__init__(provider)
        self._realm = realm

    def __call__(
        self, environ: Environ, start_response: Callable[[str, Headers], object]
    ) -> Iterable[bytes]:
        request: Request = environ["davstore.request"]
        method = METHODS.get(request.method)
        read_only = request.share.read_only
        if method is None:
            if request.method in _NOT_ALLOWED:
                raise DAVError(405, add_headers=headers(read_only=read_only)[:1])
            raise DAVError(501, "This method is not known here.")
        if read_only and request.method in WRITE_METHODS:
            raise DAVError(403, "This share is read-only.")
        return method(request).start(start_response)
