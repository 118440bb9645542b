"""File systems that are mounted for a test."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from tests.components.found import require


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """`mount` with these arguments, the last of which says where."""
    assert os.geteuid() == 0, "mounting needs root"
    subprocess.run([require("mount"), *arguments], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)
