"""The digests that a client announces for its content, in any of the ways that there are."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from davstore.dav import checksums
from davstore.dav.request import Environ
from davstore.web.rest.asked import environ_key
from davstore.web.rest.problems import Problem, invalid

#: Names of algorithms in HTTP (RFC 9530, RFC 3230) as hashlib has them, with their bytes.
_ALGORITHMS = {"sha-256": ("sha256", 32), "sha": ("sha1", 20), "md5": ("md5", 16)}

#: One member of a structured dictionary: sha-256=:...:
_MEMBER = re.compile(r"\s*([a-z0-9*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*")
#: The fields that hold some, in the order in which they are read.
_FIELDS = ("Repr-Digest", "Digest", "OC-Checksum")
_OLD_MEMBER = re.compile(r"\s*([A-Za-z0-9-]+)=([A-Za-z0-9+/=]+)\s*")


def announced(environ: Environ, parameters: Mapping[str, str | None]) -> dict[str, str]:
    """Algorithm of hashlib -> lower-case hex; `parameters` are checked hex by algorithm.

    Of the fields Repr-Digest, Digest and OC-Checksum. Algorithms that are not known are left
    out (RFC 9530, 2). Raises 400 that names the field with a value that cannot be, or which
    contradicts another.
    """
    found = {name: value.lower() for name, value in parameters.items() if value}
    for field, pattern in (("Repr-Digest", _MEMBER), ("Digest", _OLD_MEMBER)):
        text = _text(environ, field)
        if text is not None:
            _add(found, _members(text, field, pattern), field)
    text = _text(environ, "OC-Checksum")
    if text is not None:
        try:
            _add(found, checksums.parse(text), "OC-Checksum")
        except ValueError as error:
            raise invalid("OC-Checksum", str(error)) from None
    return found


def first_place(environ: Environ, parameters: Mapping[str, str | None]) -> str | None:
    """The first parameter or field that announces a digest: what to name when none is right."""
    places = [name for name, value in parameters.items() if value]
    places += [each for each in _FIELDS if _text(environ, each) is not None]
    return next(iter(places), None)


def _text(environ: Environ, field: str) -> str | None:
    value = environ.get(environ_key(field))
    return None if value is None else str(value)


def _members(text: str, field: str, pattern: re.Pattern[str]) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        match = pattern.fullmatch(part)
        if match is None:
            raise invalid(field, f"{field} cannot be understood.")
        known = _ALGORITHMS.get(match[1].lower())
        if known is None:
            continue
        algorithm, size = known
        try:
            value = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            value = b""
        if len(value) != size:
            raise invalid(field, f"{field} holds no {match[1]} digest in Base64.")
        found[algorithm] = value.hex()
    return found


def _add(found: dict[str, str], more: Mapping[str, str], field: str) -> None:
    for algorithm, value in more.items():
        if found.setdefault(algorithm, value) != value:
            sentence = f"{field} contradicts what else is said of the content's {algorithm}."
            raise Problem(400, "parameter-invalid", sentence, field=field)
