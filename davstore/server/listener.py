"""The listening sockets, opened once in the supervisor and shared by its children."""

from __future__ import annotations

import array
import logging
import socket
import struct
from typing import Any

from davstore.server.http import Server

_log = logging.getLogger(__name__)

#: Connections that wait in the kernel.
_BACKLOG = 1024

#: socket(7), a name that Python's module lacks.
_SO_ATTACH_FILTER = 26

#: BPF of what TCP gets: the byte with the flags is looked at, and a segment with SYN is dropped.
_NO_SYN = (
    (0x30, 0, 0, 13),  # ldb [13]
    (0x45, 1, 0, 0x02),  # jset #SYN, the last one, the next one
    (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
    (0x06, 0, 0, 0),  # ret #0
)


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


def turn_away(listener: socket.socket) -> None:
    """Let no new connection begin. Those that have begun can be accepted until it is closed.

    Closing a listening socket resets what was connected since the last accept(2), however short
    ago that was: seven of a hundred stops under load lost a request in this way. Who asks now gets
    no answer, asks again a second later, and is refused then. It lasts as long as the socket, so
    it is not for one that others go on with. Where the kernel has no such filter, nothing changes.
    """
    program = array.array("B", b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    address, _ = program.buffer_info()
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), address)
        )
    except OSError as error:
        _log.warning("Who connects in the moment of the end may be reset: %s", error)


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
