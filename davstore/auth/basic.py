"""The Basic scheme (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple


class Credentials(NamedTuple):
    user: str
    password: str


def parse_basic(authorization: str) -> Credentials | None:
    """What an Authorization header says; None when it is not well-formed Basic.

    Text is UTF-8 or, where it is not that, Latin-1: clients never say which.
    """
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        text = decoded.decode("latin-1")
    user, colon, password = text.partition(":")
    # Control characters are not allowed in either (section 2).
    if not colon or any(ord(char) < 32 or ord(char) == 127 for char in text):
        return None
    return Credentials(user, password)


def challenge(realm: str) -> str:
    """The WWW-Authenticate header's value; `realm` holds neither quote nor backslash."""
    return f'Basic realm="{realm}", charset="UTF-8"'
