"""Digests as ownCloud's and Nextcloud's clients write them: "SHA1:<hex> MD5:<hex>"."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from davstore.stores.base import Reader

#: Algorithms that can be verified, by their names in OC-Checksum, with the length of their hex.
_KNOWN = {"MD5": ("md5", 32), "SHA1": ("sha1", 40), "SHA256": ("sha256", 64)}


def text_of(digests: Mapping[str, str]) -> str:
    """All of them in one line, names in upper case."""
    return " ".join(f"{name.upper()}:{value}" for name, value in sorted(digests.items()))


def parse(text: str) -> dict[str, str]:
    """Algorithm -> lower-case hex. Unknown algorithms are left out, as ownCloud does.

    Raises ValueError with a sentence when a value cannot be one of its algorithm.
    """
    found = {}
    for part in text.split():
        name, _, value = part.partition(":")
        known = _KNOWN.get(name.upper())
        if known is None:
            continue
        algorithm, length = known
        if not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", value):
            raise ValueError(f"This is no {name[:10]} checksum: {value[:64]!r}.")
        found[algorithm] = value.lower()
    return found


def algorithm_of(name: str) -> str | None:
    """hashlib's name of the algorithm, or None when it is not known here."""
    known = _KNOWN.get(name.strip().upper())
    return known[0] if known else None


def digest_of(reader: Reader, algorithm: str) -> str:
    """The digest that is known to hold for the open file, else computed from its bytes."""
    known = reader.node.digests.get(algorithm)
    if known is not None:
        return known
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in reader.chunks(0, reader.node.size):
        digest.update(chunk)
    return digest.hexdigest()
