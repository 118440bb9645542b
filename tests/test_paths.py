"""Paths: parsing, normal form, limits, and what is made of them."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore import paths
from davstore.errors import InvalidName, NameTooLong


def is_name(name: str) -> bool:
    try:
        paths.check_name(name)
    except InvalidName:
        return False
    return True


NAMES = st.text(min_size=1, max_size=20).filter(is_name)
PATHS = st.lists(NAMES, max_size=5).map(lambda names: paths.normalise("/".join(names)))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("a", "/a"),
        ("/a/", "/a"),
        ("//a///b//", "/a/b"),
        ("/ a / b ", "/ a / b "),
        ("/a\\b", "/a\\b"),
        ("/%2F", "/%2F"),
        ("/...", "/..."),
        ("/.a", "/.a"),
        ("/Zoe\u0308", "/Zoë"),
        ("/A\u030a/\u212b", "/Å/Å"),
        ("/\U0001f600", "/\U0001f600"),
        ("/\ufb01", "/\ufb01"),
    ],
)
def test_a_text_is_brought_into_its_one_form(text: str, path: str) -> None:
    assert paths.normalise(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "/.",
        "/..",
        "..",
        "/a/../b",
        "/a/./b",
        "/a\x00b",
        "/\x01",
        "/a\nb",
        "/a\rb",
        "/\x1f",
        "/\x7f",
        "/\x85",
        "/\u2028",
        "/\u2029",
        "/\ud800",
        "/\udfff",
        "/\ufffe",
        "/\uffff",
    ],
)
def test_what_no_store_keeps_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        paths.normalise(text)


def test_a_name_with_a_slash_is_no_name() -> None:
    with pytest.raises(InvalidName):
        paths.check_name("a/b")
    with pytest.raises(InvalidName):
        paths.check_name("")


@pytest.mark.parametrize("letter", ["x", "ü", "中", "\U0001f600"])
def test_a_name_has_at_most_255_bytes_however_many_letters(letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (255 // size) + "y" * (255 % size)
    assert len(longest.encode()) == 255
    assert paths.normalise(longest) == "/" + longest
    with pytest.raises(NameTooLong):
        paths.normalise(longest + "y")


@pytest.mark.parametrize("letter", ["x", "\U0001f600"])
def test_a_path_has_at_most_4096_bytes(letter: str) -> None:
    folder = ("/" + letter * (200 // len(letter.encode()))) * 20
    longest = folder + "/" + "y" * (4096 - len(folder.encode()) - 1)
    assert paths.normalise(longest) == longest
    with pytest.raises(NameTooLong):
        paths.normalise(longest + "y")


def test_a_decomposed_name_counts_by_its_composed_length() -> None:
    assert len(paths.normalise("e\u0301" * 127).encode()) == 255


@given(PATHS)
def test_normal_form_is_stable_and_nfc(path: str) -> None:
    assert paths.normalise(path) == path
    assert unicodedata.is_normalized("NFC", path)


@given(PATHS)
def test_names_parent_and_join_fit_together(path: str) -> None:
    names = paths.names(path)
    assert "/" + "/".join(names) == path
    assert paths.name(path) == (names[-1] if names else "")
    if path != "/":
        assert paths.join(paths.parent(path), paths.name(path)) == path
    assert paths.parent("/") == "/"


@given(PATHS)
def test_the_ancestors_are_the_chain_of_parents_from_the_root(path: str) -> None:
    chain = []
    at = path
    while at != "/":
        at = paths.parent(at)
        chain.append(at)
    assert list(paths.ancestors(path)) == chain[::-1]


@given(PATHS, PATHS)
def test_within_means_having_it_among_the_ancestors_or_being_it(path: str, folder: str) -> None:
    expected = path == folder or folder in paths.ancestors(path)
    assert paths.is_within(path, folder) == expected
    assert paths.is_within(path, path)
    assert paths.is_within(path, "/")


def test_the_same_beginning_is_not_within() -> None:
    assert not paths.is_within("/ab", "/a")
    assert not paths.is_within("/a", "/a/b")
    assert paths.is_within("/a/b/c", "/a/b")


@given(PATHS, PATHS, PATHS)
def test_rebasing_replaces_the_source_by_the_target(base: str, rest: str, target: str) -> None:
    path = paths.normalise(base + rest)
    assert paths.rebase(path, base, target) == paths.normalise(target + "/" + rest)


@pytest.mark.parametrize(
    ("path", "reserved"),
    [
        ("/.davstore~", True),
        ("/.davstore~x", True),
        ("/a/.davstore~x/b", True),
        ("/a.davstore~", False),
        ("/.davstore", False),
        ("/.DAVSTORE~", False),
        ("/", False),
    ],
)
def test_names_of_the_stores_own_are_known_by_their_beginning(path: str, reserved: bool) -> None:
    assert paths.is_reserved(path) == reserved


@given(PATHS)
def test_a_href_leads_back_to_its_path_and_is_safe_in_xml(path: str) -> None:
    href = paths.to_href(path)
    assert unquote(href) == path
    assert href.isascii()
    assert not set(href) & set("<>&\"' ?#\\^`{|}")


def test_a_href_keeps_what_a_path_segment_may_hold_as_it_is() -> None:
    assert paths.to_href("/a;b+c=d@e:f,g!h$i(j)*k~l._m-") == "/a;b+c=d@e:f,g!h$i(j)*k~l._m-"
    assert paths.to_href("/a b?c#d%e") == "/a%20b%3Fc%23d%25e"
    assert paths.to_href("/ü") == "/%C3%BC"
