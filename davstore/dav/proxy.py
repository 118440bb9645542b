"""davstore behind a proxy: whose word is believed, and what follows from it.

A trusted proxy's fields change the environ as if the client had spoken to davstore itself
(REMOTE_ADDR, HTTP_HOST, wsgi.url_scheme, SCRIPT_NAME), so nothing after this knows of proxies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

from davstore.config.values import mounted_prefix
from davstore.dav.forwarded import (
    Address,
    Hop,
    parse_address,
    parse_forwarded,
    parse_host,
    parse_scheme,
)

#: Key of the environ: the Host field as it came, where a proxy named another one.
HEARD_HOST_KEY = "davstore.heard_host"

_DEFAULT_PORTS = {"http": "80", "https": "443"}

#: Entries that are looked at: no chain of proxies is longer.
_MOST_HOPS = 32


class Proxies:
    """Those that stand in front; `trusted` are networks, `prefix` is what they cut off paths.

    X-Forwarded-* are preferred to Forwarded: a proxy that sets those may pass a client's
    Forwarded on unseen, as nginx does.
    """

    def __init__(self, trusted: Sequence[str], prefix: str = "") -> None:
        self._networks = [ipaddress.ip_network(network) for network in trusted]
        self._prefix = prefix
        #: Remembered, as parsed addresses are: 10 us per request become 5.
        self._trusts = lru_cache(1024)(self._is_trusted)

    @classmethod
    def of(cls, trusted: Sequence[str], prefix: str) -> Self | None:
        """None where there is nothing to be done, so that it costs nothing."""
        return cls(trusted, prefix) if trusted or prefix else None

    def apply(self, environ: dict[str, Any]) -> None:
        """Change `environ` to what the client asked of the outermost trusted proxy."""
        if self._prefix:
            environ["SCRIPT_NAME"] = self._prefix
        if not self._networks or not self._trusts(parse_address(environ.get("REMOTE_ADDR", ""))):
            return
        hop = _latest(self._believed(_hops(environ)))
        if hop.client is not None:
            environ["REMOTE_ADDR"] = str(hop.client)
        if hop.scheme is not None:
            environ["wsgi.url_scheme"] = hop.scheme
        if hop.host is not None:
            environ[HEARD_HOST_KEY] = environ.get("HTTP_HOST", "")
            environ["HTTP_HOST"] = hop.host
        if not self._prefix:
            environ["SCRIPT_NAME"] = _prefix(environ.get("HTTP_X_FORWARDED_PREFIX", ""))

    def _believed(self, hops: list[Hop]) -> list[Hop]:
        """The entries that a trusted proxy wrote, the outermost last.

        The nearest is the peer's own; each further one is believed while the one before names
        a trusted proxy as who asked.
        """
        believed: list[Hop] = []
        for hop in reversed(hops):
            believed.append(hop)
            if not self._trusts(hop.client):
                break
        return believed

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _latest(believed: list[Hop]) -> Hop:
    """Of each part, what the outermost proxy says that says it."""
    client = scheme = host = None
    for hop in believed:
        client = hop.client or client
        scheme = hop.scheme or scheme
        host = hop.host or host
    return Hop(client, scheme, host)


def _hops(environ: dict[str, Any]) -> list[Hop]:
    """The entries of either kind of field, the nearest proxy's last."""
    lists = [
        environ.get(f"HTTP_X_FORWARDED_{name}", "").split(",") for name in ("FOR", "PROTO", "HOST")
    ]
    if not any(any(texts) for texts in lists):
        return parse_forwarded(environ.get("HTTP_FORWARDED", "")) or []
    clients, schemes, hosts = lists
    port = environ.get("HTTP_X_FORWARDED_PORT", "").strip()
    hops = []
    # Each proxy adds a client; the others it adds or replaces, and then there are fewer.
    for back in range(min(len(clients), _MOST_HOPS), 0, -1):
        scheme = parse_scheme(schemes[-min(back, len(schemes))])
        host = parse_host(hosts[-min(back, len(hosts))])
        hops.append(Hop(parse_address(clients[-back]), scheme, _with_port(host, port, scheme)))
    return hops


def _with_port(host: str | None, port: str, scheme: str | None) -> str | None:
    """X-Forwarded-Port says what a host without a port leaves out."""
    if host is None or host.rpartition("]")[2].count(":") or not port.isdecimal() or len(port) > 5:
        return host
    return host if _DEFAULT_PORTS.get(scheme or "") == port else f"{host}:{port}"


def _prefix(text: str) -> str:
    """X-Forwarded-Prefix where it is a plain path, as links can hold it; else none."""
    try:
        return mounted_prefix(text.strip())
    except ValueError:
        return ""
