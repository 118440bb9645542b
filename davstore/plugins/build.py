"""Which plugins a node has, by its settings."""

from __future__ import annotations

import socket

from davstore.config import Config
from davstore.plugins.base import Plugin, Plugins
from davstore.plugins.registration import Registration


def build_plugins(config: Config, port: int, admin: socket.socket | None) -> Plugins:
    """`port` is the one that files are served at, `admin` the listening socket of the admin."""
    plugins: list[Plugin] = []
    if config.consul is not None and config.admin is not None and admin is not None:
        admin_port = admin.getsockname()[1]
        plugins.append(Registration(config, config.consul, config.admin, port, admin_port))
    return Plugins(plugins)
