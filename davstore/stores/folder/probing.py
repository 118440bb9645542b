"""Whether a folder share works now."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from davstore import paths
from davstore.errors import Unavailable
from davstore.stores.folder.share import Share


def probe(share: Share, root: Path, state: Path) -> None:
    """See `davstore.stores.base.Probed`. Raises StoreError.

    What is written goes to a file without a name in the state folder that is gone at once, so
    that hardly ever anything of it reaches the disk.
    """
    _look_at(share, root)
    try:
        with tempfile.TemporaryFile(dir=state) as file:
            file.write(b"probe")
            file.flush()
    except OSError as error:
        raise _fault(f"The state folder cannot be written: {error.strerror}.") from error
    share.stat(paths.ROOT)


def _look_at(share: Share, root: Path) -> None:
    """The open folder outlives its name; new workers, and people, look for the name."""
    try:
        there = root.stat()
        opened = os.fstat(share.root)
        flags = os.fstatvfs(share.root).f_flag
    except OSError as error:
        raise _fault(f"The share's folder cannot be reached: {error.strerror}.") from error
    if not os.path.samestat(there, opened):
        raise _fault("Another folder is in the place of the share's. Restart to serve that one.")
    if flags & os.ST_RDONLY and not share.settings.read_only:
        raise _fault("The share's file system cannot be written.")


def _fault(sentence: str) -> Unavailable:
    return Unavailable(paths.ROOT, sentence)
