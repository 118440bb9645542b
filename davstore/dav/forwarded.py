"""What proxies write about a request that they pass on: values only, nothing is believed here.

`Forwarded` (RFC 7239) and the older X-Forwarded-* fields, which most proxies set, say the same:
each hop has an entry, the nearest proxy's at the right.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")[ \t]*')
_ESCAPED = re.compile(r"\\(.)")

#: A host with or without a port, as Host may have it (RFC 9110, 7.2).
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?")

#: An address as it stands in `for`: with or without brackets and port (RFC 7239, 6).
_NODE = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?|(?P<v4>[0-9.]+)(?::[0-9]+)?")


#: Longer than any address with its zone and port.
_LONGEST_NODE = 100


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of the request as it came to it; None: not said, or not understood."""

    client: Address | None
    scheme: str | None = None
    host: str | None = None


def parse_forwarded(text: str) -> list[Hop] | None:
    """The entries of a Forwarded field (RFC 7239, 4); None when it is not of its grammar."""
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    at = 0
    while True:
        match = _PAIR.match(text, at)
        if match is None:
            return None
        name = match[1].lower()
        if name in pairs:
            return None
        pairs[name] = _unquoted(match[2])
        at = match.end()
        end = text[at : at + 1]
        if end in (",", ""):
            hops.append(_hop(pairs))
            pairs = {}
        elif end != ";":
            return None
        if not end:
            return hops
        at += 1


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _hop(pairs: dict[str, str]) -> Hop:
    return Hop(
        parse_address(pairs.get("for", "")),
        parse_scheme(pairs.get("proto", "")),
        parse_host(pairs.get("host", "")),
    )


def parse_address(text: str) -> Address | None:
    """The address in "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80" or "2001:db8::1"."""
    return _address(text.strip()) if len(text) <= _LONGEST_NODE else None


@lru_cache(1024)
def _address(text: str) -> Address | None:
    match = _NODE.fullmatch(text)
    try:
        address = ipaddress.ip_address((match["v6"] or match["v4"]) if match else text)
    except ValueError:  # "unknown", a name of the proxy's own, or nonsense
        return None
    # What a socket for both families calls an IPv4 client.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_scheme(text: str) -> str | None:
    scheme = text.strip().lower()
    return scheme if scheme in ("http", "https") else None


def parse_host(text: str) -> str | None:
    """A host, with its port where it has one."""
    host = text.strip()
    return host if _HOST.fullmatch(host) else None
