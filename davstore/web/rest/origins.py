"""Web pages of other origins: what a browser may send for them, and what it may show them.

A browser that is logged in, or sits on the machine of an open server, sends whatever a page
tells it to. Without the operator's word no page but this server's own may change anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from davstore.dav.request import Environ
from davstore.dav.response import Headers
from davstore.web.rest.problems import Problem

_SAFE = ("GET", "HEAD", "OPTIONS")

#: What a page of an allowed origin may read beyond what every page may.
_EXPOSED = (
    "ETag, Location, Content-Range, Content-Disposition, Accept-Ranges, Retry-After, Link, "
    "Repr-Digest, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
    "Tus-Checksum-Algorithm, Upload-Offset, Upload-Length, Upload-Expires, Upload-Metadata"
)

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

#: Seconds for which a browser need not ask again.
_MAX_AGE = "600"


class Origins:
    """`allowed` are origins as browsers write them: "https://app.example.org"."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, environ: Environ) -> None:
        """Raise 403 when a page may not send this request."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or environ["REQUEST_METHOD"] in _SAFE or self._may(environ, origin):
            return
        raise _refused()

    def preflight(self, environ: Environ) -> Headers | None:
        """What a browser hears that asks before it sends; None when this is no such question.

        Raises 403 for a page that may not. It comes without credentials, so nobody is asked who
        it is.
        """
        origin = environ.get("HTTP_ORIGIN")
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_METHOD")
        if environ["REQUEST_METHOD"] != "OPTIONS" or origin is None or asked is None:
            return None
        if not self._may(environ, origin):
            raise _refused()
        headers = [
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Max-Age", _MAX_AGE),
        ]
        fields = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
        if fields:
            headers.append(("Access-Control-Allow-Headers", fields))
        return headers

    def shown(self, environ: Environ) -> Headers:
        """What lets a page of an allowed origin see the answer; on every answer."""
        if not self._allowed:
            return []
        origin = environ.get("HTTP_ORIGIN")
        headers = [("Vary", "Origin")]
        if origin in self._allowed:
            headers.append(("Access-Control-Allow-Origin", str(origin)))
            headers.append(("Access-Control-Expose-Headers", _EXPOSED))
        return headers

    def _may(self, environ: Environ, origin: str) -> bool:
        return origin in self._allowed or _is_own(environ, origin)


def _is_own(environ: Environ, origin: str) -> bool:
    """Whether the page came from this server: by host and port, as the client named them.

    The scheme is not compared: behind a proxy that is not trusted it is not known.
    """
    try:
        parts = urlsplit(origin)
        own = urlsplit("//" + environ.get("HTTP_HOST", ""))
        default = {"http": 80, "https": 443}.get(parts.scheme)
        if default is None or parts.hostname is None:
            return False
        ports = parts.port or default, own.port or default
    except ValueError:
        return False
    return parts.hostname == own.hostname and ports[0] == ports[1]


def _refused() -> Problem:
    sentence = "Pages of this origin may not send this; see rest.origins in the settings."
    return Problem(403, "cross-origin", sentence, field="Origin")
