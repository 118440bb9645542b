"""Who may do what, by the configuration."""

from __future__ import annotations

from davstore.auth.base import ANONYMOUS, Action, Authority, Identity
from davstore.auth.users import UserFile
from davstore.auth.verify import Verifier
from davstore.config import Config
from davstore.errors import ConfigError


def build_authority(config: Config) -> Authority:
    """The authority that `config` asks for. Raises ConfigError (the file of users)."""
    if config.auth.users is None:
        return Everybody()
    try:
        users = UserFile(config.auth.users)
    except OSError as error:
        raise ConfigError([f"auth.users: {config.auth.users}: {error.strerror}"]) from None
    faults = users.users().faults
    if faults:
        raise ConfigError([f"auth.users: {config.auth.users}, {fault}" for fault in faults])
    verifier = Verifier(users, config.auth.cache_seconds)
    return KnownUsers(verifier, anonymous=config.auth.anonymous)


class Everybody:
    """There are no users: everybody who gets here may do everything.

    Where that is too much is not asked here: davstore then listens for this machine only, and
    a read-only share refuses every change itself.
    """

    allows_anonymous = True

    def identify(self, user: str, password: str) -> Identity | None:
        """Credentials that nobody asked for are no reason to turn anybody away."""
        return ANONYMOUS

    def may(self, identity: Identity, action: Action, path: str) -> bool:
        return True


class KnownUsers:
    """Every user may do everything; who sends no credentials, only when `anonymous`."""

    def __init__(self, verifier: Verifier, *, anonymous: bool) -> None:
        self._verifier = verifier
        self.allows_anonymous = anonymous

    def identify(self, user: str, password: str) -> Identity | None:
        name = self._verifier.verify(user, password)
        return None if name is None else Identity(name)

    def may(self, identity: Identity, action: Action, path: str) -> bool:
        return identity.name is not None or self.allows_anonymous
