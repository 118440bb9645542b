"""The file of users: a line `name:hash` for each, as htpasswd writes it.

Hashes are argon2id (what davstore makes) or bcrypt (`htpasswd -B`). Empty lines and lines
that begin with "#" are kept and mean nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from argon2 import PasswordHasher

log = logging.getLogger(__name__)

#: How often, in seconds, it is looked whether the file has changed.
LOOK_INTERVAL = 1.0

_UNUSABLE_IN_NAME = re.compile("[\x00-\x1f\x7f-\x9f:\ud800-\udfff]")
_ARGON2ID = re.compile(r"\$argon2id\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class Users(NamedTuple):
    """What a file says: hash by name, and a sentence for each line that is wrong."""

    hashes: Mapping[str, str]
    faults: tuple[str, ...]


def normal_name(name: str) -> str:
    """`name` in NFC: keyboards and systems differ in how they compose letters."""
    return unicodedata.normalize("NFC", name)


def name_fault(name: str) -> str | None:
    """Why `name` cannot be a user's name, or None."""
    if not name:
        return "A user's name cannot be empty."
    if name != name.strip() or name.startswith("#"):
        return f"The name {name!r} begins or ends with a character that cannot stand there."
    if _UNUSABLE_IN_NAME.search(name) or "\\" in name:
        return f"The name {name!r} holds a colon, a backslash or a control character."
    if len(name.encode()) > 255:
        return "A user's name has at most 255 bytes."
    return None


def parse(text: str) -> Users:
    """The users in a file's text. A line that is wrong lets nobody in."""
    hashes: dict[str, str] = {}
    faults = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, secret = line.rstrip("\r ").partition(":")
        name = normal_name(name)
        fault = _line_fault(name, colon, secret) or (
            f"the name {name!r} stands here a second time" if name in hashes else None
        )
        if fault:
            faults.append(f"line {number}: {fault}")
        else:
            hashes[name] = secret
    return Users(hashes, tuple(faults))


def _line_fault(name: str, colon: str, secret: str) -> str | None:
    """The hash itself is never shown."""
    if not colon:
        return "is not of the form name:hash"
    if fault := name_fault(name):
        return fault
    if not _ARGON2ID.fullmatch(secret) and not _BCRYPT.fullmatch(secret):
        return (
            f"the hash of {name!r} is neither argon2id nor bcrypt;"
            " make it anew with `davstore user add`"
        )
    return None


class UserFile:
    """The users of a file, read again when it has changed. Safe for many threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file. Raises OSError; faulty lines are in `users().faults`."""
        self.path = path
        self._clock = clock
        self._guard = threading.Lock()
        self._stamp = self._look()
        self._users = self._read()
        self._looked = clock()

    def users(self) -> Users:
        """As the file says now, or said less than LOOK_INTERVAL ago."""
        if self._clock() - self._looked >= LOOK_INTERVAL and self._guard.acquire(blocking=False):
            # Whoever comes while another thread reads gets what was known before.
            try:
                self._refresh()
            finally:
                self._guard.release()
        return self._users

    def _refresh(self) -> None:
        self._looked = self._clock()
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            users = self._read()
        except OSError as error:
            if self._users.hashes or self._stamp:
                log.error("No user can log in: %s: %s", self.path, error.strerror)
            self._stamp, self._users = (), Users({}, ())
            return
        for fault in users.faults:
            log.error("%s: %s", self.path, fault)
        # The stamp is older than the text, so that a change in between is seen next time.
        self._stamp, self._users = stamp, users

    def _look(self) -> tuple[int, ...]:
        found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self) -> Users:
        return parse(self.path.read_text(encoding="utf-8", errors="surrogateescape"))


def set_password(path: Path, name: str, password: str) -> bool:
    """Give the user `name` this password; returns whether the user is new.

    Makes the file when there is none. Raises OSError, ValueError (the name cannot be used).
    See `_rewrite` for what happens when the process dies or another one does the same.
    """
    name = normal_name(name)
    if fault := name_fault(name):
        raise ValueError(fault)
    line = f"{name}:{hash_password(password)}"
    is_new = True

    def change(lines: list[str]) -> list[str]:
        nonlocal is_new
        at = [i for i, old in enumerate(lines) if _name_in(old) == name]
        is_new = not at
        if is_new:
            return [*lines, line]
        return [line if i == at[0] else old for i, old in enumerate(lines) if i not in at[1:]]

    _rewrite(path, change)
    return is_new


def remove_user(path: Path, name: str) -> bool:
    """Take the user `name` out of the file; returns whether there was one. Raises OSError."""
    name = normal_name(name)
    found = False

    def change(lines: list[str]) -> list[str]:
        nonlocal found
        kept = [line for line in lines if _name_in(line) != name]
        found = len(kept) != len(lines)
        return kept

    _rewrite(path, change)
    return found


def hash_password(password: str) -> str:
    """An argon2id hash with the library's parameters (RFC 9106, low-memory: 64 MiB)."""
    return PasswordHasher().hash(unicodedata.normalize("NFC", password))


def _name_in(line: str) -> str | None:
    name, colon, _ = line.partition(":")
    return normal_name(name) if colon and not line.startswith("#") else None


def _rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Replace the file's lines in one step, keeping its owner and mode (new: 0600).

    If the process dies, the file is the old one or the new one; the temporary file that may
    be left is replaced next time. If another process does the same, one waits for the other
    and then reads what that one wrote.
    """
    path = Path(os.path.realpath(path))
    with _folder_locked(path.parent) as folder:
        try:
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                found: os.stat_result | None = os.fstat(file.fileno())
                lines = file.read().splitlines()
        except FileNotFoundError:
            found, lines = None, []
        changed = change(lines)
        if changed != lines:
            text = "".join(line + "\n" for line in changed)
            _replace(path, folder, text.encode(errors="surrogateescape"), found)


def _replace(path: Path, folder: int, data: bytes, like: os.stat_result | None) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            if like is not None:
                with contextlib.suppress(PermissionError):  # not ours to give away
                    os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, like.st_mode & 0o777)
            file.write(data)
            file.flush()
            os.fsync(fd)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    os.fsync(folder)


@contextlib.contextmanager
def _folder_locked(folder: Path) -> Iterator[int]:
    """The folder's descriptor, while no other process has it locked. Leaves no file behind."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)
