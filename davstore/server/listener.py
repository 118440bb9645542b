"""The listening sockets, opened once in the supervisor and shared by its children."""

from __future__ import annotations

import socket
from typing import Any

from davstore.server.http import Server

#: Connections that wait in the kernel.
_BACKLOG = 1024


def open_listener(host: str, port: int, backlog: int = _BACKLOG) -> socket.socket:
    """Bind and listen on the first address of `host` that can be had.

    IPv4 or IPv6; "::" listens on both. Port 0 takes a free one. Raises OSError.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no host name") from error
    problem = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in found:
        try:
            return _listen(backlog, family, kind, protocol, address)
        except OSError as error:
            problem = error
    raise problem


def _listen(
    backlog: int,
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    protocol: int,
    address: tuple[Any, ...],
) -> socket.socket:
    # cheroot's way: address reuse, no delay (which connections inherit), "::" for IPv4 as well.
    sock: socket.socket = Server.prepare_socket(
        address, family, kind, protocol, nodelay=True, ssl_adapter=None
    )
    try:
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock
