"""One request and its response: cheroot's HTTPRequest, with parsing and answering put right."""

from __future__ import annotations

import contextlib
import enum
import logging
import time
from typing import TYPE_CHECKING

from cheroot.server import HTTPRequest

from davstore.handoff import Refusal
from davstore.logs import AccessRecord
from davstore.server.body import (
    NO_BODY,
    Body,
    BodyError,
    BodyTimeout,
    ChunkedBody,
    ClientGone,
    LengthBody,
    NoBody,
)
from davstore.server.gateway import Gateway, ResponseCut
from davstore.server.head import BAD_REQUEST, Head, Refused, parse_head, parse_request_line
from davstore.server.response import in_text, last_head

if TYPE_CHECKING:
    from davstore.server.connection import Connection
    from davstore.server.http import Server

_log = logging.getLogger(__name__)

#: Where the application leaves the user's name for the access log.
IDENTITY_KEY = "davstore.identity"

_UNREADABLE = Head("-", "-", "", "", "HTTP/1.1", {}, None, False, False, False)


class After(enum.Enum):
    """What becomes of the connection after a response."""

    KEEP = enum.auto()
    #: Closed as it should be, with the client's last bytes awaited.
    CLOSE = enum.auto()
    #: At once, because the response is not whole or the client is gone.
    CUT = enum.auto()


class Request(HTTPRequest):
    """Reads a head, lets the gateway respond, and tells the access log."""

    def __init__(self, server: Server, conn: Connection) -> None:
        # Not the base's, whose attributes are set for its own way of parsing and writing.
        self.server = server
        self.conn = conn
        self.head = _UNREADABLE
        self.body: Body | NoBody = NO_BODY
        self.request_id = server.next_request_id()
        self.close_connection = False
        self.after = After.CLOSE
        self.sent_headers = False
        #: The status that was answered, and the bytes of body sent.
        self.code = 0
        self.sent = 0
        self._came = time.time()
        self._began = time.monotonic()

    def handle(self, data: bytes) -> After:
        """Answer the request whose head is `data`."""
        try:
            self.head = head = parse_head(data)
        except Refused as refused:
            self.refuse(refused, data)
            return After.CLOSE
        if head.length:
            self.body = LengthBody(self.conn, head.length, head.expects)
        elif head.chunked:
            self.body = ChunkedBody(self.conn, head.expects)
        self.close_connection = not head.keep_alive
        self.conn.waited = 0.0
        self.conn.moved = 0
        tally = self.server.tally
        tally.begun()
        try:
            self.respond()
        finally:
            tally.ended()
        return self.after

    def respond(self) -> None:
        """Run the application; `after` says what becomes of the connection."""
        gateway = Gateway(self)
        try:
            gateway.respond()
        except BodyError as error:
            after = self._body_failed(error)
        except ResponseCut as cut:
            _log.warning("%s: the response was cut: %s", self.request_id, cut)
            after = After.CUT
        except BaseException:
            # SystemExit as well: it would end a thread, and that is not the application's to do.
            _log.exception("%s: %s %r", self.request_id, self.head.method, self.head.target)
            after = self._application_failed()
        else:
            after = After.CLOSE if self.close_connection else After.KEEP
        if after is After.CUT and gateway.is_unframed:
            self.conn.reset_at_close()
        self.after = after
        # The application may know better who asks than the connection does: behind a proxy.
        self._record(gateway.env.get(IDENTITY_KEY), gateway.env["REMOTE_ADDR"])

    def refuse(self, refused: Refused, data: bytes = b"") -> None:
        """Answer `refused` to a request (of which `data` came) that is no proper one."""
        target = ""
        if data and self.head is _UNREADABLE:
            line = data.partition(b"\r\n")[0][:1024].decode("latin-1")
            target = line.partition(" ")[2].partition(" ")[0]
            self.head = _UNREADABLE._replace(target=line)
            # What is wrong may come after it; then the log says who asked for what.
            with contextlib.suppress(Refused):
                method, target, protocol = parse_request_line(line)
                self.head = _UNREADABLE._replace(method=method, target=target, protocol=protocol)
        self._answer(Refusal(target, refused.status, refused.sentence, refused.field))
        self._record(None, self.conn.remote_addr)

    def _answer(self, refusal: Refusal) -> None:
        """Answer it as the application would have it told, and close the connection afterwards."""
        self.close_connection = True
        self.sent_headers = True
        self.code = int(refusal.status[:3])
        explain = self.server.explain
        explained = None if explain is None else explain(refusal)
        headers, body = explained or in_text(refusal.sentence)
        head = last_head(refusal.status, headers, len(body), self.server.own_lines())
        # Nobody is waited for: a reply of this size fits into the socket's buffer.
        with contextlib.suppress(OSError):
            self.conn.socket.send(head if self.head.method == "HEAD" else head + body)
            self.sent = len(body)

    def _body_failed(self, error: BodyError) -> After:
        """The body broke, or the client did not take the response, and nobody caught it."""
        if self.sent_headers:
            self.code = self.code or 400
            return After.CUT
        status, sentence = BAD_REQUEST, str(error)
        if isinstance(error, BodyTimeout):
            status = "408 Request Timeout"
        elif isinstance(error, ClientGone):
            sentence = "The request body ended early."
        self._answer(Refusal(self.head.target, status, sentence, "body"))
        return After.CLOSE

    def _application_failed(self) -> After:
        if self.sent_headers:
            return After.CUT
        sentence = f"The server failed. The request's id in its log is {self.request_id}."
        status = "500 Internal Server Error"
        self._answer(Refusal(self.head.target, status, sentence, ""))
        return After.CLOSE

    def _record(self, user: object, remote: str) -> None:
        head = self.head
        received = self.body.received
        seconds = time.monotonic() - self._began
        self.server.tally.done(head.method, self.code, received, self.sent, seconds)
        write = self.server.access_log
        if write is None:
            return
        write(
            AccessRecord(
                self._came,
                remote,
                user if isinstance(user, str) else None,
                head.method,
                head.target,
                self.code,
                received,
                self.sent,
                seconds,
                self.request_id,
                head.headers.get("HTTP_USER_AGENT", ""),
                head.protocol,
            )
        )
