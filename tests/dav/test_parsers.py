"""What clients send, parsed: whatever it is, a value or a refusal comes out, never a crash."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsgidav.dav_error import DAVError

from davstore.dav import dates, ifheader, ranges
from davstore.dav.conditions import split_etags
from davstore.dav.ifheader import Condition, ConditionList
from davstore.dav.request import parse_path
from davstore.dav.xmlbody import read_xml
from davstore.errors import InvalidName

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


def test_an_if_header_is_parsed_as_rfc_4918_shows_it() -> None:
    text = '<http://x/a> (<urn:t> ["e1"] Not [W/"e2"]) (Not <DAV:no-lock>)'
    assert ifheader.parse(text).lists == (
        ConditionList(
            "http://x/a",
            (
                Condition(False, "urn:t", False),
                Condition(True, '"e1"', False),
                Condition(True, 'W/"e2"', True),
            ),
        ),
        ConditionList("http://x/a", (Condition(False, "DAV:no-lock", True),)),
    )
    assert ifheader.parse(text).tokens() == {"urn:t", "DAV:no-lock"}


IF_TEXT = st.lists(
    st.sampled_from(["<a>", "(", ")", "Not", '["e"]', "[e]", "[", "]", " ", "<", ">", "x", '"'])
).map("".join)


@FIXED
@given(IF_TEXT | st.text())
def test_any_if_header_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = ifheader.parse(text)
    except ValueError:
        return
    assert parsed.lists
    assert all(each.conditions for each in parsed.lists)


@FIXED
@given(st.text(alphabet="bytes=0123456789-, x") | st.text(), st.integers(0, 100))
def test_any_range_lies_within_the_content(text: str, size: int) -> None:
    for header in (text, "bytes=" + text):
        try:
            found = ranges.parse(header, size)
        except ranges.Unsatisfiable:
            continue
        for start, length in found or ():
            assert 0 <= start < size
            assert 1 <= length <= size - start


@FIXED
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6))
def test_several_ranges_cover_exactly_what_was_asked_for(pairs: list[tuple[int, int]]) -> None:
    size = 50
    specs = [f"{min(pair)}-{max(pair)}" for pair in pairs]
    wanted = {n for pair in pairs for n in range(min(pair), max(pair) + 1) if n < size}
    try:
        found = ranges.parse("bytes=" + ",".join(specs), size)
    except ranges.Unsatisfiable:
        found = []
    assert found is not None
    covered = [n for start, length in found for n in range(start, start + length)]
    assert set(covered) == wanted
    assert len(covered) == len(set(covered))


@FIXED
@given(st.binary())
def test_any_path_is_canonical_or_refused(raw: bytes) -> None:
    try:
        path, _ = parse_path("/" + raw.decode("latin-1"))
    except InvalidName:
        return
    assert path.startswith("/")
    assert path == "/" or not path.endswith("/")
    assert parse_path(path.encode().decode("latin-1"))[0] == path
    assert ".." not in path.split("/")


@FIXED
@given(st.binary())
def test_any_xml_body_is_an_element_or_a_4xx(body: bytes) -> None:
    try:
        read_xml({"wsgi.input": io.BytesIO(body)}, 1000)
    except DAVError as error:
        assert error.value in (400, 403, 413)


@FIXED
@given(st.text())
def test_any_date_is_a_time_or_none(text: str) -> None:
    found = dates.parse_http_date(text)
    assert found is None or isinstance(found, int)
    assert isinstance(dates.parse_client_seconds(text), float | None)
    assert isinstance(split_etags(text), frozenset)


@FIXED
@given(st.integers(-62135596800, 253402300799))
def test_dates_come_back(seconds: int) -> None:
    shown = dates.http_date(seconds)
    if seconds >= -(2**31):  # two-digit years and the like are not for files
        assert dates.parse_http_date(shown) == seconds or seconds < -30_000_000_000
    assert dates.iso_date(seconds).endswith("Z")


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_all_three_forms_of_http_dates_are_read(text: str) -> None:
    assert dates.parse_http_date(text) == 784111777
