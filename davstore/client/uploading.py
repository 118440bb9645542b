"""One file on its way to the server: small ones at once, large ones by tus 1.0, in pieces.

Each piece has its checksum and its place, so a connection that breaks costs one piece at most,
and whatever arrives twice is taken once. Which upload it is is remembered, so that a later try
goes on with it. See https://tus.io/protocols/resumable-upload.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

from davstore.client.entry import Entry, Progress
from davstore.client.errors import (
    PASSING,
    ClientError,
    Conflict,
    Damaged,
    Exists,
    Forbidden,
    InUse,
    NotFound,
    PreconditionFailed,
    Refused,
)
from davstore.client.patience import Patience
from davstore.client.source import Source
from davstore.client.unfinished import Key, Unfinished
from davstore.client.wire import Body, Sending, Wire

#: Bytes of a piece, which is all that is held in memory and all that a break costs. A multiple
#: of every store's chunk size.
PIECE: Final = 8 << 20

_TUS: Final = {"Tus-Resumable": "1.0.0"}

#: Seconds for which an upload may be in use by a request that died: a node of another machine
#: that was killed holds one for two minutes.
_IN_USE: Final = 150.0

#: Bytes per second at which a server reads the whole again at its end, at least, for its digest.
_READ_AGAIN: Final = 50e6

#: How often an upload that the server has lost is begun anew.
_ANEW: Final = 2

#: The code of a piece for an upload that has become a file already.
_FINISHED: Final = "upload-finished"

#: The code of a piece that arrived as something else (tus, checksum extension: status 460).
_CHECKSUM_MISMATCH: Final = "checksum-mismatch"


class PieceDamaged(ClientError):
    """A piece arrived as something else; it is sent again."""


class Uploading:
    """`unfinished` None: nothing is remembered, and it begins at the beginning."""

    def __init__(
        self,
        wire: Wire,
        source: Source,
        target: str,
        *,
        progress: Progress | None,
        overwrite: bool,
        unfinished: Unfinished | None,
    ) -> None:
        self._wire = wire
        self._source = source
        self._target = target
        self._progress = progress
        self._overwrite = overwrite
        self._conditions = {} if overwrite else {"If-None-Match": "*"}
        #: Seconds that the answer to the last piece may take more than others.
        self._longer = source.size / _READ_AGAIN
        self._unfinished = unfinished
        self._key: Key | None = None
        if source.identity is not None:
            self._key = Key(wire.places.name, target, overwrite, *source.identity)
        #: Of the file that the last piece has made.
        self._etag: str | None = None

    def run(self) -> Entry:
        """What is at the target afterwards. Raises ClientError, OSError."""
        try:
            return self._run()
        except PreconditionFailed as refused:
            if self._overwrite:
                raise
            raise Exists(
                refused.status, refused.code, "There is already something at this path."
            ) from refused

    def _run(self) -> Entry:
        if self._source.size <= PIECE:
            return self._at_once()
        for anew in range(_ANEW + 1):
            try:
                return self._in_pieces()
            except NotFound:
                # Its lease is over, or the server's disk is another one.
                self._forget()
                if anew == _ANEW:
                    raise
        raise AssertionError("not reached")

    # Small

    def _at_once(self) -> Entry:
        data = self._source.piece(0, self._source.size)
        sha256 = self._source.sha256()
        self._source.must_be_unchanged()
        wire = self._wire
        try:
            response = wire.ask(
                "PUT",
                wire.at("upload", self._target),
                self._target,
                headers={"Content-Type": "application/octet-stream"},
                params={"sha256": sha256, "overwrite": "true" if self._overwrite else "false"},
                body=self._body(data, 0),
            )
        except Refused as refused:
            if not refused.after_loss or (found := self._arrived()) is None:
                raise
            return found
        return Entry.of(response.content)

    def _body(self, data: bytes, offset: int) -> Body:
        return lambda: Sending(data, lambda taken: self._tell(offset + taken)) if data else b""

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._source.size)

    def _arrived(self) -> Entry | None:
        """What is at the target, when it is what was to be uploaded."""
        try:
            entry = self._there()
        except NotFound:
            return None
        return entry if self._is_whole(entry) else None

    def _there(self) -> Entry:
        wire = self._wire
        answer = wire.ask("GET", wire.at("stat", self._target), self._target)
        return Entry.of(answer.content)

    def _is_whole(self, entry: Entry) -> bool:
        if entry.is_folder or entry.size != self._source.size:
            return False
        return entry.digests.get("sha256") in (None, self._source.sha256())

    # Large

    def _in_pieces(self) -> Entry:
        """Raises NotFound when the server does not know the upload any more."""
        continued = self._continued()
        address, offset = continued or self._begun()
        patience = self._wire.patience(_IN_USE + self._longer)
        is_free = continued is None
        while True:
            self._tell(offset)
            try:
                if not is_free:
                    # The request that broke off may still hold it: to hear that at the end of
                    # a piece would cost the whole of it.
                    self._send(address, offset, 0)
                    is_free = True
                offset = self._send(address, offset, PIECE)
            except NotFound as trouble:
                return self._ended(trouble, offset)
            except (*PASSING, Conflict, PieceDamaged) as trouble:
                if isinstance(trouble, Refused) and trouble.code == _FINISHED:
                    return self._finished()
                found = self._after(trouble, address, offset, patience)
                if found is None:
                    return self._ended(trouble, offset)
                offset = found
                is_free = False
            else:
                patience.renew()
            if offset == self._source.size:
                # The server has the last byte once the file is there, and not before.
                return self._finished()

    def _after(
        self, trouble: ClientError, address: str, sent_from: int, patience: Patience
    ) -> int | None:
        """Where to go on after `trouble` with the piece from `sent_from` on; None: it is over.

        Raises `trouble` when it does not go by, or has been borne for long enough.
        """
        is_waited_for = isinstance(trouble, (*PASSING, InUse, PieceDamaged))
        if is_waited_for:
            patience.bear(trouble)
        try:
            found = self._offset(address, patience)
        except NotFound:
            return None
        if found > sent_from:
            patience.renew()
        elif not is_waited_for and found == sent_from:
            # The piece was where it had to be: the conflict is about the target.
            raise trouble
        return found

    def _continued(self) -> tuple[str, int] | None:
        """Address and offset of the upload of an earlier try; None when there is none."""
        if self._unfinished is None or self._key is None:
            return None
        address = self._unfinished.address(self._key)
        if address is None:
            return None
        try:
            offset: int | None = self._offset(address, self._wire.patience(_IN_USE))
        except (NotFound, Forbidden):
            offset = None
        if offset is None or (offset == self._source.size and self._arrived() is None):
            # It is over; or it ended well, and what it became has been changed since.
            self._forget()
            return None
        return address, offset

    def _begun(self) -> tuple[str, int]:
        wire = self._wire
        headers = {**_TUS, **self._conditions, "Upload-Length": str(self._source.size)}
        try:
            begin = wire.at("tus", self._target)
            response = wire.ask("POST", begin, self._target, headers=headers)
        except Refused as refused:
            if refused.field == "Upload-Metadata":
                # The server would take a name for the file that is to be in the folder.
                sentence = "This is a folder, not a file."
                raise Conflict(409, "is-a-folder", sentence) from refused
            raise
        address = _address_in(response)
        if self._unfinished is not None and self._key is not None:
            self._unfinished.remember(self._key, address)
        return address, 0

    def _offset(self, address: str, patience: Patience) -> int:
        """How many bytes the server surely has. Raises NotFound."""
        while True:
            try:
                response = self._wire.ask("HEAD", address, self._target, headers=_TUS)
            except Refused as refused:
                # Answers to HEAD have no body, and so no code: it is in use, or being finished.
                if refused.status not in (409, 423):
                    raise
                patience.bear(refused)
            else:
                return self._offset_in(response)

    def _send(self, address: str, offset: int, length: int) -> int:
        """Send the piece from `offset` on, once; the offset after it."""
        piece = self._source.piece(offset, length)
        self._source.must_be_unchanged()
        checksum = base64.b64encode(hashlib.sha1(piece, usedforsecurity=False).digest())
        headers = {
            **_TUS,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha1 {checksum.decode()}",
        }
        try:
            response = self._wire.once(
                "PATCH",
                address,
                self._target,
                headers=headers,
                body=self._body(piece, offset),
                longer=self._longer if offset + len(piece) == self._source.size else 0.0,
            )
        except Refused as refused:
            if refused.code == _CHECKSUM_MISMATCH:
                raise PieceDamaged(refused.detail) from refused
            raise
        self._etag = response.headers.get("ETag")
        found = self._offset_in(response)
        if found != offset + len(piece):
            # Who believed this would send the same again and again.
            raise Damaged(f"the server has taken a piece to {offset + len(piece)} and says {found}")
        return found

    def _offset_in(self, response: requests.Response) -> int:
        text = response.headers.get("Upload-Offset", "")
        if not (text.isascii() and text.isdecimal()) or int(text) > self._source.size:
            raise Damaged(f"the server says that it has {text or 'nothing'!r} of the upload")
        return int(text)

    def _ended(self, trouble: ClientError, sent_from: int) -> Entry:
        """The upload is not there any more. Raises `trouble`, unless it ended as it should.

        The answer to the last piece can have been lost: then what was sent is at the target.
        """
        if sent_from + PIECE >= self._source.size and (entry := self._arrived()) is not None:
            self._forget()
            return entry
        raise trouble

    def _finished(self) -> Entry:
        """What is at the target now. Raises Damaged when it is not what was sent.

        Somebody else may have replaced it since, as the entity tag shows.
        """
        self._forget()
        try:
            entry = self._there()
        except NotFound:
            sentence = f"{self._target} was uploaded, and somebody has taken it away since"
            raise ClientError(sentence) from None
        if entry.etag == self._etag and not self._is_whole(entry):
            raise Damaged(f"what is at {self._target} now is not what was sent; send it again")
        return entry

    def _forget(self) -> None:
        if self._unfinished is not None and self._key is not None:
            self._unfinished.forget(self._key)


def _address_in(response: requests.Response) -> str:
    """The path of the URL of an upload that was begun. Raises Damaged."""
    location = response.headers.get("Location", "")
    try:
        # Any node may go on with it: which one said so does not matter.
        address = urlsplit(urljoin(response.url, location)).path if location else ""
    except ValueError:
        address = ""
    if not address:
        raise Damaged("the server has begun an upload and does not say where")
    return address
