"""The admin listener: the workers' server with narrow limits, on a socket that outlives it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from davstore.server.http import Server
from davstore.server.settings import ServerSettings
from davstore.server.worker import raise_descriptor_limit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: How long, in seconds, who has asked already may wait for the answer at the end.
_DRAIN: Final = 2.0

#: Whoever is slow has to make room for those who ask as they should. Fewer connections than a
#: process may mostly have descriptors: the housekeeper needs some for other things.
_SETTINGS: Final = ServerSettings(
    connections=512,
    threads=16,
    header_bytes=8 * 1024,
    header_timeout=5.0,
    idle_timeout=60.0,
    body_timeout=5.0,
    rate_grace=5.0,
)


@contextmanager
def admin_listener(listener: socket.socket, app: WSGIApplication) -> Iterator[None]:
    """Within it, `app` answers at `listener`, which listens already.

    The socket is another process's as well: it goes on listening afterwards, for the next one.
    """
    raise_descriptor_limit()
    server = Server(_SETTINGS, listener.dup(), app, None)
    server.prepare()
    server.serve()
    try:
        yield
    finally:
        server.stop()
        server.wait_drained(_DRAIN)
