"""The client itself: one method for each thing that can be done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self
from urllib.parse import unquote, urlsplit

from davstore import paths
from davstore.client.downloading import Downloading
from davstore.client.entry import Entry, Progress, document_of
from davstore.client.errors import PASSING, ClientError, Conflict, Damaged, Exists, NotFound
from davstore.client.places import Nodes, OneAddress
from davstore.client.source import Source
from davstore.client.unfinished import InMemory, Unfinished
from davstore.client.uploading import Uploading
from davstore.client.wire import Wire
from davstore.discovery import Discovery
from davstore.errors import InvalidName

#: The version of the face that is spoken here.
_VERSION: Final = "v1.0.0"

_NDJSON: Final = "application/x-ndjson"


class Client:
    """Files and folders of one davstore. For one thread at a time; a context manager.

    `where` is an address ("https://files.example.org", or with the path that a proxy shows
    davstore below) or the Discovery of a service: then any healthy node will do, and the next
    one when it fails. `auth` is user and password; without, those of the address or ~/.netrc.

    `timeout`: seconds to connect, and to wait for each part of an answer. What may go by (a
    broken connection, a node that dies, 502, 503, 504) is tried again for `patience` seconds
    without progress; for 5 at most before anything has ever answered. `unfinished` is where
    uploads that were begun are remembered: InFolder for later processes.

    Paths are those of the tree, from the root of all shares: "/files/report.pdf". All methods
    raise ClientError, also for what cannot be a path.
    """

    def __init__(
        self,
        where: str | Discovery,
        *,
        auth: tuple[str, str] | None = None,
        rest_prefix: str = "/filestorage",
        verify: bool | str = True,
        timeout: tuple[float, float] = (10.0, 60.0),
        patience: float = 30.0,
        unfinished: Unfinished | None = None,
    ) -> None:
        self._unfinished = unfinished or InMemory()
        self._wire = Wire(
            OneAddress(where) if isinstance(where, str) else Nodes(where),
            f"{rest_prefix.rstrip('/')}/{_VERSION}",
            auth=auth or (_auth_of(where) if isinstance(where, str) else None),
            verify=verify,
            timeout=timeout,
            patience=patience,
        )

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Content

    def upload(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        target: str,
        *,
        progress: Progress | None = None,
        overwrite: bool = True,
        resume: bool = True,
    ) -> Entry:
        """Make the content of `source` that of the file `target`; all of it or nothing.

        An open file is read from where it stands, and has to be one that can be read again.
        More than 8 MiB go in pieces of 8 MiB; with `resume` an upload of the same file to the
        same target that was broken off goes on. Raises Exists when a file is there that is not
        to be overwritten, SourceChanged, OSError.
        """
        with Source(source) as opened:
            return Uploading(
                self._wire,
                opened,
                _path(target),
                progress=progress,
                overwrite=overwrite,
                unfinished=self._unfinished if resume else None,
            ).run()

    def download(
        self,
        path: str,
        target: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        resume: bool = True,
    ) -> Entry:
        """Make the content of `path` that of the local file `target`; all of it or nothing.

        What arrives is compared with the digest that the server has. What was broken off stays
        beside `target` as a hidden file, and with `resume` the next try goes on with it. Raises
        Damaged, OSError.
        """
        return Downloading(
            self._wire,
            _path(path),
            Path(target),
            progress=progress,
            resume=resume,
        ).run()

    # The tree

    def stat(self, path: str) -> Entry:
        """Raises NotFound."""
        path = _path(path)
        return Entry.of(self._wire.ask("GET", self._wire.at("stat", path), path).content)

    def list(self, folder: str) -> Iterator[Entry]:
        """The members in the order of their names, as they come: a stream, however many.

        Raises NotFound, and Conflict when it is a file, at the first member.
        """
        folder = _path(folder)
        patience = self._wire.patience()
        last: str | None = None
        while True:
            try:
                for entry in self._stream(folder):
                    # After a break the stream begins anew; what was seen is passed over.
                    if last is None or entry.name > last:
                        last = entry.name
                        patience.renew()
                        yield entry
                return
            except PASSING as trouble:
                patience.bear(trouble)

    def _stream(self, folder: str) -> Iterator[Entry]:
        wire = self._wire
        address = wire.at("list", folder)
        headers = {"Accept": _NDJSON}
        with closing(wire.once("GET", address, folder, headers=headers, stream=True)) as response:
            rest = b""
            for block in wire.blocks(response, folder):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield Entry.of(line)
            if rest:
                raise Damaged("the server's answer is no listing, or not all of one")

    def mkdir(self, path: str, *, parents: bool = False) -> Entry:
        """Make a folder; with `parents` those above it too, and one that is there will do.

        Raises Exists, and Conflict when the folder above is missing.
        """
        path = _path(path)
        try:
            return Entry.of(self._post("mkdir", path, {"parents": parents}))
        except Exists as exists:
            if not exists.after_loss or not (found := self.stat(path)).is_folder:
                raise
            return found

    def move(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Give what is at `source` the path `target`, in one step.

        Raises NotFound, Exists, Conflict (the folder above is missing, another share, ...).
        """
        source, target = _path(source), _path(target)
        try:
            _carried_out(self._post("move", source, _order(target, overwrite)))
        except NotFound as missing:
            # The answer to the first try was lost, and it had been carried out.
            if not missing.after_loss or not self._is_there(target):
                raise

    def copy(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Make `target` a copy of `source`, of a folder with all that is in it.

        Raises as `move`.
        """
        source, target = _path(source), _path(target)
        try:
            _carried_out(self._post("copy", source, _order(target, overwrite)))
        except Exists as exists:
            if not exists.after_loss or not self._has_same(source, target):
                raise

    def delete(self, path: str) -> None:
        """Take away a file, or a folder with all that is in it, in one step. Raises NotFound."""
        path = _path(path)
        try:
            response = self._wire.ask("DELETE", self._wire.at("delete", path), path)
        except NotFound as missing:
            if not missing.after_loss:
                raise
        else:
            if response.status_code != HTTPStatus.NO_CONTENT:
                raise Damaged(f"the server's answer does not say that {path} is gone")

    def _post(self, endpoint: str, path: str, order: dict[str, Any]) -> bytes:
        return self._wire.ask("POST", self._wire.at(endpoint, path), path, json=order).content

    def _is_there(self, path: str) -> bool:
        try:
            self.stat(path)
        except NotFound:
            return False
        return True

    def _has_same(self, one: str, other: str) -> bool:
        """Whether both are files of one content, as far as digests tell."""
        try:
            first, second = self.stat(one), self.stat(other)
        except (NotFound, Conflict):
            return False
        return bool(first.digests) and first.digests == second.digests


def _order(target: str, overwrite: bool) -> dict[str, Any]:
    return {"destination": target, "overwrite": overwrite}


def _carried_out(answer: bytes) -> None:
    """Raises Damaged for what is no answer of davstore, such as the page of a login."""
    if "path" not in document_of(answer):
        raise Damaged("the server's answer does not say that it was done")


def _path(text: str) -> str:
    try:
        return paths.normalise(text)
    except InvalidName as error:
        raise ClientError(f"{text!r} is no path: {error.detail}") from None


def _auth_of(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")
