"""GET and HEAD of files: types, ranges, conditions, downloads."""

from __future__ import annotations

import random

import pytest

from tests.dav.client import Dav

PAST = "Sun, 06 Nov 1994 08:49:37 GMT"
FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT"


def test_head_says_what_get_says_without_the_body(dav: Dav) -> None:
    dav.put("/a.txt", b"0123456789")
    get, head = dav("GET", "/a.txt"), dav("HEAD", "/a.txt")
    assert head.headers == get.headers
    assert get.headers["content-type"] == "text/plain"
    assert get.headers["content-length"] == "10"
    assert get.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["page.html", "image.svg", "data.xml", "doc.pdf"])
def test_stored_pages_do_not_run_with_the_rights_of_the_server(dav: Dav, name: str) -> None:
    dav.put(f"/{name}", b"<script>")
    assert "sandbox" in dav("GET", f"/{name}").headers["content-security-policy"]


def test_download_saves_under_the_name(dav: Dav) -> None:
    dav.put("/%C3%A4%22%0Ab.txt".replace("%0A", ""))
    value = dav("GET", "/%C3%A4%22b.txt?download").headers["content-disposition"]
    assert value == "attachment; filename=\"__b.txt\"; filename*=UTF-8''%C3%A4%22b.txt"
    assert "content-disposition" not in dav("GET", "/%C3%A4%22b.txt?other").headers


@pytest.mark.parametrize(
    ("value", "content", "shown"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-", b"23456789", "bytes 2-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-300", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-500", b"56789", "bytes 5-9/10"),
        ("Bytes = 1-2", b"12", "bytes 1-2/10"),
        ("bytes=3-4,", b"34", "bytes 3-4/10"),
        ("bytes=0-3,2-5", b"012345", "bytes 0-5/10"),
        ("bytes=9-99999999999999999999999", b"9", "bytes 9-9/10"),
    ],
)
def test_a_range_is_answered_with_its_part(
    dav: Dav, value: str, content: bytes, shown: str
) -> None:
    dav.put("/a", b"0123456789")
    answer = dav("GET", "/a", range=value)
    assert (answer.status, answer.body) == (206, content)
    assert answer.headers["content-range"] == shown


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=99999999999999999999-", "bytes=10-11,12-13"])
def test_a_range_beyond_the_end_is_416_with_a_short_text(dav: Dav, value: str) -> None:
    dav.put("/a", b"0123456789")
    answer = dav("GET", "/a", range=value)
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */10"
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"10 bytes" in answer.body


@pytest.mark.parametrize(
    "value",
    ["bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=1-2-3", "bytes=٣-٤", "x"],
)
def test_a_range_that_is_none_is_ignored(dav: Dav, value: str) -> None:
    dav.put("/a", b"0123456789")
    assert dav("GET", "/a", range=value).status == 200


def test_very_many_ranges_are_answered_with_the_whole(dav: Dav) -> None:
    dav.put("/a", b"0123456789")
    value = "bytes=" + ",".join(["0-0"] * 200)
    assert dav("GET", "/a", range=value).status == 200


def test_ranges_of_an_empty_file_are_unsatisfiable(dav: Dav) -> None:
    dav.put("/a", b"")
    assert dav("GET", "/a", range="bytes=0-0").status == 416
    assert dav("GET", "/a").body == b""


def test_random_ranges_are_the_same_as_slices(dav: Dav) -> None:
    seed = 4918
    print("seed", seed)
    chance = random.Random(seed)
    content = chance.randbytes(70_000)
    dav.put("/a", content)
    for _ in range(50):
        start = chance.randrange(len(content))
        end = chance.randrange(start, len(content))
        answer = dav("GET", "/a", range=f"bytes={start}-{end}")
        assert answer.body == content[start : end + 1]


def test_if_range_with_the_current_validator_gives_the_part_else_the_whole(dav: Dav) -> None:
    answer = dav.put("/a", b"0123456789")
    date = answer.headers["last-modified"]
    for validator in (answer.etag, date):
        assert dav("GET", "/a", range="bytes=0-1", if_range=validator).status == 206
    for validator in ('"other"', f"W/{answer.etag}", PAST, "rubbish"):
        assert dav("GET", "/a", range="bytes=0-1", if_range=validator).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_modified_since": FUTURE}, 304),
        ({"if_modified_since": PAST}, 200),
        ({"if_modified_since": "rubbish"}, 200),
        ({"if_modified_since": FUTURE, "if_none_match": '"x"'}, 200),
        ({"if_unmodified_since": PAST}, 412),
        ({"if_unmodified_since": FUTURE}, 200),
        ({"if_unmodified_since": "rubbish"}, 200),
        ({"if_none_match": "*"}, 304),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x", "y"'}, 412),
        ({"if_match": '"x"', "if_unmodified_since": FUTURE}, 412),
    ],
)
def test_conditions_are_judged_in_the_order_of_rfc_9110(
    dav: Dav, headers: dict[str, str], status: int
) -> None:
    dav.put("/a")
    assert dav("GET", "/a", **headers).status == status


def test_a_weak_tag_matches_for_reading_and_not_for_writing(dav: Dav) -> None:
    etag = dav.put("/a").etag
    assert dav("GET", "/a", if_none_match=f"W/{etag}").status == 304
    assert dav("PUT", "/a", b"x", if_match=f"W/{etag}").status == 412
    assert dav("PUT", "/a", b"x", if_match=etag.strip('"')).status == 204


def test_a_put_that_must_create_does_not_replace(dav: Dav) -> None:
    assert dav("PUT", "/a", b"1", if_none_match="*").status == 201
    assert dav("PUT", "/a", b"2", if_none_match="*").status == 412
    assert dav.get("/a") == b"1"
