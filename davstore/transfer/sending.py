"""One local file into a store."""

from __future__ import annotations

import contextlib
import hashlib
import os

from davstore.errors import DigestMismatch, Locked, StoreError, Unavailable
from davstore.stores.base import Attributes, Context, Guard, ResumableUploads, Store, Upload
from davstore.transfer import local
from davstore.transfer.pending import Pending
from davstore.transfer.tally import LeftOut, Stopped, Tally

#: Files from this size on go on where they stopped, others begin anew.
LARGE = 64 << 20

#: Bytes after which an unfinished upload is made safe, and its lease renewed.
RENEW = 1 << 30

#: What does not speak against going on later with what was sent.
_PASSING = (Stopped, Locked, Unavailable, KeyboardInterrupt)


class Sender:
    """Sends files; may be used by many threads. Memory does not grow with the file."""

    def __init__(
        self, store: Store, ctx: Context, guard: Guard | None, pending: Pending, tally: Tally
    ) -> None:
        self._store = store
        self._ctx = ctx
        self._guard = guard
        self._pending = pending
        self._tally = tally

    def send(self, target: str, fd: int) -> None:
        """Make the open file's content and time those of the file at `target`.

        Raises StoreError, OSError, LeftOut, Stopped; the target is as it was then.
        """
        found = os.fstat(fd)
        if not self._is_large(found):
            self._pending.drop(target)
            attributes = Attributes(modified=float(local.seconds(found)))
            with self._store.upload(self._ctx, target, attributes) as upload:
                self._fill(upload, fd, found)
        else:
            earlier = self._pending.take_up(target, found)
            try:
                self._send_large(earlier or self._pending.begin(target, found), target, fd, found)
            except DigestMismatch:
                # Of what an earlier run sent, something was lost: power, or a disk.
                if earlier is None:
                    raise
                self._send_large(self._pending.begin(target, found), target, fd, found)
        self._tally.transferred(found.st_size)

    def _is_large(self, found: os.stat_result) -> bool:
        return found.st_size >= LARGE and isinstance(self._store, ResumableUploads)

    def _send_large(self, upload: Upload, target: str, fd: int, found: os.stat_result) -> None:
        """With an upload that is kept when it breaks off, unless it was in vain."""
        try:
            self._fill(upload, fd, found)
        except BaseException as error:
            if not self._is_kept(upload, error):
                self._pending.forget(target)
            raise
        self._pending.forget(target)

    def _is_kept(self, upload: Upload, error: BaseException) -> bool:
        """End the upload that broke off with `error`; whether a later run can go on with it."""
        if upload.is_over:
            return False
        is_kept = isinstance(error, _PASSING)
        # What broke off is what has to be heard of; a lease ends by itself.
        with contextlib.suppress(StoreError):
            if is_kept:
                upload.suspend()
            else:
                upload.abort()
        return is_kept

    def _fill(self, upload: Upload, fd: int, found: os.stat_result) -> None:
        """Send what is not yet there, verify all of it, and make it visible."""
        digest = hashlib.sha256()
        at = 0
        changed = LeftOut("This changed while it was read; run the import again.")
        for piece in local.pieces(fd):
            self._tally.must_go_on()
            digest.update(piece)
            sent = max(0, min(upload.offset - at, len(piece)))
            if sent < len(piece):
                upload.write(memoryview(piece)[sent:])
            at += len(piece)
            if at > found.st_size:  # it may grow for ever
                raise changed
            self._tally.on_its_way(len(piece))
            if at // RENEW > (at - len(piece)) // RENEW and self._is_large(found):
                self._pending.renew(upload.path, found, upload)
        now = os.fstat(fd)
        if (now.st_size, now.st_mtime_ns, at) != (found.st_size, found.st_mtime_ns, found.st_size):
            raise changed
        upload.commit(
            expected_length=at,
            expected_digests={"sha256": digest.hexdigest()},
            guard=self._guard,
        )
