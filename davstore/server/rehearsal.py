"""The first step of a reload: a child reads and tries what may become the next plan."""

from __future__ import annotations

import logging
import os

from davstore.errors import ConfigError
from davstore.server.child import CANNOT_START
from davstore.server.plan import Plan, Renewal
from davstore.server.tls import check_certificate

_log = logging.getLogger(__name__)


class SamePlan:
    """The Renewal that changes nothing but the workers, who read the certificate again."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def prepare(self) -> bytes:
        check_certificate(self._plan.settings)
        return b""

    def plan(self, prepared: bytes) -> Plan:
        return self._plan


class Rehearsal:
    """The child hands over what it has prepared in a file in memory: a pipe has not always the
    room, and the supervisor does not wait. Nothing is left of it when either of them dies.
    """

    def __init__(self, renewal: Renewal) -> None:
        self._renewal = renewal
        self._fd = os.memfd_create("davstore-reload", os.MFD_CLOEXEC)

    def run(self) -> int:
        """In the child; returns its exit status. What is wrong is told in the log."""
        # A try before this one may have been killed in the middle.
        os.ftruncate(self._fd, 0)
        try:
            prepared = self._renewal.prepare()
        except ConfigError as error:
            for fault in error.faults:
                _log.error("Not reloading: %s", fault)
            return CANNOT_START
        with open(self._fd, "wb", closefd=False) as file:
            file.write(prepared)
        return 0

    def plan(self) -> Plan:
        """In the supervisor, once the child has ended well."""
        return self._renewal.plan(os.pread(self._fd, os.fstat(self._fd).st_size, 0))

    def close(self) -> None:
        os.close(self._fd)
