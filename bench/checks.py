"""That a server does what the others do: a rate of wrong or short answers would mean nothing."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from lxml import etree


class Refused(Exception):
    """A server did not answer a load as it has to; the figure would mean nothing."""


def check_listing(url: str, depth: int, count: int) -> int:
    """One PROPFIND has to be answered with 207 and `count` resources; the length of its body."""
    status, _, body = _ask(url, "PROPFIND", {"Depth": str(depth)})
    if status != 207:
        raise Refused(f"PROPFIND: status {status} instead of 207")
    found = len(etree.fromstring(body).findall("{DAV:}response"))
    if found != count:
        raise Refused(f"PROPFIND: {found} resources instead of {count}")
    return len(body)


def check_content(url: str, length: int) -> int:
    """One GET has to be answered with 200 and `length` bytes; returns `length`."""
    status, _, body = _ask(url, "GET")
    if status != 200 or len(body) != length:
        raise Refused(f"GET: status {status} and {len(body)} bytes instead of 200 and {length}")
    return length


def check_size(url: str, length: int) -> None:
    """Without reading a large file: the length that HEAD tells."""
    status, headers, _ = _ask(url, "HEAD")
    told = headers.get("Content-Length")
    if status != 200 or told != str(length):
        raise Refused(f"HEAD: status {status} and length {told} instead of {length}")


def _ask(
    url: str, method: str, headers: Mapping[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request(method, parts.path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{method}: {error!r}") from error
    finally:
        connection.close()
