"""Talking HTTP to a server: whole requests, and raw bytes for what no client would send."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lxml import etree

DAV = "{DAV:}"


class Answer(NamedTuple):
    """A whole response. `headers` finds names in any case; doubled ones are joined."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def xml(self) -> etree._Element:
        return etree.fromstring(self.body)

    def header(self, name: str) -> str | None:
        found = self.headers.get_all(name)
        return ", ".join(found) if found else None


class Client:
    """One connection per request, so that nothing of an earlier request shines through."""

    def __init__(
        self,
        address: tuple[str, int],
        user: str | None = None,
        password: str = "",
        timeout: float = 30,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.headers = dict(headers or {})
        if user is not None:
            word = base64.b64encode(f"{user}:{password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {word}"

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | str | Iterable[bytes] = b"",
        **headers: str | None,
    ) -> Answer:
        """`target` is sent as it is. Underscores in header names stand for hyphens.

        An iterable body goes out chunked, unless a Content-Length is given; None leaves a
        header out.
        """
        with self.connection() as connection:
            return ask(connection, method, target, body, {**self.headers, **named(headers)})

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(*self.address, timeout=self.timeout)
        try:
            yield connection
        finally:
            connection.close()


def named(headers: Mapping[str, str | None]) -> dict[str, str]:
    """Keyword arguments as header fields."""
    return {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | str | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on an open connection."""
    content = body.encode() if isinstance(body, str) else body
    fields = dict(headers or {})
    chunked = not isinstance(content, bytes) and "Content-Length" not in fields
    if isinstance(content, bytes) and (content or method in ("PUT", "POST")):
        fields.setdefault("Content-Length", str(len(content)))
    elif chunked:
        fields["Transfer-Encoding"] = "chunked"
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        # The server may answer, and stop reading, before the end of the body.
        connection.request(method, target, content or None, fields, encode_chunked=chunked)
    with connection.getresponse() as response:
        return Answer(response.status, response.reason, response.msg, response.read())


def exchange(
    address: tuple[str, int], sent: bytes, *, method: str = "GET", timeout: float = 30
) -> Answer:
    """Send raw bytes and read one response.

    `method` tells how to read it (HEAD has no body). Raises http.client.HTTPException or
    OSError when the connection ends without one.
    """
    with socket.create_connection(address, timeout=timeout) as link:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            link.sendall(sent)  # the server may answer, and stop reading, before the end
        with http.client.HTTPResponse(link, method=method) as response:
            response.begin()
            return Answer(response.status, response.reason, response.msg, response.read())


def hrefs(answer: Answer) -> list[str]:
    """The href of every response in a multi-status."""
    return [found.text or "" for found in answer.xml.iterfind(f"{DAV}response/{DAV}href")]


def properties(answer: Answer, href: str | None = None) -> dict[str, etree._Element]:
    """The properties with status 200 of the response for `href` (of the first one)."""
    for response in answer.xml.iterfind(f"{DAV}response"):
        if href is None or response.findtext(f"{DAV}href") == href:
            found: dict[str, etree._Element] = {}
            for propstat in response.iterfind(f"{DAV}propstat"):
                if " 200 " in (propstat.findtext(f"{DAV}status") or "") + " ":
                    found |= {str(e.tag): e for e in propstat.iterfind(f"{DAV}prop/*")}
            return found
    raise AssertionError(f"no response for {href} in {answer.text[:2000]}")
