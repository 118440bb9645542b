"""Patterns for names, as shells have them: * and ? and [a-z]."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable
from typing import Annotated

from pydantic import StringConstraints

#: Case counts, as it does in names.
Glob = Annotated[str, StringConstraints(min_length=1, max_length=255)]


def matcher(pattern: str | None) -> Callable[[str], object]:
    """Tells whether a name fits; every name fits no pattern."""
    if pattern is None:
        return lambda _name: True
    return re.compile(fnmatch.translate(unicodedata.normalize("NFC", pattern))).match
