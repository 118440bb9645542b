"""OPTIONS (RFC 9110, 9.3.7; RFC 4918, 10.1)."""

from __future__ import annotations

from davstore.dav.response import Headers, Response, empty

READ_METHODS = ("OPTIONS", "GET", "HEAD", "PROPFIND")
WRITE_METHODS = ("PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK")


def headers(*, read_only: bool) -> Headers:
    """What this server can do. A share that cannot be written has no class 2 (18.2)."""
    methods = READ_METHODS if read_only else READ_METHODS + WRITE_METHODS
    return [
        ("Allow", ", ".join(methods)),
        ("DAV", "1, 3" if read_only else "1, 2, 3"),
        # Without it Office opens read-only and Explorer looks for FrontPage.
        ("MS-Author-Via", "DAV"),
        ("Accept-Ranges", "bytes"),
    ]


def options(*, read_only: bool) -> Response:
    return empty(200, headers(read_only=read_only))
