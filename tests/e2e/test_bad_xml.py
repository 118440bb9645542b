"""Bodies that are not the XML of their method, bombs and 10 MB among them."""

from __future__ import annotations

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.e2e.conftest import Place
from tests.e2e.refusal import Unchanged, is_refused

_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b']><D:propfind xmlns:D="DAV:"><D:prop><x>&j;</x></D:prop></D:propfind>'
)
XML = {
    "not XML": b"this is not XML",
    "not well-formed": b'<D:propfind xmlns:D="DAV:"><D:prop></D:propfind>',
    "an unbound prefix": b"<D:propfind><D:allprop/></D:propfind>",
    "a prefix bound to nothing": b'<D:propfind xmlns:D=""><D:allprop/></D:propfind>',
    "another root": b'<D:something xmlns:D="DAV:"/>',
    "the root in a wrong namespace": b'<D:propfind xmlns:D="urn:other"><D:prop/></D:propfind>',
    "a bomb of entities": _BOMB,
    "an external entity": b'<!DOCTYPE p [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    b'<D:propfind xmlns:D="DAV:"><D:prop><x>&e;</x></D:prop></D:propfind>',
    "10 MB": b'<D:propfind xmlns:D="DAV:">' + b" " * 10_000_000 + b"<D:allprop/></D:propfind>",
    "10 MB of depth": b'<D:propfind xmlns:D="DAV:">' + b"<a>" * 3_333_333,
    "bytes that are not UTF-8": b'<D:propfind xmlns:D="DAV:"><D:prop>\xff</D:prop></D:propfind>',
    "an encoding that does not exist": b'<?xml version="1.0" encoding="klingon"?><a/>',
}


@pytest.mark.parametrize("body", XML.values(), ids=XML.keys())
@pytest.mark.parametrize("method", ["PROPFIND", "PROPPATCH", "LOCK"])
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_that_is_not_the_xml_of_its_method_is_refused(
    server: DavServer,
    place: Place,
    client: Client,
    file: str,
    method: str,
    body: bytes,
    chunked: bool,
) -> None:
    with Unchanged(server, place):
        answer = client(method, file, [body] if chunked else body, Depth="0")
        is_refused(answer, *range(400, 500))
    assert client("PUT", file, b"content").status == 204  # no lock was taken


def test_hostile_xml_does_not_make_a_process_grow(server: DavServer, client: Client) -> None:
    before = server.rss_of_workers()
    for body in (XML["a bomb of entities"], XML["10 MB"], XML["10 MB of depth"]):
        for _ in range(5):
            client("PROPFIND", "/", body, Depth="0")
    grown = {pid: size - before.get(pid, 0) for pid, size in server.rss_of_workers().items()}
    assert max(grown.values()) < 32 << 20, grown
