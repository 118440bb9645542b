"""The page for a person who opens a folder in a browser.

Plain HTML, streamed, without scripts. Up to SORTABLE members are sorted as people expect it:
folders first, letters without regard to case. A larger folder comes in the store's own order
while it is read, so that memory does not grow with it.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from itertools import chain, islice
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs

from davstore import paths
from davstore.stores.base import Node

#: So many members are kept in memory to be sorted (about 6 MiB).
SORTABLE = 20_000

#: Bytes of a piece of the page, about.
_PIECE = 16 * 1024

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: start; padding: .25rem .5rem; color: GrayText; }
th, td { padding: .3rem .5rem; text-align: start; font-weight: normal; }
thead th { border-bottom: 2px solid GrayText; white-space: nowrap; }
tbody tr:hover { background: color-mix(in srgb, CanvasText 8%, Canvas); }
tbody th { overflow-wrap: anywhere; }
th:nth-child(2), td:nth-child(2) { text-align: end; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
a { text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
@media (max-width: 36rem) { th:nth-child(3), td:nth-child(3) { display: none; } }
"""

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What the page needs, and nothing else: send it as the Content-Security-Policy header.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

CONTENT_TYPE = "text/html; charset=utf-8"

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{trail}</h1>
<table>
<caption>{caption}</caption>
<thead><tr>{columns}</tr></thead>
<tbody>
"""

_FOOT = """</tbody>
</table>
{note}</body>
</html>
"""

_TOO_MANY = (
    f"<p>This folder has more than {SORTABLE:,} entries. They are shown in the order"
    " in which the server keeps them.</p>\n"
)


class _Entry(NamedTuple):
    name: str
    is_folder: bool
    size: int
    modified: float


class Order(NamedTuple):
    """How the page is sorted; what a query like "sort=size&order=desc" asks for."""

    by: Literal["name", "size", "modified"] = "name"
    descending: bool = False

    @classmethod
    def of(cls, query: str) -> Order:
        """What is not understood means the default."""
        asked = parse_qs(query, max_num_fields=20) if query.count("&") < 20 else {}
        descending = asked.get("order") == ["desc"]
        match asked.get("sort"):
            case ["size"]:
                return cls("size", descending)
            case ["modified"]:
                return cls("modified", descending)
        return cls("name", descending)


_KEYS: dict[str, Callable[[_Entry], Any]] = {
    "name": lambda entry: (entry.name.casefold(), entry.name),
    "size": lambda entry: (entry.size, entry.name),
    "modified": lambda entry: (entry.modified, entry.name),
}

_COLUMNS: tuple[tuple[Literal["name", "size", "modified"], str], ...] = (
    ("name", "Name"),
    ("size", "Size"),
    ("modified", "Modified (UTC)"),
)


def render_folder(
    path: str, nodes: Iterator[Node], *, query: str = "", prefix: str = ""
) -> Iterator[bytes]:
    """The page of the folder at `path` (of the whole URL space) with its members, as UTF-8.

    `query` is the URL's query string, as it came. Links begin with `prefix`, the path below
    which a proxy shows the whole URL space, such as "/drive". An error of `nodes` is passed on: the
    page breaks off, and with it the connection.
    """
    return _pieces(_page(path, nodes, Order.of(query), prefix))


def _pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """The same text in pieces of a size that is worth a system call."""
    gathered: list[str] = []
    size = 0
    for text in texts:
        gathered.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(gathered).encode()
            gathered.clear()
            size = 0
    yield "".join(gathered).encode()


def _page(path: str, nodes: Iterator[Node], order: Order, prefix: str) -> Iterator[str]:
    name = paths.name(path)
    yield _HEAD.format(
        title=escape(name or "/"),
        style=_STYLE,
        trail=_trail(path, prefix),
        caption=f"Members of {escape(name) or 'this server'}",
        columns="".join(_column(by, title, order) for by, title in _COLUMNS),
    )
    if path != paths.ROOT:
        up = prefix + paths.to_href(_as_folder(paths.parent(path)))
        yield f'<tr><th scope="row"><a href="{up}">../</a></th><td></td><td></td></tr>\n'
    entries = (_Entry(node.name, node.is_folder, node.size, node.modified) for node in nodes)
    first = list(islice(entries, SORTABLE + 1))
    fits = len(first) <= SORTABLE
    if fits:
        first = _sorted(first, order)
    base = prefix + paths.to_href(_as_folder(path))
    for entry in chain(first, entries):
        yield _row(base, entry)
    yield _FOOT.format(note="" if fits else _TOO_MANY)


def _sorted(entries: list[_Entry], order: Order) -> list[_Entry]:
    entries.sort(key=_KEYS[order.by], reverse=order.descending)
    entries.sort(key=lambda entry: not entry.is_folder)
    return entries


def _as_folder(path: str) -> str:
    return path if path == paths.ROOT else path + "/"


def _trail(path: str, prefix: str) -> str:
    """The folders from the root to this one, each a link but the last."""
    links = [
        f'<a href="{prefix}{paths.to_href(_as_folder(above))}">{_shown(paths.name(above))}/</a>'
        for above in paths.ancestors(path)
    ]
    return "".join(links) + f"{_shown(paths.name(path))}/"


def _shown(name: str) -> str:
    """`name` in a frame of its own, so that it cannot turn the direction of what follows."""
    return f"<bdi>{escape(name)}</bdi>" if name else ""


def _column(by: Literal["name", "size", "modified"], title: str, order: Order) -> str:
    state = ""
    if order.by == by:
        state = f' aria-sort="{"descending" if order.descending else "ascending"}"'
    turned = "&amp;order=desc" if order.by == by and not order.descending else ""
    return f'<th scope="col"{state}><a href="?sort={by}{turned}">{title}</a></th>'


def _row(base: str, entry: _Entry) -> str:
    # An href that begins with the folder's absolute path is never taken for a scheme.
    slash = "/" if entry.is_folder else ""
    size = (
        "<td></td>"
        if entry.is_folder
        else f'<td title="{entry.size:,} bytes">{human_size(entry.size)}</td>'
    )
    return (
        f'<tr><th scope="row"><a href="{base}{paths.to_href(entry.name)}{slash}">'
        f"{_shown(entry.name)}{slash}</a></th>{size}<td>{_time(entry.modified)}</td></tr>\n"
    )


def human_size(size: int) -> str:
    """`size` in bytes, with at most four digits: "17 B", "4.0 KiB", "1023 MiB"."""
    if size < 1024:
        return f"{size} B"
    amount, units = size / 1024, list(_UNITS)
    while amount >= 1023.5 and len(units) > 1:
        amount /= 1024
        del units[0]
    unit = units[0]
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


def _time(moment: float) -> str:
    try:
        text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    except (ValueError, OverflowError, OSError):  # a file system can hold any number
        return ""
    return f'<time datetime="{text}">{text[:10]} {text[11:16]}</time>'
