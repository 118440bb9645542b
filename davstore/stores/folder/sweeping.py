"""Background duties of a folder share: everything that a dead process left."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from typing import Final

from davstore.errors import DeadlineExceeded, StoreError
from davstore.stores.folder import intents, leases, rows, trash
from davstore.stores.folder.copying import staged_name
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.schema import STAGED
from davstore.stores.folder.settling import settle
from davstore.stores.folder.share import Share, log
from davstore.stores.folder.staging import (
    ASIDE,
    COPY,
    DISCARDED,
    TRASH,
    UPLOAD,
    Reserved,
    held,
    split_aside,
)
from davstore.stores.folder.usage import Count

#: Seconds to wait for the path locks of an intent; its owner may just be alive.
_PATIENCE: Final = 0.02


class Sweeper:
    """Keeps the place of a count that goes over several sweeps."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._count = Count(share)

    def sweep(self, now: float, budget: float) -> int:
        """Each duty is idempotent and may be done by several processes at once."""
        until = time.monotonic() + budget
        with reported("/"):
            done = settle_left(self._share)
            if self._share.settings.read_only:
                return done
            for duty in self._duties(now, until):
                done += duty
                if time.monotonic() >= until:
                    break
            return done

    def _duties(self, now: float, until: float) -> Iterator[int]:
        if dead := self._share.presence.bury():
            self._count.start_again()
            yield dead
        yield self._end_leases(now)
        for reserved in self._share.staging.all():
            yield from self._sweep_reserved(reserved, now, until)
        yield self._forget_staged()
        while removed := self._clear_rows():
            yield removed
        yield int(self._count.go_on(now, until))

    def _end_leases(self, now: float) -> int:
        """Forget the leases that are over; their temporaries are then left over."""
        over = self._share.database.read(
            "SELECT id FROM uploads WHERE share = ? AND lease_end <= ?", (self._share.name, now)
        )
        if over:
            with self._share.database.writing() as db:
                for (upload,) in over:
                    db.execute("DELETE FROM uploads WHERE id = ? AND lease_end <= ?", (upload, now))
        return len(over)

    def _sweep_reserved(self, reserved: Reserved, now: float, until: float) -> Iterator[int]:
        for name in reserved.names():
            kind = name[:1]
            if kind in (TRASH, DISCARDED):
                yield trash.take_apart(self._share, reserved, name, until)
            elif kind in (UPLOAD, COPY):
                yield self._sweep_held(reserved, name)
            elif kind == ASIDE:
                yield self._sweep_aside(reserved, name)

    def _sweep_held(self, reserved: Reserved, name: str) -> int:
        """A temporary or a copy: remove it when nobody holds it and no lease lasts.

        The lease is looked up after the flock was taken: who persists an upload holds it.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(name, flags, dir_fd=reserved.fd)
        except OSError:
            return 0
        try:
            if not held(fd) or leases.find(self._share, name) is not None:
                return 0
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(os.fstat(fd).st_mode):
                    trash.throw(reserved, reserved.fd, name)
                else:
                    os.unlink(name, dir_fd=reserved.fd)
            return 1
        finally:
            os.close(fd)

    def _sweep_aside(self, reserved: Reserved, name: str) -> int:
        """A replaced target whose move is settled; its intent was there before it was."""
        for intent in intents.of_share(self._share.database, self._share.name):
            if intent.aside is not None and split_aside(intent.aside)[1] == name:
                return 0
        with contextlib.suppress(FileNotFoundError):
            trash.throw(reserved, reserved.fd, name)
        return 1

    def _forget_staged(self) -> int:
        """Rows of copies that are neither being built nor arriving."""
        found = self._share.database.read("SELECT name FROM nodes WHERE parent = ?", (STAGED,))
        mine = staged_name(self._share, "")
        staged = {name for (name,) in found if name.startswith(mine)}
        if not staged:
            return 0
        for reserved in self._share.staging.all():
            staged -= {staged_name(self._share, name) for name in reserved.names()}
        left = intents.of_share(self._share.database, self._share.name)
        staged -= {intent.staged for intent in left if intent.staged is not None}
        if staged:
            with self._share.database.writing() as db:
                for name in staged:
                    rows.detach(db, (STAGED, name))
        return len(staged)

    def _clear_rows(self) -> int:
        found = self._share.database.read("SELECT 1 FROM nodes WHERE parent = -1 LIMIT 1")
        if not found:
            return 0
        with self._share.database.writing() as db:
            return rows.clear_detached(db)


def settle_left(share: Share) -> int:
    """Settle the intents of dead processes; how many were settled. Leaves those of live ones."""
    settled = 0
    for intent in intents.of_share(share.database, share.name):
        try:
            settle(share, intent, time.monotonic() + _PATIENCE)
        except DeadlineExceeded:
            continue
        except StoreError as error:
            log.error("a rename cannot be settled: %s", error)
            continue
        settled += 1
    return settled
