"""Kinds of values that a setting can have beyond those of pydantic: durations, sizes, paths."""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class FileText(str):
    """Text that stood in a configuration file, and remembers in which folder that file lies."""

    __slots__ = ("folder",)
    folder: Path

    def __new__(cls, text: str, folder: Path) -> FileText:
        self = super().__new__(cls, text)
        self.folder = folder
        return self


def parse_duration(value: object) -> float:
    """Seconds: of a number, of "90", or of parts such as "30s" and "1h30m".

    Raises ValueError.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("is not a duration; write seconds, or 500ms, 30s, 5m, 1h30m, 7d")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def anchored(value: object) -> Path:
    """An absolute path; what stood in a file is relative to the file's folder.

    Neither links nor ".." are resolved: the kernel does that each time. Raises ValueError.
    """
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("is not a path")
    if "\0" in str(value):
        raise ValueError("holds a NUL character")
    folder = value.folder if isinstance(value, FileText) else Path.cwd()
    path = Path(str(value))
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, but there is no home folder to be found") from None
    return folder / path


#: The scheme of a private mongod's address.
EMBEDDED = "embedded"


def mongo_uri(value: object) -> str:
    """A MongoDB connection string, or "embedded:" and an absolute path. Raises ValueError.

    What only the driver can judge (options, host names) is judged when it connects.
    """
    if not isinstance(value, str) or not re.match(rf"(mongodb(\+srv)?://|{EMBEDDED}:).", value):
        raise ValueError('is not "mongodb://host:port/database", nor "embedded:FOLDER"')
    scheme, _, rest = value.partition(":")
    if scheme != EMBEDDED:
        return str(value)
    folder = FileText(rest, value.folder) if isinstance(value, FileText) else rest
    return f"{EMBEDDED}:{anchored(folder)}"


def http_url(value: object) -> str:
    """Scheme, host and port of an HTTP server, without a slash at the end. Raises ValueError."""
    text = str(value).rstrip("/")
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError('is not "http://host:port"')
    return text


def ip_network(text: str) -> str:
    """An address, or a network such as "10.0.0.0/8". Raises ValueError."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError('is neither an IP address nor a network such as "10.0.0.0/8"') from None


def host_and_port(text: str) -> tuple[str, int | None]:
    """Of "host:port", "host", "[::1]:port" or "::1". Raises ValueError."""
    bare = text.count(":") > 1 and not text.startswith("[")
    parts = urlsplit(f"//[{text}]" if bare else f"//{text}")
    if not parts.hostname or parts.path or parts.query or parts.username is not None:
        raise ValueError("is no host")
    return parts.hostname, parts.port


def reachable_address(text: str) -> str:
    """Where others reach this node: "host:port" or "host". Raises ValueError."""
    try:
        host, port = host_and_port(text)
    except ValueError:
        host, port = "", 0
    if not re.fullmatch(r"[0-9a-z.:_-]+(%[0-9a-z]+)?", host) or port == 0:
        raise ValueError('is not "host:port" or "host"')
    return text


def mounted_prefix(text: str) -> str:
    """A path such as "/drive", without a slash at the end; or nothing. Raises ValueError."""
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[0-9A-Za-z._~-]+)+", path):
        raise ValueError('is not a path such as "/drive"')
    return path


def _names(value: object) -> object:
    """A list; of one text, what stands between its commas."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


def _at_least_one(size: ByteSize) -> ByteSize:
    if size < 1:
        raise ValueError("is not a size above zero")
    return size


def _no_truth(value: object, meaning: str) -> object:
    if isinstance(value, bool):
        raise ValueError(meaning)
    return value


#: Seconds, more than none.
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(parse_duration)]

#: A whole number. YAML's true and yes are none, though Python counts them as 1.
Whole = Annotated[int, BeforeValidator(partial(_no_truth, meaning="is not a whole number"))]

#: Bytes, at least one.
Size = Annotated[
    ByteSize,
    AfterValidator(_at_least_one),
    BeforeValidator(partial(_no_truth, meaning="is not a size; write bytes, or 64KiB, 1MiB, 20GB")),
]

#: An absolute path.
Anchored = Annotated[Path, BeforeValidator(anchored)]

#: A sequence of texts, also written as one text with commas.
CommaSeparated = BeforeValidator(_names)

#: Where a MongoDB is.
MongoUri = Annotated[str, BeforeValidator(mongo_uri)]
