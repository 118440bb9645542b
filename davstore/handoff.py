"""What passes between the server and those above it without either knowing the other.

A store that keeps a file's bytes in a plain file on disk does not turn them into objects
of Python: it says which part of which descriptor to send, and the server copies that to the
client's socket. And whoever is about to wait for a disk tells the server, so that another
thread can run meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

#: Where in the WSGI environ the application leaves a FileSpan. The gateway then sends the
#: span as the response's body and ignores the iterable, whose close() it still calls.
SPAN_KEY = "davstore.file_span"

#: Where in the WSGI environ the gateway announces that it understands SPAN_KEY (True).
SPAN_OFFERED_KEY = "davstore.file_span_offered"


class FileSpan(NamedTuple):
    """Send `length` bytes of the open descriptor `fd`, from `offset` on.

    The descriptor stays the property of whoever made the span, who closes it when the
    response's iterable is closed. A file that has become shorter meanwhile cuts the
    connection; the body is never silently shortened.
    """

    fd: int
    offset: int
    length: int


class Refusal(NamedTuple):
    """What the server answers itself: to what is no proper request, or to one whose body broke.

    `target` is the request target as it came, of a long one the beginning; "" when there is
    none. `status` is as in a status line, `sentence` for a person. `field` names what is wrong:
    a header field, "path" or "body"; "" where it has no name.

    An application whose attribute `explain` is a function of it decides how it is told: it
    returns header fields and body, or None for a sentence of plain text.
    """

    target: str
    status: str
    sentence: str
    field: str


class _Place(threading.local):
    give_up: Callable[[], None] | None = None


_place = _Place()


def set_place(give_up: Callable[[], None] | None) -> None:
    """Tell this thread what to call when it is about to wait (the server's part)."""
    _place.give_up = give_up


def about_to_wait() -> None:
    """Called by a thread that is about to wait for a disk, a lock or a network.

    The server keeps few threads running Python at once, because they fight for the
    interpreter; a thread that waits lets another one run in its place. Outside a server,
    this does nothing.
    """
    if _place.give_up is not None:
        _place.give_up()
