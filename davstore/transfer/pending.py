"""Which uploads of very large files wait to be gone on with: one small file for each.

What if the process dies: an upload without a record is swept when its lease is over; a record
without an upload is found to be so, and removed. What if two imports bring the same file at
once: the store lets only one write to an upload.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from pathlib import Path

from davstore.errors import NoSuchUpload, StoreError, UploadInUse
from davstore.stores.base import Attributes, Context, ResumableUploads, Store, Upload
from davstore.transfer.local import seconds
from davstore.transfer.tally import LeftOut

#: Seconds that an unfinished upload is kept for.
LEASE = 7 * 86400.0


class Pending:
    """The records of the share mounted at `mount`, in `folder`, which is made when needed."""

    def __init__(self, folder: Path, mount: str, store: Store, ctx: Context) -> None:
        self._folder = folder
        self._mount = mount
        self._store = store
        self._ctx = ctx
        self._earlier = self._read_names()

    def _read_names(self) -> set[str]:
        """The records that there are, but for those whose upload cannot be there any more."""
        found = set()
        with contextlib.suppress(OSError):
            for record in self._folder.iterdir():
                if record.stat().st_mtime < time.time() - LEASE:
                    record.unlink(missing_ok=True)
                else:
                    found.add(record.name)
        return found

    def take_up(self, target: str, source: os.stat_result) -> Upload | None:
        """The unfinished upload of the file `source` to `target`, if there is one.

        One of what the file was before it changed is thrown away. Raises LeftOut, StoreError.
        """
        record = self._read(target)
        if record is None or not isinstance(self._store, ResumableUploads):
            return None
        try:
            upload = self._store.resume(self._ctx, str(record.get("upload", "")))
        except NoSuchUpload:
            self.forget(target)
            return None
        except UploadInUse:
            raise LeftOut(
                "Another import is at work on this, or died just now; try again in a minute."
            ) from None
        if record == self._record(target, source, upload.id) and upload.offset <= source.st_size:
            return upload
        upload.abort()
        self.forget(target)
        return None

    def drop(self, target: str) -> None:
        """Throw away what an earlier run has left of an upload to `target`: it is of no use."""
        if self._place(target).name not in self._earlier:
            return
        record = self._read(target)
        with contextlib.suppress(StoreError):
            if record is not None and isinstance(self._store, ResumableUploads):
                self._store.resume(self._ctx, str(record.get("upload", ""))).abort()
        self.forget(target)

    def begin(self, target: str, source: os.stat_result) -> Upload:
        """An upload that outlives this process. Raises StoreError, OSError."""
        attributes = Attributes(modified=float(seconds(source)))
        upload = self._store.upload(self._ctx, target, attributes)
        try:
            self.renew(target, source, upload)
        except BaseException:
            with contextlib.suppress(StoreError):
                upload.abort()
            raise
        return upload

    def renew(self, target: str, source: os.stat_result, upload: Upload) -> None:
        """Keep the upload, with what came so far, for another LEASE."""
        self._write(target, self._record(target, source, upload.persist(LEASE)))

    def forget(self, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._place(target).unlink()

    def _place(self, target: str) -> Path:
        name = hashlib.sha256(f"{self._mount}\0{target}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def _record(self, target: str, source: os.stat_result, upload: str) -> dict[str, object]:
        return {
            "share": self._mount,
            "path": target,
            "upload": upload,
            "size": source.st_size,
            "mtime_ns": source.st_mtime_ns,
        }

    def _read(self, target: str) -> dict[str, object] | None:
        try:
            record = json.loads(self._place(target).read_text())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def _write(self, target: str, record: dict[str, object]) -> None:
        place = self._place(target)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        fresh = place.with_suffix(f".{secrets.token_hex(6)}")
        try:
            with fresh.open("w") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(place)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
