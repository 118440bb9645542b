"""What the server can be told. Seconds, bytes and plain numbers, no files but TLS's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def usable_cores() -> int:
    """How many processors this process may run on (a container may have fewer than the host)."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One listening address and its limits.

    `port` 0 takes a free one. `header_timeout` is for a whole request head, from the
    connection's or the head's first byte. `idle_timeout` is for a kept-alive connection between
    two requests. `body_timeout` is how long no byte may move while a body is read or a
    response is written; `min_rate` (bytes per second, averaged over the time spent waiting
    for the client) has to be reached once `rate_grace` seconds were waited. `connections` and
    `threads` are per worker. `drain_timeout` is how long running requests may go on after a
    graceful stop was asked for. A process that gives no sign of life for `stuck_timeout` is
    killed and replaced. `tls_key` may be None when the certificate's file holds it.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = field(default_factory=usable_cores)
    backlog: int = 1024
    header_bytes: int = 64 * 1024
    header_timeout: float = 20.0
    idle_timeout: float = 75.0
    body_timeout: float = 60.0
    min_rate: int = 500
    rate_grace: float = 20.0
    connections: int = 1024
    threads: int = 512
    drain_timeout: float = 30.0
    stuck_timeout: float = 30.0
    tls_certificate: str | None = None
    tls_key: str | None = None
    server_name: str = "davstore"
