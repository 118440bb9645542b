"""Listings, new folders, moves, copies and searches, over each kind of store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.components.http import Client
from tests.dav.client import lockinfo
from tests.web.rest.face import Rest, href, problem

NDJSON = "application/x-ndjson"


def put(client: Client, path: str, content: bytes = b"", when: int = 1) -> None:
    assert client("PUT", path, content, X_OC_Mtime=str(when)).status in (201, 204)


def document(rest: Rest, target: str, **headers: str) -> Any:
    answer = rest("GET", target, **headers)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def pages(rest: Rest, target: str) -> list[list[str]]:
    """The names of all pages of a listing, whose target has a query already."""
    found = []
    cursor = None
    while True:
        page = document(rest, target + (f"&cursor={cursor}" if cursor else ""))
        found.append([entry["name"] for entry in page["entries"]])
        cursor = page["next"]
        if cursor is None:
            return found
        assert len(found) < 100, "the pages do not end"


def found(rest: Rest, **wanted: object) -> list[str]:
    """What a search finds below a place, on all its pages."""
    paths: list[str] = []
    while True:
        answer = rest.post("search", wanted)
        assert answer.status == 200, answer
        page = json.loads(answer.body)
        paths += [entry["path"] for entry in page["entries"]]
        if page["next"] is None:
            return paths
        wanted["cursor"] = page["next"]


@pytest.fixture
def files(client: Client, place: str) -> str:
    """A folder with four files and a folder."""
    for name, size, when in (("b", 3, 50), ("a.txt", 1, 40), ("d.txt", 3, 30), ("c ö", 2, 20)):
        put(client, href(f"{place}/{name}"), b"x" * size, when)
    client("MKCOL", f"{place}/folder")
    return place


def test_a_listing_has_what_webdav_knows(client: Client, rest: Rest, place: str) -> None:
    put(client, f"{place}/a", b"content", 784111777)
    page = document(rest, f"list{place}")
    assert (page["path"], page["next"]) == (place, None)
    (entry,) = page["entries"]
    assert entry == document(rest, f"stat{place}/a")
    assert (entry["kind"], entry["size"]) == ("file", 7)
    assert entry["modified"] == "1994-11-06T08:49:37Z"
    assert document(rest, f"list{place}/") == page
    names = [entry["name"] for entry in document(rest, "list")["entries"]]
    assert place[1:] in names
    assert [entry["name"] for entry in document(rest, "list/")["entries"]] == names
    problem(rest("GET", f"list{place}/a"), 409, "not-a-folder")
    problem(rest("GET", f"list{place}/none"), 404, "not-found")


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_pages_come_in_each_order(rest: Rest, files: str, limit: int) -> None:
    for sort, names in (
        ("name", ["a.txt", "b", "c ö", "d.txt", "folder"]),
        ("size", ["folder", "a.txt", "c ö", "b", "d.txt"]),
        ("-size", ["b", "d.txt", "c ö", "a.txt", "folder"]),
        ("modified", ["c ö", "d.txt", "a.txt", "b", "folder"]),
        ("-modified", ["folder", "b", "a.txt", "d.txt", "c ö"]),
    ):
        got = pages(rest, f"list{files}?sort={sort}&limit={limit}")
        assert [name for page in got for name in page] == names, sort
        assert [len(page) for page in got] == [min(limit, 5 - at) for at in range(0, 5, limit)], (
            sort
        )


def test_a_listing_can_be_filtered(rest: Rest, files: str) -> None:
    for pattern, names in (
        ("*.txt", ["a.txt", "d.txt"]),
        ("?.txt", ["a.txt", "d.txt"]),
        ("[ab]*", ["a.txt", "b"]),
        ("[!ab]*", ["c ö", "d.txt", "folder"]),
        ("*%20o%CC%88", ["c ö"]),  # decomposed, as macOS writes it
        ("*.TXT", []),
        ("(", []),
    ):
        for more in ("", "&limit=1", "&sort=size"):
            got = pages(rest, f"list{files}?match={pattern}{more}")
            assert sorted(name for page in got for name in page) == names, (pattern, more)


def test_a_stream_is_one_document_per_line(rest: Rest, files: str) -> None:
    answer = rest("GET", f"list{files}", Accept=NDJSON)
    assert answer.header("Content-Type") == NDJSON
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines == document(rest, f"list{files}")["entries"]
    answer = rest("GET", f"list{files}?match=*.txt&limit=1", Accept=f"text/html;q=0, {NDJSON};q=1")
    assert [json.loads(line)["name"] for line in answer.body.splitlines()] == ["a.txt"]
    problem(rest("GET", f"list{files}?sort=size", Accept=NDJSON), 400, "parameter-invalid", "sort")
    problem(rest("GET", f"list{files}/b", Accept=NDJSON), 409, "not-a-folder")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("limit=0", "parameter-invalid", "limit"),
        ("limit=10001", "parameter-invalid", "limit"),
        ("limit=1e2", "parameter-invalid", "limit"),
        ("limit=", "parameter-invalid", "limit"),
        ("sort=age", "parameter-invalid", "sort"),
        ("match=", "parameter-invalid", "match"),
        ("match=" + "x" * 256, "parameter-invalid", "match"),
        ("cursor=x", "cursor-invalid", "cursor"),
        ("cursor=", "cursor-invalid", "cursor"),
        ("cursor=%C3%A9", "cursor-invalid", "cursor"),
        ("cursor=WyJzaXplIiwxLCJhIl0", "cursor-invalid", "cursor"),  # ["size",1,"a"]
        ("cursor=WyJuYW1lIiwxLCJhIl0", "cursor-invalid", "cursor"),  # ["name",1,"a"]
        ("cursor=WyJuYW1lIiwiIiwiXHVkODAwIl0", "cursor-invalid", "cursor"),  # half a character
        ("cursor=" + "W1tb" * 4000, "cursor-invalid", "cursor"),
        ("cursor=" + "x" * 20001, "parameter-invalid", "cursor"),
        ("depth=1", "parameter-unknown", "depth"),
    ],
)
def test_a_wrong_listing_names_the_field(
    rest: Rest, place: str, query: str, code: str, field: str
) -> None:
    problem(rest("GET", f"list{place}?{query}"), 400, code, field)


def test_a_folder_is_made(client: Client, rest: Rest, place: str) -> None:
    answer = rest("POST", f"mkdir{place}/{href('ä b')}")
    assert answer.status == 201, answer
    assert answer.header("Location") == f"/filestorage/v1.0.0/list{place}/{href('ä b')}"
    assert json.loads(answer.body)["kind"] == "folder"
    assert client("PROPFIND", f"{place}/{href('ä b')}", Depth="0").status == 207
    problem(rest("POST", f"mkdir{place}/{href('ä b')}"), 409, "exists")
    problem(rest("POST", f"mkdir{place}/x/y/z"), 409, "parent-missing")
    assert rest.post(f"mkdir{place}/x/y/z", {"parents": True}).status == 201
    assert rest("POST", f"mkdir{place}/x/y/z?parents=1").status == 200
    put(client, f"{place}/file")
    problem(rest("POST", f"mkdir{place}/file?parents=1"), 409, "exists")
    problem(rest("POST", f"mkdir{place}/file/a?parents=1"), 409, "not-a-folder")
    problem(rest("POST", "mkdir/"), 409, "exists")


def test_a_move_is_one_step(client: Client, rest: Rest, place: str) -> None:
    put(client, f"{place}/a", b"content", 40)
    before = document(rest, f"stat{place}/a")
    target = f"{place}/ö ?#%.txt"
    answer = rest.post(f"move{place}/a", {"destination": target})
    assert answer.status == 201, answer
    assert json.loads(answer.body)["path"] == target
    assert answer.header("Location") == "/filestorage/v1.0.0/download" + href(target)
    after = document(rest, "stat" + href(target))
    for kept in ("size", "created", "modified", "digests"):
        assert after[kept] == before[kept]
    assert client("GET", f"{place}/a").status == 404
    put(client, f"{place}/b", b"other")
    problem(rest.post(f"move{place}/b", {"destination": target}), 409, "exists")
    answer = rest.post(f"move{place}/b", {"destination": target, "overwrite": True})
    assert (answer.status, answer.header("Location")) == (200, None)
    assert client("GET", href(target)).body == b"other"


def test_a_tree_is_copied_as_one(client: Client, rest: Rest, place: str) -> None:
    assert rest("POST", f"mkdir{place}/a/b?parents=true").status == 201
    put(client, f"{place}/a/b/c", b"content", 40)
    form = f"destination={place}/copy&overwrite=false"
    kind = "application/x-www-form-urlencoded"
    answer = rest("POST", f"copy{place}/a", form, Content_Type=kind)
    assert answer.status == 201, answer
    assert answer.header("Location") == f"/filestorage/v1.0.0/list{place}/copy"
    assert rest("GET", f"download{place}/copy/b/c").body == b"content"
    assert document(rest, f"stat{place}/copy/b/c")["modified"] == "1970-01-01T00:00:40Z"
    problem(rest.post(f"copy{place}/a", {"destination": f"{place}/a/b/x"}), 409, "into-itself")
    problem(rest.post(f"move{place}/a", {"destination": f"{place}/a"}), 409, "into-itself")
    for verb in ("move", "copy"):
        answer = rest.post(f"{verb}{place}/a", {"destination": f"{place}/x"}, If_Match='"x"')
        problem(answer, 412, "precondition-failed")


@pytest.mark.parametrize("verb", ["move", "copy"])
def test_a_wrong_transfer_changes_nothing(
    client: Client, rest: Rest, place: str, verb: str
) -> None:
    put(client, f"{place}/a", b"content")
    source = f"{verb}{place}/a"
    kind = "application/json"
    for body, code, field in (
        ({}, "parameter-missing", "destination"),
        ({"destination": ""}, "parameter-invalid", "destination"),
        ({"destination": 5}, "parameter-invalid", "destination"),
        ({"destination": "b"}, "parameter-invalid", "destination"),
        ({"destination": "/x/../y"}, "name-invalid", "destination"),
        ({"destination": "/\0"}, "name-invalid", "destination"),
        ({"destination": "/" + "x" * 256}, "name-too-long", "destination"),
        ({"destination": f"{place}/b", "overwrite": "perhaps"}, "parameter-invalid", "overwrite"),
        ({"destination": f"{place}/b", "overwrite": 1}, "parameter-invalid", "overwrite"),
        ({"destination": f"{place}/b", "overwrite": None}, "parameter-invalid", "overwrite"),
        ({"destination": f"{place}/b", "depth": 0}, "parameter-unknown", "depth"),
    ):
        problem(rest.post(source, body), 400, code, field)
    for text in ("", " ", "[]", "1", "{", '{"a":NaN}', '{"a":"\udc80"}', "[" * 100_000):
        answer = rest("POST", source, text.encode("utf-8", "surrogateescape"), Content_Type=kind)
        if text:
            problem(answer, 400, "json-invalid", "body")
        else:
            problem(answer, 400, "parameter-missing", "destination")
    twice = '{"destination": "/x", "destination": "/y"}'
    answer = rest("POST", source, twice, Content_Type=kind)
    problem(answer, 400, "parameter-repeated", "destination")
    answer = rest.post(source + "?destination=/x", {"destination": "/y"})
    problem(answer, 400, "parameter-repeated", "destination")
    half = rest("POST", source, '{"destination": "/\\ud800"}', Content_Type=kind)
    problem(half, 400, "parameter-invalid", "destination")
    problem(rest("POST", source, "<a/>", Content_Type="text/xml"), 415, "media-type-unsupported",
            "Content-Type")  # fmt: skip
    big = json.dumps({"destination": "/x", "more": "x" * (1 << 20)})
    problem(rest("POST", source, big, Content_Type=kind), 413, "too-large", "body")
    problem(rest.post(source, {"destination": f"{place}/none/b"}), 409, "parent-missing")
    problem(rest.post(source, {"destination": f"{place}/b/"}), 409, "not-a-folder")
    problem(rest.post(source + "x", {"destination": f"{place}/b"}), 404, "not-found")
    assert [entry["name"] for entry in document(rest, f"list{place}")["entries"]] == ["a"]
    assert client("GET", f"{place}/a").body == b"content"


def test_a_locked_target_is_not_replaced(client: Client, rest: Rest, place: str) -> None:
    put(client, f"{place}/a", b"one")
    put(client, f"{place}/b", b"two")
    token = client("LOCK", f"{place}/b", lockinfo()).header("Lock-Token")
    order = {"destination": f"{place}/b", "overwrite": True}
    for verb in ("copy", "move"):
        problem(rest.post(f"{verb}{place}/a", order), 423, "locked")
        assert client("GET", f"{place}/b").body == b"two"
        assert rest.post(f"{verb}{place}/a", order, Lock_Token=token).status == 200
        put_again = client("PUT", f"{place}/b", b"two", If=f"({token})")
        token = token if put_again.status == 204 else None
        put(client, f"{place}/a", b"one")


def test_a_search_finds_what_fits(client: Client, rest: Rest, place: str) -> None:
    for folder in ("a", "a/b", "a.d", "c"):
        client("MKCOL", f"{place}/{folder}")
    for path, size, when in (
        ("1.txt", 1, 100), ("a/2.txt", 20, 200), ("a/b/3.txt", 300, 300), ("a/b/4.bin", 0, 400),
        ("a.d/5.txt", 5, 500), ("c/6.TXT", 6, 600),
    ):  # fmt: skip
        put(client, f"{place}/{path}", b"x" * size, when)
    whole = [
        "/1.txt", "/a", "/a/2.txt", "/a/b", "/a/b/3.txt", "/a/b/4.bin", "/a.d", "/a.d/5.txt",
        "/c", "/c/6.TXT",
    ]  # fmt: skip

    def look(**wanted: object) -> list[str]:
        below = place + str(wanted.pop("at", ""))
        return [path.removeprefix(place) for path in found(rest, below=below, **wanted)]

    for limit in (1, 2, 3, 100):
        assert look(limit=limit) == whole
    assert look(name="*.txt") == ["/1.txt", "/a/2.txt", "/a/b/3.txt", "/a.d/5.txt"]
    assert look(kind="folder") == ["/a", "/a/b", "/a.d", "/c"]
    assert look(at="/a/b") == ["/a/b/3.txt", "/a/b/4.bin"]
    assert look(size_from=5, size_to=20) == ["/a/2.txt", "/a.d/5.txt", "/c/6.TXT"]
    assert look(size_to=0) == ["/a/b/4.bin"]
    assert look(modified_from=300, modified_to="1970-01-01T00:08:20Z", limit=1) == [
        "/a/b/3.txt", "/a/b/4.bin", "/a.d/5.txt",
    ]  # fmt: skip
    assert look(name="*.txt", size_from=10, modified_to=250) == ["/a/2.txt"]
    lines = rest.post("search", {"below": place, "limit": 9}, Accept=NDJSON)
    assert lines.header("Content-Type") == NDJSON
    documents = [json.loads(line) for line in lines.body.splitlines()]
    assert [each["path"].removeprefix(place) for each in documents] == whole[:9]
    assert documents[0] == document(rest, f"stat{place}/1.txt")
    problem(rest.post("search", {"below": f"{place}/1.txt"}), 409, "not-a-folder")


def test_a_search_goes_on_when_its_place_is_gone(client: Client, rest: Rest, place: str) -> None:
    for path in ("a", "a/b"):
        client("MKCOL", f"{place}/{path}")
    for path in ("a/b/1", "a/b/2", "a/c", "d"):
        put(client, f"{place}/{path}")
    first = json.loads(rest.post("search", {"below": place, "limit": 3}).body)
    assert [each["name"] for each in first["entries"]] == ["a", "b", "1"]
    client("DELETE", f"{place}/a/b")
    rest_of_it = found(rest, below=place, cursor=first["next"])
    assert rest_of_it == [f"{place}/a/c", f"{place}/d"]


def test_a_deep_search_holds_only_the_way_down(client: Client, rest: Rest, place: str) -> None:
    deep = "/".join("f" * 60)
    assert rest("POST", f"mkdir{place}/{deep}?parents=1").status == 201
    put(client, f"{place}/g")
    put(client, f"{place}/f/g")
    names = [path.removeprefix(place) for path in found(rest, below=place, limit=50)]
    assert names == ["/f" * count for count in range(1, 61)] + ["/f/g", "/g"]


@pytest.mark.parametrize(
    ("wanted", "code", "field"),
    [
        ({"below": "x"}, "parameter-invalid", "below"),
        ({"below": "/a/../b"}, "name-invalid", "below"),
        ({"name": ""}, "parameter-invalid", "name"),
        ({"name": 5}, "parameter-invalid", "name"),
        ({"kind": "link"}, "parameter-invalid", "kind"),
        ({"size_from": -1}, "parameter-invalid", "size_from"),
        ({"size_from": 1.5}, "parameter-invalid", "size_from"),
        ({"size_to": True}, "parameter-invalid", "size_to"),
        ({"size_to": 2**64}, "parameter-invalid", "size_to"),
        ({"modified_from": "soon"}, "parameter-invalid", "modified_from"),
        ({"modified_from": "2026-01-01T00:00:00"}, "parameter-invalid", "modified_from"),
        ({"modified_to": []}, "parameter-invalid", "modified_to"),
        ({"modified_to": 10**400}, "parameter-invalid", "modified_to"),
        ({"limit": 0}, "parameter-invalid", "limit"),
        ({"cursor": "WyJzZWFyY2giLCIiLCJhIl0"}, "cursor-invalid", "cursor"),  # of "a": outside
        ({"cursor": "WyJzZWFyY2giLCIiLCIvLi4iXQ"}, "cursor-invalid", "cursor"),  # of "/.."
        ({"content": "x"}, "parameter-unknown", "content"),
    ],
)
def test_a_wrong_search_names_the_field(
    rest: Rest, place: str, wanted: dict[str, object], code: str, field: str
) -> None:
    problem(rest.post("search", {"below": place, **wanted}), 400, code, field)


def test_a_search_of_what_is_not_there(rest: Rest, place: str) -> None:
    problem(rest.post("search", {"below": f"{place}/none"}), 404, "not-found")
    problem(rest("GET", "search"), 405, "method-not-allowed")
