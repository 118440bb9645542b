"""Response heads as bytes."""

from __future__ import annotations

import email.utils
import time
from typing import Final

#: Fields about this connection only. They are the server's to set (PEP 3333; RFC 9110, 7.6.1).
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Dates:
    """The Date field's line, made once per second."""

    def __init__(self) -> None:
        # Replaced as a whole, so threads may share it without a lock.
        self._last = (0, "")

    def line(self) -> str:
        second = int(time.time())
        known, line = self._last
        if known != second:
            line = f"Date: {email.utils.formatdate(second, usegmt=True)}\r\n"
            self._last = (second, line)
        return line


def render_head(status: str, headers: list[tuple[str, str]], own: str) -> bytes:
    """The head of a response. `own` are the server's lines, each ended by CR LF.

    Raises ValueError when a name or value holds what would end its line: it would let
    whoever chose the value write the rest of the response.
    """
    count = len(headers)
    lines = [f"HTTP/1.1 {status}", *map(": ".join, headers), own]
    text = "\r\n".join(lines)
    breaks = count + 1 + own.count("\n")
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a response header holds a line break or NUL")
    return (text + "\r\n").encode("latin-1")


def in_text(sentence: str) -> tuple[list[tuple[str, str]], bytes]:
    """Header fields and body of a short answer for a person."""
    return [("Content-Type", "text/plain; charset=utf-8")], sentence.encode() + b"\n"


def last_head(status: str, headers: list[tuple[str, str]], length: int, own: str) -> bytes:
    """The head of an answer, with a body of `length` bytes, that ends the connection."""
    last = [*headers, ("Content-Length", str(length)), ("Connection", "close")]
    return render_head(status, last, own)
