"""Who a node is, so that one that died and came back takes its own place in the catalogue."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from pathlib import Path

from davstore.config import Config

_NAME = "node-id"
_ID = re.compile(r"[0-9a-f]{16}")


def service_id(config: Config) -> str:
    """The id of this node's entry: the same at every start with one state folder and one port.

    The service's name is no part of it, so a node that changes it replaces its entry, too.
    Makes the file that it is kept in. Raises OSError.
    """
    return _entry(config, _kept(config.state / _NAME))


def known_service_id(config: Config) -> str | None:
    """As `service_id`, but nothing is made; None when this node never had one."""
    found = _read(config.state / _NAME)
    return None if found is None else _entry(config, found)


def _entry(config: Config, node: str) -> str:
    # Two nodes can share a state folder, but not a port. A port that is any free one is another
    # one at each start.
    port = config.listen.port
    return f"davstore-{node}-{port}" if port else f"davstore-{node}"


def _kept(file: Path) -> str:
    """What is in the file; what it is made with, when it is missing.

    Complete from its first moment on, and of two processes that make it at once both read the
    one that was first.
    """
    if (found := _read(file)) is not None:
        return found
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{_NAME}-") as fresh:
        fresh.write(secrets.token_hex(8))
        fresh.flush()
        os.fsync(fresh.fileno())
        try:
            os.link(fresh.name, file)
        except FileExistsError:
            if _read(file) is None:
                raise OSError(f"{file} holds no id of a node; remove it") from None
    return file.read_text(encoding="ascii")


def _read(file: Path) -> str | None:
    try:
        found = file.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    return found if _ID.fullmatch(found) else None
