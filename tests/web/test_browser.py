"""The page of a folder, read as a browser reads it."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore.paths import normalise
from davstore.stores.base import Node
from davstore.web.browser import CONTENT_SECURITY_POLICY, SORTABLE, human_size, render_folder


def file(name: str, size: int = 1, modified: float = 0) -> Node:
    return Node(name, name, False, size, 0, modified, "e")


def folder(name: str, modified: float = 0) -> Node:
    return Node(name, name, True, 0, 0, modified, "e")


class Page(HTMLParser):
    """What stands in a page: links with their texts, the cells, all tags and attributes."""

    def __init__(self, path: str, nodes: list[Node], query: str = "") -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.style = ""
        self.within = ""
        self.text = b"".join(render_folder(path, iter(nodes), query=query)).decode()
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.within = tag
        elif tag == "style":
            self.within = tag
        elif tag == "a":
            self.links.append((dict(attrs)["href"] or "", ""))

    def handle_data(self, data: str) -> None:
        if self.within == "style":
            self.style += data
        elif self.within in ("td", "th"):
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "style"):
            self.within = ""

    @property
    def members(self) -> list[str]:
        return [row[0].strip() for row in self.rows[1:] if row[0] != "../"]

    def href(self, text: str) -> str:
        """Where the row of that name leads."""
        row = self.text.index(f"<bdi>{text}</bdi>", self.text.index("<tbody>"))
        return self.text[:row].rpartition('href="')[2].partition('"')[0]


def test_folders_come_first_and_names_without_regard_to_case() -> None:
    page = Page("/", [file("B"), folder("z"), file("a"), file("c"), folder("Y")])
    assert page.members == ["Y/", "z/", "a", "B", "c"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=name&order=desc", ["d/", "c", "b", "a"]),
        ("sort=size", ["d/", "b", "c", "a"]),
        ("sort=size&order=desc", ["d/", "a", "c", "b"]),
        ("sort=modified", ["d/", "c", "a", "b"]),
        ("sort=modified&order=desc", ["d/", "b", "a", "c"]),
        ("sort=nonsense&order=sideways&x=%ff", ["d/", "a", "b", "c"]),
        ("&" * 5000, ["d/", "a", "b", "c"]),
        ("sort=size&sort=modified", ["d/", "a", "b", "c"]),
    ],
)
def test_the_query_says_how_the_page_is_sorted(query: str, expected: list[str]) -> None:
    nodes = [file("a", 30, 2), file("b", 10, 3), file("c", 20, 1), folder("d")]
    assert Page("/x", nodes, query).members == expected


def test_the_head_of_the_sorted_column_turns_the_order_round() -> None:
    page = Page("/", [], "sort=size")
    assert ("aria-sort", "ascending") in page.attributes
    hrefs = [href for href, _ in page.links]
    assert hrefs == ["?sort=name", "?sort=size&order=desc", "?sort=modified"]
    assert ("aria-sort", "descending") in Page("/", [], "sort=size&order=desc").attributes


def test_a_row_has_name_size_and_time() -> None:
    page = Page("/x", [file("a.txt", 1536, 1_700_000_000)])
    assert page.rows[-1] == ["a.txt", "1.5 KiB", "2023-11-14 22:13"]
    assert ("datetime", "2023-11-14T22:13:20Z") in page.attributes
    assert ("title", "1,536 bytes") in page.attributes


def test_there_is_a_way_up_and_to_each_folder_above() -> None:
    page = Page("/a/b c", [])
    hrefs = [href for href, _ in page.links]
    assert hrefs[:2] == ["/", "/a/"]
    assert hrefs[-1] == "/a/"
    assert "../" not in Page("/", []).text


def test_a_time_that_no_calendar_knows_is_left_out() -> None:
    assert Page("/", [file("a", 1, 9e99)]).rows[-1] == ["a", "1 B", ""]


def test_a_name_like_a_scheme_leads_nowhere_else() -> None:
    for mount in ("/", "/x"):
        page = Page(mount, [folder("javascript:alert(1)"), file("//evil".strip("/"))])
        for href, _ in page.links:
            assert urlsplit(urljoin("http://here/x/", href)).netloc == "here"
            assert urlsplit(urljoin("http://here/x/", href)).scheme == "http"


def test_markup_in_names_is_text() -> None:
    evil = """<script>alert("1")</script>&amp;'"""
    page = Page("/" + evil.replace("/", ""), [folder(evil.replace("/", "")), file("<img src=x>")])
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.members == [evil.replace("/", "") + "/", "<img src=x>"]
    assert not any(name.startswith("on") for name, _ in page.attributes)


@given(st.text(min_size=1, max_size=40))
def test_every_name_is_shown_as_it_is_and_its_link_leads_to_it(name: str) -> None:
    try:
        path = normalise("/" + name.replace("/", ""))
    except Exception:  # no store keeps such a name
        return
    if path == "/":
        return
    name = path[1:]
    page = Page("/f", [file(name)])
    assert page.rows[-1][0] == name
    # Not urljoin, which drops a ";" at the end; browsers keep it.
    target = urlsplit("http://here" + page.links[-1][0])
    assert (unquote(target.path), target.query, target.fragment) == (f"/f/{name}", "", "")


def test_the_policy_allows_the_page_its_style_and_no_more() -> None:
    page = Page("/", [file("a")])
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert not {"script", "img", "iframe", "form"} & set(page.tags)
    assert not any(name == "style" for name, _ in page.attributes)


def test_it_can_be_read_by_a_screen_reader_and_on_a_telephone() -> None:
    page = Page("/x", [file("a")])
    assert {"caption", "thead", "tbody"} <= set(page.tags)
    assert ("lang", "en") in page.attributes
    assert ("scope", "row") in page.attributes
    assert ("name", "viewport") in page.attributes
    assert "color-scheme: light dark" in page.style


def test_a_folder_too_large_to_be_sorted_is_streamed_as_the_store_has_it() -> None:
    count = 50_000
    made = 0

    def nodes() -> Iterator[Node]:
        nonlocal made
        for made in range(1, count + 1):
            yield file(f"file {made:06d}", made)

    pieces = render_folder("/x", nodes(), query="sort=size&order=desc")
    tracemalloc.start()
    try:
        next(pieces)
        assert made <= SORTABLE + 1000
        rows = sum(piece.count(b"<tr>") for piece in pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows > count - 200
    assert peak < 16 << 20


def test_the_page_of_a_large_folder_says_that_it_is_not_sorted() -> None:
    for count, says_so in ((SORTABLE, False), (SORTABLE + 1, True)):
        page = b"".join(render_folder("/", (file(str(number)) for number in range(count))))
        assert (b"more than 20,000 entries" in page) == says_so


def test_an_error_on_the_way_breaks_the_page_off() -> None:
    def nodes() -> Iterator[Node]:
        yield file("a")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(render_folder("/", nodes()))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 * 1024, "10 KiB"),
        (1024**2 - 1, "1.0 MiB"), (1024**2, "1.0 MiB"), (1023 * 1024, "1023 KiB"),
        (5 * 1024**4, "5.0 TiB"), (1024**6, "1024 PiB"),
    ],
)  # fmt: skip
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text
