"""One client's connection: cheroot's HTTPConnection over a socket that never blocks.

A connection is *armed* (registered with the worker's epoll) while nothing is to be done for
it, and costs no thread then: also while a request head trickles in, while the rest of an unread
body is thrown away, and while a closed connection lingers. A thread that has to wait for the
client in the middle of a request gives up its place first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cheroot.server import HTTPConnection

from davstore import handoff
from davstore.handoff import FileSpan
from davstore.server.body import Body, BodyError, BodyTimeout, ClientGone, NoBody
from davstore.server.gateway import ResponseCut
from davstore.server.head import BAD_REQUEST, Refused, check_beginning
from davstore.server.request import After, Request

if TYPE_CHECKING:
    from davstore.server.http import Server

#: What is taken from the socket at once while a request head is awaited.
_HEAD_BLOCK = 16 * 1024

#: An unread body of at most so many bytes is awaited for so many seconds, so that the
#: connection can be kept.
DRAIN_BYTES = 64 * 1024
_DRAIN_SECONDS = 5.0

#: After an early reply the rest is thrown away for so long, or until the client has been silent
#: for so long, or so much came (RFC 9112, 9.6). A hard close could destroy the reply on its way.
_LINGER_SECONDS = 30.0
_LINGER_SILENCE = 2.0
_LINGER_BYTES = 256 * 1024 * 1024

_COUNT = struct.Struct("i")
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SpanCut(ResponseCut):
    """A file became shorter, or unreadable, while it was being sent."""


class Connection(HTTPConnection):
    """See the module. Touched by the thread that handles it only, or, while it is armed, by
    the thread that has the place."""

    is_tls = False

    def __init__(self, server: Server, sock: socket.socket, address: tuple[str, int]) -> None:
        # Not the base's: it makes two buffered files and two caches for each connection.
        self.server = server
        self.socket = sock
        self.fd = sock.fileno()
        self.remote_addr, self.remote_port = address[:2]
        #: Received and not used: the beginning of a head or a body, or further requests.
        self.ahead = b""
        #: What the WSGI environ of each of its requests begins with.
        self.environ: dict[str, object] | None = None
        self.step: Callable[[Any], bool] = Connection.on_request
        #: When the connection, armed as it is now, expires (time.monotonic()).
        self.idle_since = time.monotonic()
        self.deadline = self.idle_since + server.settings.header_timeout
        #: Whether closing it now would take nothing away from the client.
        self.is_idle = True
        #: Whether the poller watches it. Written under the lock of the places.
        self.is_armed = False
        self.patient = True
        #: Seconds waited for the client, and bytes moved, in the request at hand.
        self.waited = 0.0
        self.moved = 0
        self._looked_at = 0
        self._is_forgiven = False
        self._body: Body | NoBody | None = None
        self._budget = 0
        self._linger_end = 0.0

    # What happens when the armed socket is ready. Each returns whether it stays open.

    def communicate(self) -> bool:
        """Do what can be done now."""
        return self.step(self)

    def on_request(self) -> bool:
        """Bytes came while a request head is awaited."""
        try:
            data = self.socket.recv(_HEAD_BLOCK)
        except WOULD_BLOCK:
            return True
        except OSError:
            return False
        if not data:
            return self._ended()
        self.ahead = self.ahead + data if self.ahead else data
        return self.serve_buffered()

    def serve_buffered(self) -> bool:
        """Answer every whole request that has been received."""
        limit = self.server.settings.header_bytes
        while True:
            data = self.ahead
            if data[:2] == b"\r\n" and not self._is_forgiven:
                # One empty line before a request is forgiven (RFC 9112, 2.2), more are noise.
                self._is_forgiven = True
                self._looked_at = 0
                data = self.ahead = data[2:]
            end = data.find(b"\r\n\r\n", max(0, self._looked_at - 3))
            if end < 0 or end > limit:
                return self._await_head(data) if data else self._await_request()
            self.ahead = data[end + 4 :]
            self._looked_at = 0
            self._is_forgiven = False
            self.is_idle = False
            request = Request(self.server, self)
            after: After | None = request.handle(data[:end])
            if after is After.KEEP and not request.body.is_done:
                after = self._begin_leftover(request.body)
            if after is not After.KEEP:
                return self._stays(after)

    def on_leftover(self) -> bool:
        """More came of a body that the application has not read."""
        after = self._skip_leftover()
        return self.serve_buffered() if after is After.KEEP else self._stays(after)

    def on_linger(self) -> bool:
        """More came of what nobody wants."""
        try:
            count = self.socket.recv_into(self.server.scratch)
        except WOULD_BLOCK:
            return True
        except OSError:
            return False
        self._budget -= count
        now = time.monotonic()
        self.deadline = min(now + _LINGER_SILENCE, self._linger_end)
        return count > 0 and self._budget > 0 and now < self._linger_end

    def expire(self) -> bool:
        """The deadline has passed."""
        if self.step is Connection.on_leftover:
            return self.close_softly()
        if self.step is Connection.on_request and self.ahead:
            late = Refused("408 Request Timeout", "The request head took too long to arrive.")
            Request(self.server, self).refuse(late, self.ahead)
            return self.close_softly()
        return False

    def is_slow_head(self, now: float, seconds: float) -> bool:
        """Whether the head (or the handshake) at hand has been incomplete for `seconds`."""
        begun = self.deadline - self.server.settings.header_timeout
        is_head = self.step not in (Connection.on_leftover, Connection.on_linger)
        return is_head and not self.is_idle and begun < now - seconds

    # From one of these to the next.

    def _await_request(self) -> bool:
        # Also at a graceful stop, which closes it later: it was not said that it would be.
        self.is_idle = True
        self.idle_since = now = time.monotonic()
        self.deadline = now + self.server.settings.idle_timeout
        return True

    def _await_head(self, data: bytes) -> bool:
        """The head is not whole yet. It goes on trickling in without costing a thread."""
        limit = self.server.settings.header_bytes
        try:
            if len(data) > limit:
                raise _too_large(data, limit)
            check_beginning(data, self._looked_at)
        except Refused as refused:
            Request(self.server, self).refuse(refused, data)
            return self.close_softly()
        if not self._looked_at:
            self.is_idle = False
            self.deadline = time.monotonic() + self.server.settings.header_timeout
        self._looked_at = len(data)
        return True

    def _ended(self) -> bool:
        """The client sends nothing more."""
        if self.ahead:
            early = Refused(BAD_REQUEST, "The request head ended early.")
            Request(self.server, self).refuse(early, self.ahead)
        return False

    def _begin_leftover(self, body: Body | NoBody) -> After | None:
        """Throw the rest of `body` away, so that the next request can follow."""
        self._body = body
        self._budget = body.received + DRAIN_BYTES
        self.step = Connection.on_leftover
        self.deadline = time.monotonic() + _DRAIN_SECONDS
        return self._skip_leftover()

    def _skip_leftover(self) -> After | None:
        """Throw away what came. KEEP: that was all; None: more is to come."""
        body = self._body
        assert body is not None
        try:
            is_done = body.discard(self._budget - body.received)
        except BodyError:
            return After.CLOSE
        if is_done:
            self._body = None
            self.step = Connection.on_request
            return After.KEEP
        return None if body.received < self._budget else After.CLOSE

    def _stays(self, after: After | None) -> bool:
        if after is After.CLOSE:
            return self.close_softly()
        return after is not After.CUT

    def close_softly(self) -> bool:
        """Say that nothing more comes, then let the client finish (RFC 9112, 9.6)."""
        self.ahead = b""
        try:
            self._end_sending()
        except OSError:
            return False
        now = time.monotonic()
        self.step = Connection.on_linger
        self.is_idle = True
        self.idle_since = now
        self._budget = _LINGER_BYTES
        self._linger_end = now + _LINGER_SECONDS
        self.deadline = now + _LINGER_SILENCE
        return True

    def _end_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset_at_close(self) -> None:
        """Make the close tell the client that the response is not whole (RST, not FIN)."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)

    def close(self) -> None:
        self.socket.close()

    def abandon(self) -> None:
        """Make whoever waits for the client find it gone."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    # Within a request. These wait, without the place, when they have to.

    def receive(self, most: int) -> bytes:
        """At least one and at most `most` bytes. Raises ClientGone, BodyTimeout."""
        while True:
            try:
                data: bytes = self.socket.recv(most)
            except WOULD_BLOCK as reason:
                self._wait(reason, select.POLLIN)
                continue
            except OSError as error:
                raise ClientGone(str(error)) from error
            if not data:
                raise ClientGone("The client closed the connection within the body.")
            self.moved += len(data)
            return data

    def receive_into(self, buffer: memoryview) -> int:
        """As `receive`, into `buffer`; returns how many bytes."""
        while True:
            try:
                count: int = self.socket.recv_into(buffer)
            except WOULD_BLOCK as reason:
                self._wait(reason, select.POLLIN)
                continue
            except OSError as error:
                raise ClientGone(str(error)) from error
            if not count:
                raise ClientGone("The client closed the connection within the body.")
            self.moved += count
            return count

    def send(self, data: bytes | memoryview, *, more: bool = False) -> None:
        """Send all of `data`; `more`: what follows belongs to the same segment."""
        while True:
            try:
                count = self._send_some(data, more)
            except WOULD_BLOCK as reason:
                self._wait(reason, select.POLLOUT)
                continue
            except OSError as error:
                raise ClientGone(str(error)) from error
            self.moved += count
            if count == len(data):
                return
            data = memoryview(data)[count:]

    def _send_some(self, data: bytes | memoryview, more: bool) -> int:
        count: int = self.socket.send(data, socket.MSG_MORE if more else 0)
        return count

    def send_span(self, span: FileSpan) -> None:
        """Send part of a file. Raises SpanCut, ClientGone, BodyTimeout.

        Copied through one block that stays in the processor's cache, as long as the socket
        takes it; nothing is held while the client is waited for. Not sendfile(2): to a client
        on this machine that sent 2,150 to 2,500 MiB/s where this sends 3,800, for no less of
        the processor's time (512 MiB: 110 to 216 ms against 111 ms).
        """
        offset, left = span.offset, span.length
        while left:
            before = self.moved
            reason = self._send_while_possible(span.fd, offset, left)
            offset += self.moved - before
            left -= self.moved - before
            if reason is not None:
                self._wait(reason, select.POLLOUT)

    def _send_while_possible(self, fd: int, offset: int, left: int) -> OSError | None:
        """Send from the file until all is sent, or the socket takes no more, which is told."""
        with self.server.blocks.lent() as block:
            while left:
                try:
                    count = os.preadv(fd, [block[:left]], offset)
                except OSError as error:
                    raise SpanCut(str(error)) from error
                if not count:
                    raise SpanCut(f"{left} bytes are missing at the end of the file")
                data = block[:count]
                while data:
                    try:
                        sent = self._send_some(data, False)
                    except WOULD_BLOCK as reason:
                        return reason
                    except OSError as error:
                        raise ClientGone(str(error)) from error
                    self.moved += sent
                    offset += sent
                    left -= sent
                    data = data[sent:]
        return None

    def _wait(self, reason: OSError, event: int) -> None:
        """Wait until the socket is ready, in another thread's favour."""
        if not self.patient:
            raise BlockingIOError
        # Within TLS, reading may have to write and the other way round.
        if isinstance(reason, ssl.SSLWantReadError):
            event = select.POLLIN
        elif isinstance(reason, ssl.SSLWantWriteError):
            event = select.POLLOUT
        handoff.about_to_wait()
        settings = self.server.settings
        poll = select.poll()
        poll.register(self.fd, event)
        before = time.monotonic()
        unsent = self._unsent(event)
        self.server.waiting[self] = None
        try:
            self.server.poller.spare_one()
            ready = poll.poll(settings.body_timeout * 1000)
        finally:
            self.server.waiting.pop(self, None)
        self.waited += time.monotonic() - before
        left = self._unsent(event)
        # A full buffer is called ready only when much of it is free, which is long for a slow
        # reader: what counts is whether it takes anything.
        if not ready and left >= unsent:
            raise BodyTimeout(f"Nothing moved for {settings.body_timeout:g} seconds.")
        if (
            self.waited > settings.rate_grace
            and self.moved - left < self.waited * settings.min_rate
        ):
            raise BodyTimeout(f"Less than {settings.min_rate} bytes per second moved.")

    def _unsent(self, event: int) -> int:
        """Bytes that the kernel still holds for the client, when the client is to read."""
        if event != select.POLLOUT:
            return 0
        (count,) = _COUNT.unpack(fcntl.ioctl(self.fd, termios.TIOCOUTQ, bytes(_COUNT.size)))
        return int(count)

    def disarm(self) -> None:
        """Nobody is to be woken for it until it is armed again (places.Watched)."""
        self.server.poller.disarm(self)


def _too_large(data: bytes, limit: int) -> Refused:
    if data.find(b"\r\n", 0, limit) < 0:
        return Refused("414 URI Too Long", "The request target is too long.", "path")
    return Refused("431 Request Header Fields Too Large", f"A request head may have {limit} bytes.")
