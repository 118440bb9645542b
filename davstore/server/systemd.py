"""systemd's two ways with a service: sd_notify(3) and sd_listen_fds(3).

What it leaves in the environment is taken out of there, since it is meant for this process and
for none that this one starts.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

from davstore.errors import ConfigError
from davstore.server.plan import Stage

_log = logging.getLogger(__name__)

#: The first of the sockets that are handed over (SD_LISTEN_FDS_START).
_FIRST = 3

#: The names of the sockets, as FileDescriptorName= says them.
FILES = "davstore"
ADMIN = "admin"


class Notifier:
    """Tells the service manager how things are; nothing when there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        return cls(environ.pop("NOTIFY_SOCKET", None) or None)

    def __call__(self, stage: Stage) -> None:
        if stage is Stage.READY:
            self._send("READY=1\nSTATUS=Serving")
        elif stage is Stage.STOPPING:
            self._send("STOPPING=1\nSTATUS=Stopping: running requests may finish")
        else:
            # Both clocks are CLOCK_MONOTONIC, which is what Type=notify-reload asks for.
            now = time.monotonic_ns() // 1000
            self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reloading")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        # "@" stands for the zero byte of an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                # Whoever waits for it in vain must not hold up the supervisor.
                out.setblocking(False)
                out.sendto(text.encode(), address)
        except OSError as error:
            _log.warning("The service manager could not be told %r: %s", text, error)


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """The listening sockets that the service manager has opened for this process, by name.

    The first one without a name of ours is that of the files. Raises ConfigError when one of
    them is of no use.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, socket.socket] = {}
    for at in range(int(count)):
        name = names[at] if at < len(names) else ""
        if name not in (FILES, ADMIN):
            name = FILES
        if name in found:
            raise ConfigError([f"LISTEN_FDS: a second socket for {name!r}; davstore takes one"])
        found[name] = _adopt(_FIRST + at)
    return found


def _adopt(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError([f"LISTEN_FDS: descriptor {fd} is no socket: {error.strerror}"]) from None
    sock.set_inheritable(False)
    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not is_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigError(
            [f"LISTEN_FDS: descriptor {fd} is no listening TCP socket; use ListenStream=HOST:PORT"]
        )
    # Connections inherit it; a response's last packet would wait for the one before it.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
