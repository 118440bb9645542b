"""Two servers on one database, and the twin: what each is asked, and what of it must be alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lxml import etree

from tests.components.davserver import DavServer
from tests.components.http import DAV, Answer, Client

#: Properties whose values are each server's own.
_VOLATILE = {
    DAV + name
    for name in (
        "creationdate",
        "getlastmodified",
        "getetag",
        "quota-available-bytes",
        "quota-used-bytes",
    )
}

#: In a folder's page.
_TIME = re.compile(b"<time .*?</time>")

Plain = tuple[Any, ...]


@dataclass
class HeldLock:
    """One lock: its token on the database's side and on the twin's, and who holds it."""

    path: str
    tokens: tuple[str, str]
    holder: int


class Twins:
    """Number 0 and 1 are the servers on one database; the twin is asked the same as either."""

    def __init__(self, servers: tuple[DavServer, DavServer], twin: DavServer) -> None:
        self._clients = [Client(server.address) for server in servers]
        self._twin = Client(twin.address)

    def ask(
        self,
        who: int,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        to: str | None = None,
        lock: HeldLock | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, Answer]:
        """The answers of server `who` and of the twin, which have to be alike.

        `to` is the Destination; `lock` is submitted by its token.
        """
        answers = []
        for side, client in enumerate((self._clients[who], self._twin)):
            fields = dict(headers or {})
            if to is not None:
                fields["Destination"] = f"http://127.0.0.1:{client.address[1]}{to}"
            if lock is not None:
                fields["If"] = f"<{lock.path}> (<{lock.tokens[side]}>)"
            answers.append(client(method, path, body, **fields))
        got, wanted = answers
        assert plain(got) == plain(wanted), (
            f"server {who}, {method} {path} -> {to}:\n{got.status} {got.text}\n"
            f"the twin: {wanted.status} {wanted.text}"
        )
        assert got.status < 500, got
        return got, wanted

    def etags(self, who: int, path: str) -> tuple[str | None, str | None]:
        """Of what is there now, on both sides."""
        got, wanted = self.ask(who, "HEAD", path)
        return got.header("ETag"), wanted.header("ETag")

    def ask_each(
        self, who: int, method: str, path: str, body: bytes, headers: tuple[Mapping[str, str], ...]
    ) -> None:
        """As `ask`, with headers that differ from side to side."""
        client = self._clients[who]
        got = client(method, path, body, **headers[0])
        wanted = self._twin(method, path, body, **headers[1])
        assert plain(got) == plain(wanted), (method, path, got, wanted)

    def files(self, who: int, folder: str) -> list[str]:
        """The paths of all files below, by one listing; both sides list the same."""
        got, _ = self.ask(who, "PROPFIND", folder, headers={"Depth": "infinity"})
        assert got.status == 207, got
        found = [one.findtext(f"{DAV}href") or "" for one in got.xml.iterfind(f"{DAV}response")]
        return [href for href in found if not href.endswith("/")]


def plain(answer: Answer) -> Plain:
    """What two servers have to answer alike."""
    kind = (answer.header("Content-Type") or "").partition(";")[0]
    if kind.endswith("/xml") and answer.body:
        return answer.status, _plain_xml(answer.xml)
    if answer.status >= 400:
        return (answer.status,)
    return answer.status, kind, _TIME.sub(b"", answer.body)


def _plain_xml(root: etree._Element) -> Any:
    if root.tag == f"{DAV}prop":
        return sorted(_plain_lock(lock) for lock in root.iter(f"{DAV}activelock"))
    if root.tag != f"{DAV}multistatus":
        return root.tag, sorted(_path(href.text) for href in root.iter(f"{DAV}href"))
    return sorted(_plain_response(one) for one in root.iterfind(f"{DAV}response"))


def _plain_response(response: etree._Element) -> Plain:
    properties = []
    for propstat in response.iterfind(f"{DAV}propstat"):
        status = propstat.findtext(f"{DAV}status") or ""
        for found in propstat.iterfind(f"{DAV}prop/*"):
            if found.tag == f"{DAV}lockdiscovery":
                value = str(sorted(map(_plain_lock, found)))
            else:
                value = "" if found.tag in _VOLATILE else _text_of(found)
            properties.append((str(found.tag), value, status))
    href = _path(response.findtext(f"{DAV}href"))
    return href, response.findtext(f"{DAV}status") or "", sorted(properties)


def _text_of(element: etree._Element) -> str:
    return (element.text or "") + "".join(str(child.tag) for child in element)


def _plain_lock(lock: etree._Element) -> Plain:
    """Without its token and the time that is left."""
    scope = [str(found.tag) for found in lock.iterfind(f"{DAV}lockscope/*")]
    root = _path(lock.findtext(f"{DAV}lockroot/{DAV}href"))
    return root, lock.findtext(f"{DAV}depth") or "", scope


def _path(href: str | None) -> str:
    return urlsplit(href or "").path
