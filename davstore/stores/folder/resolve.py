"""From a path of the share to an open descriptor, never out of the share.

Every look-up starts at the descriptor of the share's root. Symbolic links are followed as
long as they stay inside (relative ones; an absolute link counts as leading out). The
kernel does that in one step with openat2(2); where it has none, `WalkBeneath` goes component
by component with O_NOFOLLOW and expands links itself. In both, a folder that is swapped for
a link meanwhile is either the folder or refused.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from pathlib import Path
from typing import Literal, Protocol, Self

from davstore import paths
from davstore.stores.folder import syscalls

#: "kernel" uses openat2(2) and renameat2(2), "portable" does without.
Means = Literal["kernel", "portable"]

#: Look without opening: no permission needed, no side effect on FIFOs and devices.
LOOK = os.O_PATH
FOLDER = os.O_RDONLY | os.O_DIRECTORY
#: A FIFO that was swapped in must not hang the reader, a terminal not take it over.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY

_MOST_LINKS = 40


class Opener(Protocol):
    """How to open something beneath the root."""

    def open(self, relative: bytes, flags: int) -> int:
        """An fd, close-on-exec. Raises OSError; EXDEV where the path leads out."""


class KernelBeneath:
    """openat2(2) with RESOLVE_BENEATH."""

    def __init__(self, root: int) -> None:
        self._root = root

    def open(self, relative: bytes, flags: int) -> int:
        return syscalls.open_beneath(self._root, relative, flags)


class WalkBeneath:
    """The same for kernels and sandboxes without openat2: one component after the other."""

    def __init__(self, root: int) -> None:
        self._root = root

    def open(self, relative: bytes, flags: int) -> int:
        trail = [os.dup(self._root)]
        try:
            return self._walk(trail, relative, flags)
        finally:
            for fd in trail:
                os.close(fd)

    def _walk(self, trail: list[int], relative: bytes, flags: int) -> int:
        """`trail` holds the folders walked through, the root first; ".." goes back in it."""
        pending = relative.split(b"/")[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if len(trail) == 1:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                os.close(trail.pop())
                continue
            fd = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=trail[-1])
            trail.append(fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                pending += self._link(fd, links)
                os.close(trail.pop())
            elif not stat.S_ISDIR(mode):
                return self._last(trail, part, pending, flags)
        return os.open(".", flags, dir_fd=trail[-1])

    @staticmethod
    def _link(fd: int, links: int) -> list[bytes]:
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(b"", dir_fd=fd)
        if target.startswith(b"/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return target.split(b"/")[::-1]

    @staticmethod
    def _last(trail: list[int], part: bytes, pending: list[bytes], flags: int) -> int:
        """Open a file that is no folder; nothing may follow it in the path."""
        if pending:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return os.open(part, flags | os.O_NOFOLLOW, dir_fd=trail[-2])


def choose_opener(root: int, wanted: Means | None) -> Opener:
    """The kernel's way where it works, unless `wanted` says which."""
    if wanted == "portable":
        return WalkBeneath(root)
    kernel = KernelBeneath(root)
    try:
        os.close(kernel.open(b".", LOOK))
    except OSError:
        if wanted is not None:
            raise
        return WalkBeneath(root)
    return kernel


class Tree:
    """The share's folder: canonical paths in, descriptors and spellings out.

    All methods raise OSError.
    """

    def __init__(self, root: int, wanted: Means | None) -> None:
        self.root = root
        self._opener = choose_opener(root, wanted)

    def open(self, path: str, flags: int) -> int:
        """Open what is at `path`, links followed; also when the disk spells it in NFD."""
        try:
            return self._opener.open(path[1:].encode() or b".", flags)
        except FileNotFoundError:
            if path.isascii():
                raise
        return self._opener.open(self._spelled(path).encode(errors="surrogateescape"), flags)

    def _spelled(self, path: str) -> str:
        """The relative path as the disk spells it. Raises FileNotFoundError."""
        spelled: list[str] = []
        for name in paths.names(path):
            found: str | None = name
            if not name.isascii():
                above = "/".join(spelled).encode() or b"."
                with Descriptor(self._opener.open(above, FOLDER)) as folder:
                    found = spelling(folder.fd, name)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            spelled.append(found)
        return "/".join(spelled)

    def real_path(self, fd: int) -> str | None:
        """The path within the share of the open `fd`, free of links; None when it has none."""
        root = str(Path(f"/proc/self/fd/{self.root}").readlink()).rstrip("/")
        real = str(Path(f"/proc/self/fd/{fd}").readlink())
        if not real.startswith(root + "/") or real.endswith(" (deleted)"):
            return None
        return real[len(root) :]


def spelling(folder: int, name: str) -> str | None:
    """How the open `folder` spells the NFC `name`; None when it has no such member.

    The exact bytes win. Only a name outside ASCII that is not there costs a scan.
    """
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        if name.isascii():
            return None
    else:
        return name
    for found in os.listdir(folder):
        if not found.isascii() and unicodedata.normalize("NFC", found) == name:
            return found
    return None


class Descriptor:
    """An open descriptor that is closed at the end of a `with`, or when it is dropped."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """May be called twice."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    __del__ = close
