"""`wsgi.input`: a request's body as it arrives, never in memory as a whole.

Beside what PEP 3333 asks for there are `read1` and `readinto`, which return what has arrived
without waiting for more; an upload is best read with `readinto` a buffer that is used again.
A body that ends early, stalls or is malformed raises BodyError; b"" is the true end only.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

#: The most that one system call takes from the socket.
BLOCK = 256 * 1024

#: Taken at once when a line is awaited: small, because what is ahead is copied at each step.
_LINE_BLOCK = 16 * 1024

#: A chunk's size line, and what all trailers of one body may take.
_LONGEST_LINE = 4096
_MOST_TRAILER = 8192
#: What chunk extensions and needlessly small chunks may take beyond the data, in all.
_MOST_EXCESS = 16 * 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class BodyError(OSError):
    """The body did not come to its end. The request cannot be carried out."""


class ClientGone(BodyError):
    """The connection ended, or broke, before the end of the body."""


class BodyTimeout(BodyError):
    """The client sent nothing, or too little, for too long."""


class MalformedBody(BodyError):
    """The chunked coding is broken."""


class Source(Protocol):
    """Where a body's bytes come from: the connection.

    `ahead` holds bytes that were received and not used. `receive` and `receive_into` wait for
    at least one byte and raise ClientGone or BodyTimeout (or BlockingIOError, when the
    connection is not `patient`).
    """

    ahead: bytes
    patient: bool

    def receive(self, most: int) -> bytes: ...

    def receive_into(self, buffer: memoryview) -> int: ...

    def send(self, data: bytes) -> None: ...


class Body(ABC):
    """A body as a stream. `received` counts the bytes that were taken from it."""

    def __init__(self, source: Source, piece: int, expects: bool) -> None:
        self._source = source
        #: Bytes left of the piece (the whole body, or a chunk) that is being read.
        self._piece = piece
        #: Whether the client still waits for 100 (Continue).
        self.expects = expects
        self.received = 0

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether everything was read, so that the next request may follow."""

    @property
    @abstractmethod
    def most_left(self) -> float:
        """An upper bound of the bytes that were not read yet; infinite when nobody knows."""

    @abstractmethod
    def _next_piece(self) -> None:
        """Find the next piece, when there is one."""

    def _prepare(self) -> int:
        """Bytes left of the piece at hand; 0 at the end. To be called before each reading."""
        if not self._piece:
            self._next_piece()
        return self._piece

    def _allow(self) -> None:
        """Ask for the body, if the client waits to be asked (RFC 9110, 10.1.1)."""
        if self.expects and self._source.patient:
            self.expects = False
            self._source.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _took(self, count: int) -> None:
        self._piece -= count
        # A client that sends unasked need not be asked any more.
        self.expects = False
        self.received += count

    def read1(self, size: int = -1) -> bytes:
        """At most `size` bytes, of what is there or comes first; b"" only at the end."""
        if size == 0:
            return b""
        most = min(self._prepare(), BLOCK)
        if 0 < size < most:
            most = size
        if not most:
            return b""
        source = self._source
        ahead = source.ahead
        if ahead:
            data, source.ahead = ahead[:most], ahead[most:]
        else:
            self._allow()
            data = source.receive(most)
        self._took(len(data))
        return data

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end; all that is left when `size` is negative."""
        want = -1 if size is None else size
        data = self.read1(want)
        if len(data) == want or not data:
            return data
        parts = [data]
        got = len(data)
        while got != want:
            data = self.read1(-1 if want < 0 else want - got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put what is there, or comes first, into `buffer`; 0 only at the end."""
        view = memoryview(buffer)
        most = min(self._prepare(), len(view))
        if not most:
            return 0
        source = self._source
        ahead = source.ahead
        if ahead:
            count = min(most, len(ahead))
            view[:count] = ahead[:count]
            source.ahead = ahead[count:]
        else:
            self._allow()
            count = source.receive_into(view[:most])
        self._took(count)
        return count

    def readline(self, size: int | None = -1) -> bytes:
        want = -1 if size is None else size
        source = self._source
        parts: list[bytes] = []
        got = 0
        while got != want and self._prepare():
            if not source.ahead:
                self._allow()
                source.ahead = source.receive(8192)
            most = min(self._piece, len(source.ahead))
            if want >= 0:
                most = min(most, want - got)
            newline = source.ahead.find(b"\n", 0, most)
            part = self.read1(most if newline < 0 else newline + 1)
            parts.append(part)
            got += len(part)
            if newline >= 0:
                break
        return b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def discard(self, most: int) -> bool:
        """Throw away what has arrived, about `most` bytes at most; whether that was all.

        Never waits. Raises BodyError when the rest can never become a whole body.
        """
        source = self._source
        patient, source.patient = source.patient, False
        try:
            while most > 0 and not self.is_done:
                most -= max(len(self.read1(BLOCK)), 1)
        except BlockingIOError:
            return False
        finally:
            source.patient = patient
        return self.is_done


class LengthBody(Body):
    """A body whose Content-Length was announced."""

    def __init__(self, source: Source, length: int, expects: bool) -> None:
        super().__init__(source, length, expects)

    @property
    def is_done(self) -> bool:
        return not self._piece

    @property
    def most_left(self) -> float:
        return self._piece

    def _next_piece(self) -> None:
        """There is one piece only."""


class ChunkedBody(Body):
    """A body in the chunked transfer coding (RFC 9112, 7.1). Trailers are read and dropped."""

    def __init__(self, source: Source, expects: bool) -> None:
        super().__init__(source, 0, expects)
        self._after_data = False
        self._in_trailer = False
        self._done = False
        self._trailer_left = _MOST_TRAILER
        self._excess = 0
        self._fault = ""

    @property
    def is_done(self) -> bool:
        return self._done

    @property
    def most_left(self) -> float:
        return 0 if self._done else math.inf

    def _next_piece(self) -> None:
        # Each step leaves a state from which it goes on when the bytes run out in between.
        if self._done:
            return
        if self._fault:
            raise MalformedBody(self._fault)
        if self._after_data:
            if self._line() != b"":
                raise self._malformed("A chunk is longer than its size says.")
            self._after_data = False
        if not self._in_trailer:
            self._piece = self._size()
            if self._piece:
                self._after_data = True
                return
            self._in_trailer = True
        self._skip_trailer()

    def _size(self) -> int:
        line = self._line()
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise self._malformed("A chunk's size is malformed.")
        size = int(match[1], 16)
        # Honest chunks are much larger than their size lines; a body made of overhead is refused.
        self._excess = max(0, self._excess + len(line) - 16 - 2 * size)
        if self._excess > _MOST_EXCESS:
            raise self._malformed("The chunks hold too little data for their overhead.")
        return size

    def _skip_trailer(self) -> None:
        while line := self._line():
            self._trailer_left -= len(line) + 2
            if self._trailer_left < 0 or _TRAILER.fullmatch(line) is None:
                raise self._malformed("The trailer is malformed or too long.")
        self._done = True

    def _line(self) -> bytes:
        """The next line, taken only once all of it is there."""
        source = self._source
        while (end := source.ahead.find(b"\r\n")) < 0:
            held = source.ahead
            if len(held) > _LONGEST_LINE or b"\n" in held or b"\r" in held[:-1]:
                raise self._malformed("A line of the chunked coding is malformed or too long.")
            self._allow()
            source.ahead = held + source.receive(_LINE_BLOCK)
        if end > _LONGEST_LINE:
            raise self._malformed("A line of the chunked coding is too long.")
        line = source.ahead[:end]
        source.ahead = source.ahead[end + 2 :]
        return line

    def _malformed(self, fault: str) -> MalformedBody:
        self._fault = fault
        return MalformedBody(fault)


class NoBody:
    """The input of a request without a body. Has no state: one serves all requests."""

    is_done = True
    expects = False
    received = 0
    most_left = 0.0

    def read(self, size: int | None = -1) -> bytes:
        return b""

    read1 = readline = read

    def readinto(self, buffer: bytearray | memoryview) -> int:
        return 0

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def discard(self, most: int) -> bool:
        return True


NO_BODY = NoBody()
