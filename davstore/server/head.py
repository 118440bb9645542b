"""The head of a request, from bytes to meaning: RFC 9112, strictly.

What two readers could understand differently is refused, because behind a proxy such a
difference lets one client's request be taken for another's (RFC 9112, 11.2).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

BAD_REQUEST: Final = "400 Bad Request"
EXPECTATION_FAILED: Final = "417 Expectation Failed"
NOT_IMPLEMENTED: Final = "501 Not Implemented"
BAD_VERSION: Final = "505 HTTP Version Not Supported"


class Refused(Exception):
    """This request is answered by the server itself. `sentence` is for a person, `field` names
    the header field that is wrong, or "path"; "" where it is something else."""

    def __init__(self, status: str, sentence: str, field: str = "") -> None:
        super().__init__(status, sentence, field)
        self.status = status
        self.sentence = sentence
        self.field = field


class Head(NamedTuple):
    """A well-formed request head.

    `target` is the request target as received, `path` percent-decoded (bytes as Latin-1, as
    PEP 3333 has it), `query` raw. `headers` are keyed as in the WSGI environ. `length` is None
    without Content-Length. `expects` is whether the client waits for 100 (Continue).
    """

    method: str
    target: str
    path: str
    query: str
    protocol: str
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool
    expects: bool


#: Every byte that may stand in a head outside of line ends: all but controls (tab is allowed).
_TEXT = bytes(c for c in range(256) if c == 0x09 or (c >= 0x20 and c != 0x7F))

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
_PROTOCOL = re.compile(r"HTTP/(\d)\.(\d)")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::\d{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN_ESCAPE = re.compile(r"%(?:2[Ff]|00)")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
#: Longer ones are not told from noise.
_LONGEST_METHOD = 64
_BEGINNING = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}(?: |\Z)")

# fmt: off
_METHODS = frozenset({
    "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PROPFIND", "PROPPATCH", "MKCOL", "COPY",
    "MOVE", "LOCK", "UNLOCK",
})
# fmt: on
#: Fields that have one value by definition. Twice, they mean different things to different
#: readers; Content-Length also with the same value (RFC 9110, 8.6, allows to refuse that).
# fmt: off
_SINGULAR = frozenset({
    "HTTP_HOST", "CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_AUTHORIZATION", "HTTP_DESTINATION",
    "HTTP_DEPTH", "HTTP_OVERWRITE", "HTTP_LOCK_TOKEN", "HTTP_TIMEOUT", "HTTP_RANGE",
    "HTTP_CONTENT_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_EXPECT", "HTTP_USER_AGENT",
})
# fmt: on
#: Field names as clients spell them, to environ keys. Filled as names come, up to a bound.
_KEYS: dict[str, str] = {}
_MOST_KEYS = 2048
#: The key of fields that are dropped: `_` in a name, which the environ could not tell from `-`.
_DROPPED = ""


def parse_head(head: bytes) -> Head:
    """Read a request head, without the empty line at its end. Raises Refused."""
    lines = head.decode("latin-1").split("\r\n")
    if len(head.translate(None, _TEXT)) != 2 * (len(lines) - 1):
        raise Refused(BAD_REQUEST, "The request head holds control characters.")
    method, target, protocol = parse_request_line(lines[0])
    headers = _headers(lines)
    if target.startswith("/"):
        path, _, query = target.partition("?")
    else:
        path, query = _other_target(method, target, headers)
    if "#" in target:
        raise Refused(BAD_REQUEST, "The request target holds a fragment.", "path")
    if "%" in path or not path.isascii():
        path = _decoded(path)
    host = headers.get("HTTP_HOST")
    if host is None:
        if protocol == "HTTP/1.1":
            raise Refused(BAD_REQUEST, "The Host header is missing.", "Host")
    elif _HOST.fullmatch(host) is None:
        raise Refused(BAD_REQUEST, "The Host header is malformed.", "Host")
    length, chunked = _framing(headers, protocol)
    connection = headers.get("HTTP_CONNECTION")
    keep_alive = protocol == "HTTP/1.1" if connection is None else _keeps(connection, protocol)
    expects = "HTTP_EXPECT" in headers and _expects(headers["HTTP_EXPECT"], protocol)
    return Head(
        method, target, path, query, protocol, headers, length, chunked, keep_alive, expects
    )


def check_beginning(data: bytes, start: int) -> None:
    """Refuse early what cannot become a request head; bytes before `start` were looked at.

    Without this a client that speaks something else would hear nothing until its time is up.
    """
    if data == b"\r":
        return
    if start <= _LONGEST_METHOD and _BEGINNING.match(data) is None:
        raise Refused(BAD_REQUEST, "This is not an HTTP request.")
    if _BARE_LINE_END.search(data, max(0, start - 1)) is not None:
        raise Refused(BAD_REQUEST, "Lines have to end with CR LF.")
    end = data.find(b"\r\n")
    if end != -1 and end + 2 > start:
        parse_request_line(data[:end].decode("latin-1"))


def parse_request_line(line: str) -> tuple[str, str, str]:
    """Method, target and protocol. Raises Refused."""
    parts = line.split(" ")
    if len(parts) != 3 or "\t" in line:
        raise Refused(BAD_REQUEST, "The request line is not of the form: method target version.")
    method, target, protocol = parts
    if protocol != "HTTP/1.1" and protocol != "HTTP/1.0":
        protocol = _protocol(protocol)
    if method not in _METHODS:
        if _TOKEN.fullmatch(method) is None:
            raise Refused(BAD_REQUEST, "The method is not a token.")
        if _METHOD.fullmatch(method) is None or method == "CONNECT":
            raise Refused(NOT_IMPLEMENTED, "This method is not known here.")
    return method, target, protocol


def _protocol(protocol: str) -> str:
    match = _PROTOCOL.fullmatch(protocol)
    if match is None:
        raise Refused(BAD_REQUEST, "The request line does not end with an HTTP version.")
    if match[1] != "1":
        raise Refused(BAD_VERSION, "This server speaks HTTP/1.1 and HTTP/1.0.")
    # A higher minor version is answered as the highest that is known (RFC 9110, 2.5).
    return "HTTP/1.1"


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    keys = _KEYS
    for at in range(1, len(lines)):
        name, colon, value = lines[at].partition(":")
        key = keys.get(name)
        if key is None:
            key = _key(name)
        if not colon:
            raise Refused(BAD_REQUEST, "A header line has no colon.")
        value = value.strip(" \t")
        if key in headers:
            value = _merged(key, headers[key], value)
        headers[key] = value
    headers.pop(_DROPPED, None)
    return headers


def _key(name: str) -> str:
    # An obsolete line folding begins with white space and ends here as well (RFC 9112, 5.2).
    if _TOKEN.fullmatch(name) is None:
        raise Refused(BAD_REQUEST, "A header name is empty or holds a character it cannot hold.")
    key = name.upper().replace("-", "_")
    if "_" in name:
        key = _DROPPED
    elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if len(_KEYS) < _MOST_KEYS:
        _KEYS[name] = key
    return key


def _merged(key: str, first: str, second: str) -> str:
    """The value of a field that came twice (RFC 9110, 5.3)."""
    if key == _DROPPED:
        return second
    if key in _SINGULAR:
        name = key.removeprefix("HTTP_").replace("_", "-").title()
        raise Refused(BAD_REQUEST, f"The {name} header came more than once.", name)
    return f"{first}; {second}" if key == "HTTP_COOKIE" else f"{first}, {second}"


def _other_target(method: str, target: str, headers: dict[str, str]) -> tuple[str, str]:
    """Path and query of a target that is not in origin-form (RFC 9112, 3.2)."""
    if target == "*" and method == "OPTIONS":
        return "*", ""
    match = _ABSOLUTE.match(target)
    if match is None or not match[1] or "@" in match[1]:
        raise Refused(BAD_REQUEST, "The request target is neither a path nor an http(s) URL.")
    # The target's authority replaces what Host says (RFC 9112, 3.2.2), but both have to be there.
    if "HTTP_HOST" in headers:
        headers["HTTP_HOST"] = match[1]
    return match[2] or ("*" if method == "OPTIONS" else "/"), match[3] or ""


def _decoded(path: str) -> str:
    if _BAD_ESCAPE.search(path) is not None:
        sentence = "The path holds a % without two hexadecimal digits after it."
        raise Refused(BAD_REQUEST, sentence, "path")
    if _FORBIDDEN_ESCAPE.search(path) is not None:
        raise Refused(BAD_REQUEST, "The path holds an escaped slash or NUL.", "path")
    raw = unquote_to_bytes(path.encode("latin-1"))
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise Refused(BAD_REQUEST, "The path is not UTF-8.", "path") from None
    return raw.decode("latin-1")


def _framing(headers: dict[str, str], protocol: str) -> tuple[int | None, bool]:
    """Content-Length and whether the body is chunked (RFC 9112, 6)."""
    length = headers.get("CONTENT_LENGTH")
    coding = headers.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        if length is not None:
            sentence = "Content-Length and Transfer-Encoding came together."
            raise Refused(BAD_REQUEST, sentence, "Transfer-Encoding")
        if protocol == "HTTP/1.0":
            raise Refused(BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding.", "Transfer-Encoding")
        if coding.lower() != "chunked":
            sentence = "The only transfer coding known here is chunked."
            raise Refused(NOT_IMPLEMENTED, sentence, "Transfer-Encoding")
        return None, True
    if length is None:
        return None, False
    # Of Latin-1, only 0 to 9 are decimal.
    if not length.isdecimal() or len(length) > 18:
        raise Refused(BAD_REQUEST, "The Content-Length is not a number.", "Content-Length")
    return int(length), False


def _keeps(connection: str, protocol: str) -> bool:
    tokens = [token.strip() for token in connection.lower().split(",")]
    if "close" in tokens:
        return False
    return protocol == "HTTP/1.1" or "keep-alive" in tokens


def _expects(expectation: str, protocol: str) -> bool:
    if expectation.lower() != "100-continue":
        sentence = "The only expectation known here is 100-continue."
        raise Refused(EXPECTATION_FAILED, sentence, "Expect")
    # An HTTP/1.0 client's expectation is ignored (RFC 9110, 10.1.1).
    return protocol == "HTTP/1.1"
