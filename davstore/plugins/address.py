"""The address at which others reach this node, told or found out."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from davstore.config import is_loopback
from davstore.config.values import host_and_port
from davstore.plugins.consul import AgentError

#: Of networks for documentation (RFC 5737, RFC 3849), which nobody has: the way there is the
#: default route. Nothing is sent.
_ELSEWHERE = ("192.0.2.1", "2001:db8::1")


def advertised(
    told: str | None, listen_host: str, agent_url: str, ask_agent: Callable[[], str]
) -> tuple[str, int | None]:
    """Host, and port when `told` ("host:port", "host") has one.

    Else the host that davstore listens on, when that is one address. When it is all of them:
    the one that the way to the agent begins with; with an agent on this machine, the one that
    the agent itself is known by (`ask_agent`, which raises AgentError), unless that is another
    machine's (an agent in a container); else the one of the default route; else loopback.
    """
    if told is not None:
        return host_and_port(told)
    if not is_any(listen_host):
        return listen_host, None
    ipv4_only = listen_host == "0.0.0.0"  # noqa: S104  # compared with, not bound
    for found in _found(agent_url, ask_agent):
        if found is not None and not (ipv4_only and ":" in found):
            return found, None
    return "127.0.0.1" if ipv4_only else "::1", None


def _found(agent_url: str, ask_agent: Callable[[], str]) -> Iterator[str | None]:
    yield _way_to(urlsplit(agent_url).hostname or "")
    yield _own(ask_agent)
    yield from map(_way_to, _ELSEWHERE)


def is_any(host: str) -> bool:
    """Whether listening on `host` is listening on all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _way_to(host: str) -> str | None:
    """This machine's address on the way to `host`; None when there is none but loopback."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            found = str(probe.getsockname()[0])
    except (OSError, UnicodeError):
        return None
    unusable = is_loopback(found) or ipaddress.ip_address(found.partition("%")[0]).is_link_local
    return None if unusable else found


def _own(ask_agent: Callable[[], str]) -> str | None:
    """The agent's address when it is one of this machine."""
    try:
        found = ask_agent()
        family = socket.AF_INET6 if ":" in found else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((found, 0))
    except (AgentError, OSError):
        return None
    return found
