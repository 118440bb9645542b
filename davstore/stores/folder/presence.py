"""Which processes have a share open, and whether one of them died.

A change and its count of bytes are two steps; whoever is killed in between leaves a counter
that is wrong. Each process holds a flock on a file of its own in the state directory and
removes it when it closes the share. A file that nobody holds tells of a death, and the share
is counted again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from davstore.stores.folder.resolve import FOLDER, Descriptor
from davstore.stores.folder.staging import Reserved, held

_FOLDER = "alive"


class Presence:
    """One process's sign of life for the share whose row id is `root`. Raises OSError."""

    def __init__(self, state: Path, root: int) -> None:
        (state / _FOLDER).mkdir(mode=0o700, exist_ok=True)
        self._mine = f"{root:x}-"
        self._folder = Descriptor(os.open(state / _FOLDER, FOLDER))
        self._name, fd = Reserved(self._folder.fd, "").new_file(self._mine, 0o600)
        self._file = Descriptor(fd)

    def bury(self) -> int:
        """Remove the signs of dead processes; how many there were."""
        dead = 0
        for name in Reserved(self._folder.fd, "").names():
            if name.startswith(self._mine) and name != self._name:
                dead += self._bury(name)
        return dead

    def _bury(self, name: str) -> bool:
        try:
            fd = os.open(name, os.O_RDONLY, dir_fd=self._folder.fd)
        except FileNotFoundError:
            return False
        with Descriptor(fd) as file:
            if not held(file.fd):
                return False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder.fd)
        return True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._folder.fd)
        self._file.close()
        self._folder.close()
