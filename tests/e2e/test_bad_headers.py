"""Header fields that are wrong: refused, or ignored where RFC 9110 says so."""

from __future__ import annotations

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.e2e.conftest import Place
from tests.e2e.refusal import CHANGE_BODY, LOCK_BODY, Unchanged, is_refused


@pytest.mark.parametrize("wanted", ["bytes=7-", "bytes=100-200", "bytes=-0", "bytes=8-9,100-"])
def test_a_range_behind_the_end_is_answered_416_with_the_length(
    client: Client, file: str, wanted: str
) -> None:
    answer = client("GET", file, Range=wanted)
    is_refused(answer, 416)
    assert answer.header("Content-Range") == "bytes */7"


@pytest.mark.parametrize(
    "wanted", ["items=0-3", "bytes=a-b", "bytes=3-1", "bytes", "bytes=", "bytes=--1", "0-3"]
)
def test_a_range_that_cannot_be_read_is_ignored(client: Client, file: str, wanted: str) -> None:
    answer = client("GET", file, Range=wanted)
    assert (answer.status, answer.body) == (200, b"content")


@pytest.mark.parametrize("field", ["If-Modified-Since", "If-Unmodified-Since", "If-Range"])
@pytest.mark.parametrize(
    "date",
    ["yesterday", "Mon, 99 Foo 2024 25:61:61 GMT", "0", "", "Mon, 01 Jan 99999 00:00:00 GMT"],
)
def test_a_date_that_cannot_be_read_is_ignored(
    client: Client, file: str, field: str, date: str
) -> None:
    answer = client("GET", file, **{field: date})
    assert (answer.status, answer.body) == (200, b"content")


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "nothing",
        "(",
        "()",
        "(<urn:uuid:1>",
        '(["a)',
        "<no-list>",
        "(Not)",
        "(<opaquelocktoken:unknown>)",
        '(["wrong"])',
        "<http://localhost/other> (<opaquelocktoken:unknown>)",
        "(" * 10_000,
    ],
)
def test_an_if_header_that_is_wrong_or_does_not_hold_lets_nothing_happen(
    server: DavServer, place: Place, client: Client, file: str, condition: str
) -> None:
    with Unchanged(server, place):
        for method in ("PUT", "DELETE", "PROPPATCH"):
            body = {"PUT": b"changed", "PROPPATCH": CHANGE_BODY}.get(method, b"")
            is_refused(client(method, file, body, If=condition))


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("PROPFIND", {"Depth": "2"}),
        ("PROPFIND", {"Depth": "many"}),
        ("COPY", {"Destination": "/there", "Depth": "1"}),
        ("MOVE", {"Destination": "/there", "Depth": "0"}),
        ("COPY", {"Destination": "/there", "Overwrite": "maybe"}),
        ("COPY", {}),
        ("MOVE", {"Destination": ""}),
        ("MOVE", {"Destination": "mailto:somebody"}),
        ("MOVE", {"Destination": "http://elsewhere.example/there"}),
        ("MOVE", {"Destination": "http://[::1/there"}),
        ("LOCK", {"Depth": "1"}),
        ("UNLOCK", {}),
        ("UNLOCK", {"Lock-Token": "nonsense"}),
        ("UNLOCK", {"Lock-Token": "<opaquelocktoken:unknown>"}),
        ("PUT", {"Content-Range": "bytes 0-3/7"}),
        ("MKCOL", {}),
        ("POST", {}),
    ],
)
def test_a_header_that_its_method_cannot_do_with_is_refused_and_nothing_changes(
    server: DavServer, place: Place, client: Client, method: str, fields: dict[str, str]
) -> None:
    folder = f"{place.path}folder/"
    client("MKCOL", folder)
    client("PUT", f"{folder}member.txt", b"member")
    target = f"{folder}member.txt" if method in ("PUT", "POST", "UNLOCK") else folder
    bodies = {"LOCK": LOCK_BODY, "PUT": b"changed", "POST": b"x"}
    with Unchanged(server, place):
        answer = client(
            method,
            target,
            bodies.get(method, b""),
            **fields,
        )
        is_refused(answer, *range(400, 500), 501, 502)


def test_a_folder_with_a_body_in_its_mkcol_is_refused_with_415(
    server: DavServer, place: Place, client: Client
) -> None:
    with Unchanged(server, place):
        is_refused(client("MKCOL", f"{place.path}new/", b"<body/>"), 415)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("LOCK", {"Timeout": "Second-soon"}),
        ("LOCK", {"Timeout": "Second-99999999999999999999"}),
        ("PUT", {"X-Expected-Entity-Length": "many"}),
        ("PUT", {"X-OC-Mtime": "soon"}),
        ("PUT", {"X-OC-Mtime": "99999999999999999999"}),
        ("PUT", {"X-OC-Mtime": "nan"}),
        ("PUT", {"OC-Checksum": "SHA1:nonsense"}),
        ("PUT", {"OC-Checksum": "MD9:00"}),
        ("PUT", {"Content-Type": "no type"}),
        ("PUT", {"Content-Type": "text/plain; charset=\xff"}),
        ("GET", {"Accept-Encoding": "klingon"}),
        ("GET", {"Expect": "miracles"}),
        ("GET", {"Cookie": "\xe4" * 5000}),
    ],
)
def test_a_header_that_may_be_refused_or_ignored_never_leads_to_an_error_of_the_server(
    client: Client, file: str, method: str, fields: dict[str, str]
) -> None:
    body = {"LOCK": LOCK_BODY, "PUT": b"content"}.get(method, b"")
    assert client(method, file, body, **fields).status < 500
    assert client("GET", file).body == b"content"
