"""Content on its way into a folder share: a temporary, then one rename."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Mapping
from typing import Final

from davstore import paths
from davstore.errors import (
    DigestMismatch,
    IsAFolder,
    LengthMismatch,
    Locked,
    NoSuchUpload,
    PreconditionFailed,
    QuotaExceeded,
    StoreError,
    Unavailable,
)
from davstore.stores.base import Attributes, Committed, Context, Effect, Guard, Upload
from davstore.stores.folder import leases, rows, syscalls, usage
from davstore.stores.folder.changing import changing
from davstore.stores.folder.nodes import node_of
from davstore.stores.folder.oserrors import reported
from davstore.stores.folder.place import Place, behind_link, place_for_member
from davstore.stores.folder.rows import Row
from davstore.stores.folder.share import Share, in_time, log
from davstore.stores.folder.staging import UPLOAD, Reserved
from davstore.stores.folder.times import fresh_mtime

#: Bytes read at once when the temporary is read again for a digest.
_PIECE: Final = 1 << 20
#: Set-user-id and its like do not stay on a content that came over the network.
_MODE_BITS: Final = 0o777


class FolderUpload(Upload):
    """A temporary in a reserved folder, held by its open descriptor's flock.

    Dies the process, the kernel lets go of the flock and the temporary is swept, unless
    it was made persistent and its lease lasts.
    """

    def __init__(
        self,
        share: Share,
        ctx: Context,
        path: str,
        attributes: Attributes,
        *,
        reserved: Reserved,
        name: str,
        fd: int,
        is_persistent: bool = False,
        memo: str = "",
    ) -> None:
        self._share = share
        self._ctx = ctx
        self.path = path
        self._attributes = attributes
        self._reserved = reserved
        self.id = name
        self._fd = fd
        self._is_persistent = is_persistent
        self.memo = memo
        self.offset = os.fstat(fd).st_size if is_persistent else 0
        # Digests of what another process wrote are made at the commit, in one pass, and not
        # at each resumption, which would read a file of n parts n / 2 times.
        self._hashes = {
            algorithm: hashlib.new(algorithm, usedforsecurity=False)
            for algorithm in (share.settings.digests if self.offset == 0 else ())
        }
        self._room = usage.room(share)

    @property
    def is_over(self) -> bool:
        return self._fd < 0

    def write(self, data: bytes | memoryview) -> None:
        self._must_be_open()
        left = memoryview(data).cast("B") if isinstance(data, memoryview) else memoryview(data)
        if self._room is not None and self.offset + len(left) > self._room:
            self._must_fit(len(left))
        try:
            with reported(self.path):
                for digest in self._hashes.values():
                    digest.update(left)
                while left:
                    written = os.write(self._fd, left)
                    self.offset += written
                    left = left[written:]
        except StoreError:
            self._hashes.clear()  # they are ahead of the file; the commit reads it again
            raise

    def rewind(self, offset: int) -> None:
        self._must_be_open()
        if not 0 <= offset <= self.offset:
            raise ValueError(offset)
        self._hashes.clear()  # they know more than there is; the commit reads it again
        with reported(self.path):
            os.ftruncate(self._fd, offset)
            os.lseek(self._fd, offset, os.SEEK_SET)
            if self._is_persistent:
                self._share.sync(self._fd)
        self.offset = offset

    def _must_be_open(self) -> None:
        if self._fd < 0:
            raise NoSuchUpload(self.id)

    def _must_fit(self, more: int) -> None:
        """Raises QuotaExceeded, unless the file that is replaced gives the space."""
        assert self._room is not None
        replaced = 0
        with contextlib.suppress(StoreError):
            replaced = self._share.stat(self.path).size
        if self.offset + more > self._room + replaced:
            raise QuotaExceeded(self.path)

    def commit(
        self,
        *,
        expected_length: int | None = None,
        expected_digests: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Committed:
        self._must_be_open()
        try:
            in_time(self._ctx, self.path)
            if expected_length not in (None, self.offset):
                raise LengthMismatch(self.path)
            digests = self._checked_digests(expected_digests or {})
            with reported(self.path):
                self._settle_bytes()
                with changing(self._share, self._ctx, self.path):
                    committed = self._put_in_place(digests, guard)
        except BaseException as error:
            self._fail(error, expected_length)
            raise
        self._close()
        return committed

    def _fail(self, error: BaseException, expected_length: int | None) -> None:
        """A persistent upload survives what its client, or time, can put right."""
        survives = isinstance(error, Locked | PreconditionFailed | Unavailable) or (
            isinstance(error, LengthMismatch) and self.offset < (expected_length or 0)
        )
        if not (self._is_persistent and survives):
            self.abort()

    def _checked_digests(self, expected: Mapping[str, str]) -> dict[str, str]:
        """The digests to keep, lower-case hex. Raises DigestMismatch."""
        kept = self._share.settings.digests
        known = {algorithm: digest.hexdigest() for algorithm, digest in self._hashes.items()}
        missing = (set(expected) | set(kept)) - set(known)
        if missing:
            known |= self._read_digests(missing)
        for algorithm, value in expected.items():
            if known[algorithm] != value.lower():
                raise DigestMismatch(self.path)
        return {algorithm: known[algorithm] for algorithm in kept}

    def _read_digests(self, algorithms: set[str]) -> dict[str, str]:
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        at = 0
        with reported(self.path):
            while piece := os.pread(self._fd, _PIECE, at):
                at += len(piece)
                for digest in hashes.values():
                    digest.update(piece)
        return {name: digest.hexdigest() for name, digest in hashes.items()}

    def _settle_bytes(self) -> None:
        """Everything but the name is on disk after this."""
        mtime = fresh_mtime(self._attributes.modified)
        os.utime(self._fd, ns=(mtime, mtime))
        self._share.sync(self._fd)

    def _put_in_place(self, digests: Mapping[str, str], guard: Guard | None) -> Committed:
        """Judge and rename; the path's locks are held."""
        with contextlib.ExitStack() as stack:
            place = stack.enter_context(place_for_member(self._share.tree, self.path))
            row = self._share.row(self.path)
            self._judge(place, row, guard)
            if place.is_link:
                place = stack.enter_context(behind_link(self._share.tree, place))
            replaced = place.own
            usage.must_have_room(
                self._share, self.path, self.offset - (replaced.st_size if replaced else 0)
            )
            if replaced is None and row is not None:
                self._forget_former()
                row = None
            created = _created(place, row)
            self._rename(place, replaced)
            return self._remember(row, created, replaced, digests)

    def _judge(self, place: Place, row: Row | None, guard: Guard | None) -> None:
        place.must_be_usable()
        if place.shows_folder:
            raise IsAFolder(self.path)
        if guard is not None:
            node = self._share.node_at(place, row)
            guard.judge(self.path, node, Effect.MODIFY if node else Effect.CREATE)

    def _forget_former(self) -> None:
        """What was here under this name is gone without davstore; the new file starts clean."""
        with self._share.database.writing() as db:
            key = rows.place_of(db, self._share.rows.root, self.path, make=False)
            if key is not None:
                rows.detach(db, key)

    def _rename(self, place: Place, replaced: os.stat_result | None) -> None:
        folder = os.fstat(place.parent)
        if replaced is not None:
            os.fchmod(self._fd, replaced.st_mode & _MODE_BITS)
        if folder.st_mode & stat.S_ISGID:
            with contextlib.suppress(PermissionError):
                os.fchown(self._fd, -1, folder.st_gid)
        os.rename(self.id, place.name, src_dir_fd=self._reserved.fd, dst_dir_fd=place.parent)
        self._share.sync(place.parent)

    def _remember(
        self,
        row: Row | None,
        created: float,
        replaced: os.stat_result | None,
        digests: Mapping[str, str],
    ) -> Committed:
        """The file is there; a state file that cannot be written costs its digests, no more."""
        found = os.fstat(self._fd)
        new = Row(
            row.id if row is not None else rows.new_id(),
            created,
            content_type=self._attributes.content_type,
            props=row.props if row is not None else None,
            **rows.digest_columns(digests),
        ).holding_for(found)
        try:
            with self._share.database.writing() as db:
                key = rows.place_of(db, self._share.rows.root, self.path, make=True)
                assert key is not None
                rows.write(db, key, new)
                usage.add(db, self._share, self.offset - (replaced.st_size if replaced else 0))
                if self._is_persistent and not self.memo:
                    leases.remove(db, self.id)
        except (sqlite3.Error, OSError) as error:
            log.error("the digests of %r were not kept: %s", self.path, error)
        return Committed(node_of(paths.name(self.path), found, new, None), replaced is None)

    def abort(self) -> None:
        if self._fd < 0:
            return
        try:
            if self._is_persistent:
                leases.end(self._share, self.id)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.id, dir_fd=self._reserved.fd)
        except (sqlite3.Error, OSError) as error:
            # What made the upload fail is what the caller has to hear of.
            log.error("what is left of an upload to %r is swept later: %s", self.path, error)
        finally:
            self._close()

    def persist(self, lease: float, memo: str | None = None) -> str:
        self._must_be_open()
        with reported(self.path):
            self._share.sync(self._fd)
            if not self._is_persistent:
                self._share.sync(self._reserved.fd)
            leases.extend(
                self._share,
                leases.Lease(
                    self.id,
                    self._share.name,
                    self.path,
                    self._reserved.folder,
                    self._attributes.content_type,
                    self._attributes.modified,
                    time.time() + lease,
                    self.memo if memo is None else memo,
                ),
            )
        self._is_persistent = True
        self.memo = self.memo if memo is None else memo
        return self.id

    def suspend(self) -> None:
        self._must_be_open()
        with reported(self.path):
            self._share.sync(self._fd)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self._close()


def _created(place: Place, row: Row | None) -> float:
    """Replacing keeps the creation time."""
    if place.own is None:
        return time.time()
    if row is not None and row.created is not None:
        return row.created
    born = syscalls.birth_time(place.parent, place.name)
    return born if born is not None else min(place.own.st_mtime, place.own.st_ctime)


def begin(share: Share, ctx: Context, path: str, attributes: Attributes) -> FolderUpload:
    """Raises ParentMissing, NotAFolder, IsAFolder, Forbidden."""
    share.may_change(ctx, path)
    if path == paths.ROOT:
        raise IsAFolder(path)
    with place_for_member(share.tree, path) as place, reported(path):
        place.must_be_usable()
        if place.shows_folder:
            raise IsAFolder(path)
        parent = paths.parent(path)
        if place.is_link:
            with behind_link(share.tree, place) as target:
                reserved = share.staging.beside(target.parent, paths.parent(target.path))
        else:
            reserved = share.staging.beside(place.parent, parent)
        name, fd = reserved.new_file(UPLOAD)
        return FolderUpload(share, ctx, path, attributes, reserved=reserved, name=name, fd=fd)


def resume(share: Share, ctx: Context, upload: str) -> FolderUpload:
    """Open a persistent upload again. Raises NoSuchUpload, UploadInUse."""
    share.may_change(ctx, upload)
    lease, reserved, fd = leases.take_up(share, upload)
    with reported(lease.path):
        return FolderUpload(
            share,
            ctx,
            lease.path,
            Attributes(lease.content_type, lease.modified),
            reserved=reserved,
            name=upload,
            fd=fd,
            is_persistent=True,
            memo=lease.memo,
        )
