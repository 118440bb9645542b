"""The one question of authorisation, asked for every method: may(identity, action, path)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class Action(enum.Enum):
    READ = "read"  # GET, HEAD, OPTIONS, PROPFIND, the source of a COPY
    WRITE = "write"  # PUT, MKCOL, PROPPATCH, the target of COPY and MOVE
    DELETE = "delete"  # DELETE, the source of a MOVE, a target that is replaced
    LOCK = "lock"  # LOCK and UNLOCK


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. `name` is None for anonymous."""

    name: str | None = None


ANONYMOUS = Identity()


class Authority(Protocol):
    """Who is who, and who may do what."""

    #: Whether a request without credentials gets anywhere at all.
    allows_anonymous: bool

    def identify(self, user: str, password: str) -> Identity | None:
        """The identity of right credentials, None of wrong ones."""

    def may(self, identity: Identity, action: Action, path: str) -> bool:
        """Whether `identity` may do `action` at `path` (of the whole URL space)."""
