"""A WSGI client: calls the application as a server would, without sockets."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from lxml import etree

from davstore.dav.app import DavApp
from davstore.server.body import ClientGone

DAV = "{DAV:}"


@dataclass(frozen=True)
class Answer:
    """`headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def etag(self) -> str:
        return self.headers["etag"]

    def xml(self) -> Any:
        return etree.fromstring(self.body)

    def responses(self) -> dict[str, dict[str, tuple[int, Any]]]:
        """Of a 207: by href, by property's name, the status and the element."""
        found: dict[str, dict[str, tuple[int, Any]]] = {}
        for response in self.xml().findall(DAV + "response"):
            props = found.setdefault(response.findtext(DAV + "href"), {})
            for propstat in response.findall(DAV + "propstat"):
                status = int(propstat.findtext(DAV + "status").split()[1])
                for element in propstat.find(DAV + "prop"):
                    props[element.tag] = (status, element)
        return found

    def statuses(self) -> dict[str, int]:
        """Of a 207 without propstats: the status by href."""
        return {
            response.findtext(DAV + "href"): int(response.findtext(DAV + "status").split()[1])
            for response in self.xml().findall(DAV + "response")
        }

    def text(self, href: str, name: str) -> str | None:
        """The text of a property that is there."""
        status, element = self.responses()[href][name]
        assert status == 200, (href, name, status)
        text: str | None = element.text
        return text


class Chunked(io.BytesIO):
    """A body without a Content-Length."""


class BrokenOff(io.BytesIO):
    """A body whose client goes away before its end, as the server reports it."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise ClientGone("the client is gone")
        return data


class BrokenOffChunked(Chunked, BrokenOff):
    """The same without a Content-Length."""


class Dav:
    """`user` is sent with every request as "name:password"."""

    def __init__(self, app: DavApp, user: str | None = None) -> None:
        self.app = app
        self.user = user

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | str | io.BytesIO = b"",
        /,
        **headers: str,
    ) -> Answer:
        """Headers by their names with `_` for `-`; `if_` is If."""
        stream = body if isinstance(body, io.BytesIO) else io.BytesIO(_encoded(body))
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "REQUEST_URI": target,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "wsgi.url_scheme": "http",
            "wsgi.input": stream,
            "davstore.request_id": "test",
        }
        if not isinstance(stream, Chunked) and stream.getvalue():
            environ["CONTENT_LENGTH"] = str(len(stream.getvalue()))
        if self.user is not None:
            credentials = base64.b64encode(self.user.encode()).decode()
            environ["HTTP_AUTHORIZATION"] = f"Basic {credentials}"
        for name, value in headers.items():
            key = name.upper().rstrip("_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = value
        return self._call(environ)

    def _call(self, environ: dict[str, Any]) -> Answer:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> None:
            started.append((status, headers))

        body = self.app(environ, start_response)
        content = _drained(body)
        status, headers = started[0]
        for name, value in headers:
            assert isinstance(name, str) and isinstance(value, str), (name, value)
        found = {name.lower(): value for name, value in headers}
        if environ["REQUEST_METHOD"] == "HEAD":
            assert content == b""
        elif "content-length" in found:
            assert int(found["content-length"]) == len(content)
        return Answer(int(status.split()[0]), found, content)

    def put(self, path: str, content: bytes = b"content", **headers: str) -> Answer:
        answer = self("PUT", path, content, **headers)
        assert answer.status in (201, 204), answer
        return answer

    def mkcol(self, path: str) -> None:
        assert self("MKCOL", path).status == 201

    def get(self, path: str) -> bytes:
        answer = self("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def lock(self, path: str, *, scope: str = "exclusive", **headers: str) -> str:
        """The token of a new lock."""
        answer = self("LOCK", path, lockinfo(scope), **headers)
        assert answer.status in (200, 201), answer
        return answer.headers["lock-token"].strip("<>")

    def propfind(self, path: str, *names: str, depth: str = "0") -> Answer:
        """The named properties (Clark names), or allprop."""
        body = b"" if not names else propfind_body(*names)
        answer = self("PROPFIND", path, body, depth=depth)
        assert answer.status == 207, answer
        return answer


def _encoded(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _drained(body: Iterable[bytes]) -> bytes:
    try:
        return b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def propfind_body(*names: str) -> bytes:
    root = etree.Element(DAV + "propfind")
    prop = etree.SubElement(root, DAV + "prop")
    for name in names:
        etree.SubElement(prop, name)
    return etree.tostring(root)


def proppatch_body(sets: dict[str, str], removes: Iterable[str] = ()) -> bytes:
    root = etree.Element(DAV + "propertyupdate")
    for name, text in sets.items():
        prop = etree.SubElement(etree.SubElement(root, DAV + "set"), DAV + "prop")
        etree.SubElement(prop, name).text = text
    for name in removes:
        prop = etree.SubElement(etree.SubElement(root, DAV + "remove"), DAV + "prop")
        etree.SubElement(prop, name)
    return etree.tostring(root)


def lockinfo(scope: str = "exclusive") -> str:
    return (
        '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:">'
        f"<D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>"
        "<D:owner>somebody</D:owner></D:lockinfo>"
    )
