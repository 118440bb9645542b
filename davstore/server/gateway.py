"""Between HTTP and WSGI (PEP 3333): cheroot's gateway with its own environ and writing.

What the application may leave in the environ: a FileSpan (see `davstore.handoff`), which is
sent as the body in place of the iterable. An iterable is always closed.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cheroot.wsgi import Gateway_10

from davstore.handoff import SPAN_KEY, FileSpan
from davstore.server.body import NO_BODY, BodyError
from davstore.server.response import HOP_BY_HOP, render_head

if TYPE_CHECKING:
    from types import TracebackType

    from davstore.server.request import Request

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

#: Up to here, head and body are put together for one send.
_TOGETHER = 64 * 1024

#: A body of at most so many bytes that was not read is thrown away to keep the connection;
#: of a chunked one, all of that has to be there already.
_KEEP_UNREAD = 64 * 1024


class ResponseCut(Exception):
    """The body broke off after the head was sent; nothing but cutting the connection tells."""


class Gateway(Gateway_10):
    """One run of the application."""

    def __init__(self, req: Request) -> None:
        self.req = req
        self.started_response = False
        #: Bytes of body still owed under Content-Length; None when there is none.
        self.remaining_bytes_out: int | None = None
        #: Whether only the end of the connection ends the body (HTTP/1.0).
        self.is_unframed = False
        self._is_chunked = False
        self._is_bodiless = False
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._own = ""
        self.env = self.get_environ()

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        req = self.req
        conn = req.conn
        base = conn.environ
        if base is None:
            base = conn.environ = req.server.connection_environ(conn)
        head = req.head
        return {
            **base,
            **head.headers,
            "REQUEST_METHOD": head.method,
            "REQUEST_URI": head.target,
            "PATH_INFO": head.path,
            "QUERY_STRING": head.query,
            "SERVER_PROTOCOL": head.protocol,
            "wsgi.input": req.body,
            "davstore.request_id": req.request_id,
        }

    def respond(self) -> None:
        """Run the application and send what it answers. Raises what it raises, and ResponseCut,
        ClientGone, BodyTimeout."""
        result = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            span = self.env.get(SPAN_KEY)
            if span is not None:
                self._send_span(span)
            elif (type(result) is list or type(result) is tuple) and not self.req.sent_headers:
                self._send_whole(result)
            else:
                self._send_stream(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
    ) -> Callable[[bytes], None]:
        if self.started_response and exc_info is None:
            raise RuntimeError("start_response was called a second time without exc_info")
        if exc_info is not None and self.req.sent_headers:
            raise exc_info[1].with_traceback(exc_info[2])
        self.started_response = True
        self.req.code = code = int(status[:3])
        self._is_bodiless = self.req.head.method == "HEAD" or code in (204, 304) or code < 200
        self._status = status
        self._take_headers(headers)
        return self.write

    def _take_headers(self, headers: list[tuple[str, str]]) -> None:
        """Keep what is the application's to say; see which of the server's lines it says."""
        self.remaining_bytes_out = None
        has_date = has_server = False
        kept = []
        for field in headers:
            name = field[0].lower()
            if name == "content-length":
                if self.req.code == 204:
                    # It must not have any (RFC 9110, 8.6), not even 0.
                    continue
                self.remaining_bytes_out = int(field[1])
            elif name == "date":
                has_date = True
            elif name == "server":
                has_server = True
            elif name in HOP_BY_HOP:
                if name == "connection" and field[1].lower() == "close":
                    self.req.close_connection = True
                continue
            kept.append(field)
        self._headers = kept
        server = self.req.server
        if has_date or has_server:
            self._own = ("" if has_date else server.date_line()) + (
                "" if has_server else server.server_line
            )
        else:
            self._own = server.own_lines()

    def _head(self) -> bytes:
        """The rendered head. From here on the status cannot be taken back."""
        if not self.started_response:
            raise RuntimeError("the application answered without calling start_response")
        req = self.req
        own = self._own
        if self.remaining_bytes_out is None and not self._is_bodiless:
            if req.head.protocol == "HTTP/1.1":
                self._is_chunked = True
                own += "Transfer-Encoding: chunked\r\n"
            else:
                self.is_unframed = True
                req.close_connection = True
        if not req.close_connection and self._has_to_close():
            req.close_connection = True
        # Past the final status no 100 (Continue) may follow.
        req.body.expects = False
        if req.close_connection:
            own += "Connection: close\r\n"
        elif req.head.protocol == "HTTP/1.0":
            own += "Connection: keep-alive\r\n"
        head = render_head(self._status, self._headers, own)
        req.sent_headers = True
        return head

    def _has_to_close(self) -> bool:
        """Whether the connection cannot be kept, for a body that was not read, or at all."""
        body = self.req.body
        if body is NO_BODY or body.is_done:
            return bool(self.req.server.is_draining)
        # Whether a client that was not told to continue sends its body nonetheless is its choice.
        return bool(body.expects or body.most_left > _KEEP_UNREAD or self.req.server.is_draining)

    def _look_for_the_end(self) -> None:
        """Throw away what has come of a chunked body that nobody reads any more, if it is little.

        How much is to come cannot be known. A connection that was not said to end, and then
        does, costs a proxy the next request that it sends there.
        """
        body = self.req.body
        if math.isinf(body.most_left):
            with contextlib.suppress(BodyError):
                body.discard(_KEEP_UNREAD)

    def _send_whole(self, blocks: list[bytes] | tuple[bytes, ...]) -> None:
        """The whole body is there: one send where it is small."""
        self._look_for_the_end()
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if self._is_bodiless:
            if data and self.remaining_bytes_out is None and self.req.code == 200:
                self._headers.append(("Content-Length", str(len(data))))
            self.req.conn.send(self._head())
            return
        if self.remaining_bytes_out is None:
            self._headers.append(("Content-Length", str(len(data))))
            self.remaining_bytes_out = len(data)
        elif len(data) != self.remaining_bytes_out:
            announced = self.remaining_bytes_out
            raise ValueError(f"the body has {len(data)} bytes, not the announced {announced}")
        self._send(self._head(), data)
        self.req.sent += len(data)

    def _send_stream(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            if block:
                self.write(block)
        if not self.req.sent_headers:
            self._send_whole(())
            return
        if self._is_chunked:
            self.req.conn.send(b"0\r\n\r\n")
        elif self.remaining_bytes_out and not self._is_bodiless:
            raise ResponseCut(f"{self.remaining_bytes_out} bytes of the body are missing")

    def write(self, chunk: bytes) -> None:
        """Send a block of the body at once, the head before it (PEP 3333)."""
        head = b"" if self.req.sent_headers else self._head()
        if self._is_bodiless:
            if head:
                self.req.conn.send(head)
            return
        count = len(chunk)
        left = self.remaining_bytes_out
        if left is not None:
            if count > left:
                # What is right of it is sent, so that the client can see where it stops.
                self._send(head, chunk[:left])
                raise ResponseCut("the body is longer than its Content-Length")
            self.remaining_bytes_out = left - count
        elif self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (count, chunk)
        self._send(head, chunk)
        self.req.sent += count

    def _send(self, head: bytes, data: bytes) -> None:
        conn = self.req.conn
        if not head:
            conn.send(data)
        elif len(data) <= _TOGETHER:
            conn.send(head + data)
        else:
            conn.send(head, more=True)
            conn.send(data)

    def _send_span(self, span: FileSpan) -> None:
        """Head and file part; a small part is read, so that both leave in one send."""
        if self.remaining_bytes_out is None:
            self._headers.append(("Content-Length", str(span.length)))
            self.remaining_bytes_out = span.length
        if span.length != self.remaining_bytes_out:
            raise ValueError(f"the span has {span.length} bytes, not {self.remaining_bytes_out}")
        conn = self.req.conn
        if self._is_bodiless:
            conn.send(self._head())
            return
        if span.length > _TOGETHER:
            conn.send(self._head(), more=True)
            conn.send_span(span)
        else:
            data = os.pread(span.fd, span.length, span.offset)
            conn.send(self._head() + data)
            if len(data) < span.length:
                raise ResponseCut("the file has become shorter")
        self.req.sent += span.length
