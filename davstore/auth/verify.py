"""Whether a name and a password belong together, without a slow hash for every request."""

from __future__ import annotations

import hmac
import os
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import argon2
import bcrypt

from davstore.auth.users import UserFile, normal_name
from davstore.handoff import about_to_wait

#: How many right credentials are remembered.
CAPACITY = 4096

#: Longer passwords are wrong without a look at them: hashing them is work for an attacker.
_LONGEST_PASSWORD = 1024


def check_hash(secret: str, password: str) -> bool:
    """Whether `password` has the argon2id or bcrypt hash `secret`. Takes tens of milliseconds.

    Both libraries let other threads run meanwhile. The composed form (NFC) is what davstore
    hashes; other programs hash what was typed.
    """
    composed = unicodedata.normalize("NFC", password)
    texts = dict.fromkeys((composed, password))
    return any(_check(secret, text.encode(errors="surrogatepass")) for text in texts)


def _check(secret: str, password: bytes) -> bool:
    if secret.startswith("$argon2"):
        try:
            return argon2.low_level.verify_secret(
                secret.encode(), password, argon2.low_level.Type.ID
            )
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
    try:
        # bcrypt knows 72 bytes; htpasswd cuts as well, newer libraries refuse instead.
        return bcrypt.checkpw(password[:72], secret.encode())
    except ValueError:  # a NUL in the password
        return False


class Verifier:
    """Checks credentials against a file of users; safe for many threads.

    Right credentials are remembered for `cache_seconds`, under an HMAC with a key that only
    this process knows, over name, stored hash and password: a changed password or a removed
    user is out as soon as the file is read again. Wrong ones are never remembered. The same
    credentials in several requests at once are hashed once. At most as many hashes as
    there are processors run at once: each takes 64 MiB.
    """

    def __init__(
        self,
        users: UserFile,
        cache_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[str, str], bool] = check_hash,
    ) -> None:
        self._users = users
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._check = check
        self._key = secrets.token_bytes(32)
        self._guard = threading.Lock()
        self._good_until: OrderedDict[bytes, float] = OrderedDict()
        self._running: dict[bytes, Future[bool]] = {}
        self._hashing = threading.BoundedSemaphore(len(os.sched_getaffinity(0)))

    def verify(self, name: str, password: str) -> str | None:
        """The user's name as the file has it when the password is right, else None."""
        if len(password) > _LONGEST_PASSWORD:
            return None
        hashes = self._users.users().hashes
        known = _find(hashes, name)
        if known is None:
            self._waste_time(hashes, name, password)
            return None
        secret = hashes[known]
        key = self._digest(known, secret, password)
        with self._guard:
            if self._good_until.get(key, 0.0) > self._clock():
                return known
            running = self._running.get(key)
            if running is None:
                mine = self._running[key] = Future()
        if running is not None:
            about_to_wait()
            return known if running.result() else None
        return known if self._hash(key, mine, secret, password) else None

    def _digest(self, *parts: str) -> bytes:
        message = b"".join(
            b"%d:%b" % (len(data), data)
            for data in (part.encode(errors="surrogatepass") for part in parts)
        )
        return hmac.digest(self._key, message, "sha256")

    def _hash(self, key: bytes, mine: Future[bool], secret: str, password: str) -> bool:
        """Do the slow part, for every request that waits for `mine`."""
        try:
            good = self._slow_check(secret, password)
        except BaseException as error:
            with self._guard:
                del self._running[key]
            mine.set_exception(error)
            raise
        with self._guard:
            del self._running[key]
            if good:
                self._remember(key)
        mine.set_result(good)
        return good

    def _remember(self, key: bytes) -> None:
        self._good_until[key] = self._clock() + self._cache_seconds
        self._good_until.move_to_end(key)
        # Insertion order is order of expiry, so the oldest go first.
        while len(self._good_until) > CAPACITY:
            self._good_until.popitem(last=False)

    def _slow_check(self, secret: str, password: str) -> bool:
        about_to_wait()
        with self._hashing:
            return self._check(secret, password)

    def _waste_time(self, hashes: Mapping[str, str], name: str, password: str) -> None:
        """Take as long for an unknown name as for a known one with a wrong password.

        One of the users' hashes stands in, always the same for a name, so that the mixture
        of argon2id and bcrypt tells nothing either.
        """
        if hashes:
            secrets_ = list(hashes.values())
            self._slow_check(secrets_[self._digest(name)[0] % len(secrets_)], password)


def _find(hashes: Mapping[str, str], name: str) -> str | None:
    """The user that `name` means. Windows sends DOMAIN\\user; a name holds no backslash."""
    name = normal_name(name.rpartition("\\")[2])
    return name if name in hashes else None
