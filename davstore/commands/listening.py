"""The sockets that `serve` listens on: opened here, or handed over by the service manager."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from davstore.commands.configuration import fail
from davstore.config import Admin, Config, Listen
from davstore.errors import ConfigError
from davstore.server.listener import open_listener
from davstore.server.systemd import ADMIN, FILES

#: What is wrong with an address, by setting: trying again later will not make it right.
_WRONG_ADDRESS = {
    errno.EACCES: ("port", "is reserved (below 1024, mostly root's); choose another one"),
    errno.EADDRNOTAVAIL: ("host", "is no address of this machine; choose another one"),
}

#: The section of the settings that each inherited socket takes the place of.
_SECTIONS = {FILES: "listen", ADMIN: "admin"}


@dataclass(frozen=True)
class Sockets:
    """They listen already. `admin` is None when there is no admin listener. `outlives`: the
    service manager goes on with `files` after this process."""

    files: socket.socket
    admin: socket.socket | None
    outlives: bool

    @property
    def admin_port(self) -> int | None:
        return None if self.admin is None else int(self.admin.getsockname()[1])


def addresses_of(inherited: Mapping[str, socket.socket]) -> dict[str, Any]:
    """The settings, by dotted key, that the inherited sockets decide: the checks of the
    configuration have to judge the address that is really listened on."""
    decided: dict[str, Any] = {}
    for name, sock in inherited.items():
        host, port = sock.getsockname()[:2]
        decided |= {f"{_SECTIONS[name]}.host": host, f"{_SECTIONS[name]}.port": port}
    return decided


def open_sockets(config: Config, inherited: Mapping[str, socket.socket]) -> Sockets:
    """Those that were not inherited are opened. Raises ConfigError when an address is wrong."""
    files = inherited.get(FILES) or _listen("listen", config.listen)
    if config.admin is None:
        return Sockets(files, None, FILES in inherited)
    admin = inherited.get(ADMIN) or _listen("admin", config.admin)
    return Sockets(files, admin, FILES in inherited)


def _listen(section: str, wanted: Listen | Admin) -> socket.socket:
    """The listening socket that `section` of the settings asks for."""
    host, port = wanted.host, wanted.port
    try:
        return open_listener(host, port)
    except socket.gaierror as error:
        raise ConfigError(
            [f"{section}.host: {host!r} is no address, and no name of one: {error.strerror}"]
        ) from None
    except OSError as error:
        if error.errno in _WRONG_ADDRESS:
            key, meaning = _WRONG_ADDRESS[error.errno]
            value = host if key == "host" else port
            raise ConfigError([f"{section}.{key}: {value!r} {meaning}"]) from None
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            option = "--port" if section == "listen" else "--admin-port"
            reason = f"something else listens there; stop it, or choose another {option}"
        fail(f"cannot listen on {host}, port {port}: {reason}")
