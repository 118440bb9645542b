"""The one place where a path is parsed, normalised, joined and checked.

A path inside davstore is a string that starts with "/", has its names separated
by single slashes and no slash at its end; the root is "/". Its names are Unicode in
NFC, neither empty nor "." nor "..", without control characters, at most 255 bytes
of UTF-8 each, and the whole has at most 4,096.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote

from davstore.errors import InvalidName, NameTooLong

ROOT = "/"
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4096

#: Names that begin like this belong to davstore itself. Clients neither see nor create them.
RESERVED_PREFIX = ".davstore~"

#: What XML 1.0 cannot carry in any form (section 2.2), plus DEL and the C1 controls'
#: line breaks, which break logs, and "/" which separates names.
_UNUSABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029/\ud800-\udfff\ufffe\uffff]")

#: Everything that a path segment may hold unescaped (RFC 3986, pchar) but for "&" and "'",
#: so that an href can be put into XML as it is.
_SAFE_IN_HREF = "!$()*+,;=:@-._~/"

#: Paths that need no escaping at all, which is most: 0.2 us to see, against 2.5 us for quote().
_PLAIN_HREF = re.compile(r"[A-Za-z0-9!$()*+,;=:@\-._~/]*")


def check_name(name: str, path: str = "") -> None:
    """Raise InvalidName or NameTooLong when `name` cannot be a member's name."""
    if name in ("", ".", ".."):
        raise InvalidName(path or name, f"{name!r} cannot be used as a name.")
    if _UNUSABLE.search(name):
        raise InvalidName(path or name, "A name holds a character that cannot be stored.")
    if len(name) > MAX_NAME_BYTES // 4 and len(name.encode()) > MAX_NAME_BYTES:
        raise NameTooLong(path or name)


def is_reserved(path: str) -> bool:
    """Whether any name in `path` is one of davstore's own."""
    return "/" + RESERVED_PREFIX in path


def normalise(text: str) -> str:
    """The canonical path for `text`: one leading slash, NFC, slashes merged, checked.

    Raises InvalidName or NameTooLong. A slash at the end is dropped; who needs to know
    about it looks before.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    names = [name for name in text.split("/") if name]
    for name in names:
        check_name(name, text)
    path = "/" + "/".join(names)
    if len(path) > MAX_PATH_BYTES // 4 and len(path.encode()) > MAX_PATH_BYTES:
        raise NameTooLong(path)
    return path


def names(path: str) -> list[str]:
    """The names of `path` from the top; none for the root."""
    return path[1:].split("/") if path != ROOT else []


def name(path: str) -> str:
    """The last name of `path`; "" for the root."""
    return path.rpartition("/")[2]


def parent(path: str) -> str:
    """The path of the folder that holds `path`; the root's parent is the root."""
    return path.rpartition("/")[0] or ROOT


def join(folder: str, member: str) -> str:
    """The path of `member` within `folder`."""
    return f"/{member}" if folder == ROOT else f"{folder}/{member}"


def ancestors(path: str) -> Iterator[str]:
    """The folders above `path`, the root first, `path` itself not."""
    if path == ROOT:
        return
    yield ROOT
    at = path.find("/", 1)
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies anywhere below it."""
    return folder == ROOT or path == folder or path.startswith(folder + "/")


def rebase(path: str, source: str, target: str) -> str:
    """`path`, which lies within `source`, as it is called when `source` becomes `target`."""
    rest = path[1:] if source == ROOT else path[len(source) + 1 :]
    return join(target, rest) if rest else target


def to_href(path: str) -> str:
    """`path` percent-encoded for a URL; safe to be put into XML and HTML text as it is."""
    return path if _PLAIN_HREF.fullmatch(path) else quote(path, safe=_SAFE_IN_HREF)
