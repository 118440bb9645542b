"""Where uploads that were begun are remembered, so that another try goes on with them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple, Protocol

#: Seconds after which nobody goes on with an upload any more: servers keep none for as long.
_FORGOTTEN: Final = 14 * 86_400.0


class Key(NamedTuple):
    """Which file goes where. All of it has to be the same for an upload to be gone on with."""

    #: Which davstore, as `Places.name`.
    place: str
    #: The path in its tree.
    target: str
    #: Whether it may replace what is there, which the server was told at the beginning.
    overwrite: bool
    #: The file's own path, without links, and its size and time.
    source: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()


class Unfinished(Protocol):
    def address(self, key: Key) -> str | None:
        """The path of the upload's URL; None when none is known."""

    def remember(self, key: Key, address: str) -> None: ...

    def forget(self, key: Key) -> None: ...


class InMemory:
    """For as long as the client is there."""

    def __init__(self) -> None:
        self._known: dict[Key, str] = {}

    def address(self, key: Key) -> str | None:
        return self._known.get(key)

    def remember(self, key: Key, address: str) -> None:
        self._known[key] = address

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


class InFolder:
    """One small file each, for other processes, in a folder that only its owner may look into.

    Two processes that go on with the same upload at once do no harm: the server takes each
    piece once, at its place. A folder that cannot be written to costs the memory and no more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def address(self, key: Key) -> str | None:
        try:
            found = json.loads((self._folder / key.name).read_bytes())
            return str(found["address"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def remember(self, key: Key, address: str) -> None:
        document = {**key._asdict(), "address": address}
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._tidy_up()
            # Readable for its owner only, and there wholly or not at all.
            fd, name = tempfile.mkstemp(dir=self._folder)
            try:
                with os.fdopen(fd, "w", encoding="ascii") as file:
                    json.dump(document, file)
                Path(name).replace(self._folder / key.name)
            except OSError:
                Path(name).unlink()

    def forget(self, key: Key) -> None:
        with contextlib.suppress(OSError):
            (self._folder / key.name).unlink()

    def _tidy_up(self) -> None:
        for file in self._folder.iterdir():
            if file.stat().st_mtime < time.time() - _FORGOTTEN:
                file.unlink(missing_ok=True)
