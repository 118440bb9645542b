"""What each kind of child does with what it has of the supervisor."""

from __future__ import annotations

import mmap
import socket
from dataclasses import dataclass

from davstore.server.housekeeper import Duty, keep_house
from davstore.server.plan import Plan
from davstore.server.rehearsal import Rehearsal
from davstore.server.tallies import Tallies
from davstore.server.words import Word, Words
from davstore.server.worker import work


class Restarts:
    """How many workers had to be replaced, in memory that all children see. One process adds."""

    def __init__(self) -> None:
        self._counter = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    def add(self) -> None:
        self._counter[0] += 1

    def read(self) -> int:
        return self._counter[0]


@dataclass(frozen=True)
class Shared:
    """What all children are born with. `admin` is the admin listener's socket."""

    listener: socket.socket
    admin: socket.socket | None
    words: Words
    tallies: Tallies
    restarts: Restarts

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])


def be_worker(plan: Plan, shared: Shared) -> int:
    plan.begin()
    if shared.admin is not None:
        shared.admin.close()
    return work(
        plan.settings,
        shared.listener,
        plan.make_app,
        plan.access_log,
        lambda: shared.words.say(Word.READY),
        tallies=shared.tallies,
    )


def be_housekeeper(plan: Plan, shared: Shared) -> int:
    plan.begin()
    assert plan.housekeeping is not None
    duty = Duty(
        admin=shared.admin,
        port=shared.port,
        tallies=shared.tallies,
        worker_restarts=shared.restarts.read,
    )
    # The port of the files is not the housekeeper's to hold.
    shared.listener.close()
    return keep_house(plan.housekeeping, duty, lambda: shared.words.say(Word.LEFT))


def be_rehearsal(rehearsal: Rehearsal, shared: Shared) -> int:
    # One that hangs must hold no port.
    shared.listener.close()
    if shared.admin is not None:
        shared.admin.close()
    return rehearsal.run()
