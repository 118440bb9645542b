"""What the supervisor's children do; at a reload another plan takes this one's place."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from davstore.logs import AccessRecord
from davstore.server.housekeeper import Duty
from davstore.server.settings import ServerSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Stage(enum.Enum):
    """What whoever started the supervisor wants to know of it."""

    READY = enum.auto()
    RELOADING = enum.auto()
    STOPPING = enum.auto()


def _nothing() -> None:
    """Nothing is to be done first."""


@dataclass(frozen=True)
class Plan:
    """`make_app` is called in each worker after the fork, `housekeeping` in a child of its own
    (see `Duty`). `access_log` is called in the workers, by many threads. `begin` is called first
    in each child, and in the supervisor once the plan is what is served by. `known_as` is where
    and as what the node is made known: when a reload changes it, the housekeeper says farewell.
    """

    settings: ServerSettings
    make_app: Callable[[], WSGIApplication]
    housekeeping: Callable[[Duty], None] | None = None
    access_log: Callable[[AccessRecord], None] | None = None
    begin: Callable[[], None] = _nothing
    known_as: object = None


class Renewal(Protocol):
    """Where the plan comes from that a reload is for."""

    def prepare(self) -> bytes:
        """Read and try everything that may fail or take long; what `plan` is made from.

        Called in a child, whose end it does not outlive. Raises ConfigError: the faults.
        """
        ...

    def plan(self, prepared: bytes) -> Plan:
        """The new plan. Called in the supervisor, which waits for nothing."""
        ...
