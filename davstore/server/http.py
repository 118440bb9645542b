"""One worker's server: cheroot's, with a poller in place of its selector, queue and pool."""

from __future__ import annotations

import itertools
import logging
import math
import secrets
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cheroot.wsgi import Server as CherootServer

from davstore import __version__
from davstore.handoff import SPAN_OFFERED_KEY, Refusal
from davstore.logs import AccessRecord
from davstore.server.blocks import Blocks
from davstore.server.connection import Connection
from davstore.server.poller import Poller
from davstore.server.response import Dates
from davstore.server.settings import ServerSettings
from davstore.server.tallies import Tally
from davstore.server.tls import TlsAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    Explain = Callable[[Refusal], tuple[list[tuple[str, str]], bytes] | None]

_log = logging.getLogger(__name__)

#: At a graceful stop: how long a connection without a request may still send one, in seconds.
_LAST_CALL = 1.0

_SCRATCH_BYTES = 256 * 1024


class Server(CherootServer):
    """Serves `app` on a socket that listens already.

    `prepare` takes what is needed, `serve` starts the threads and returns, `stop` asks for a
    graceful end; `wait_drained` tells when it has come.
    """

    version = f"davstore/{__version__}"

    def __init__(
        self,
        settings: ServerSettings,
        listener: socket.socket,
        app: WSGIApplication,
        access_log: Callable[[AccessRecord], None] | None,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(listener.getsockname()[:2], app, server_name=settings.server_name)
        self.settings = settings
        self.socket = listener
        self.access_log = access_log
        #: Where it is counted what this worker does.
        self.tally = tally or Tally()
        #: How the application has it told what the server refuses itself (handoff.Refusal).
        self.explain: Explain | None = getattr(app, "explain", None)
        self.is_draining = False
        #: When a graceful end closes connections without a request (time.monotonic()).
        self.last_call = math.inf
        #: Requests that wait for their client, the longest first.
        self.waiting: dict[Connection, None] = {}
        #: Where bytes go that nobody wants.
        self.scratch = bytearray(_SCRATCH_BYTES)
        self.blocks = Blocks()
        self.server_line = f"Server: {settings.server_name}\r\n"
        self.date_line = Dates().line
        self._id_prefix = secrets.token_hex(3)
        self._id_numbers = itertools.count(1)
        self._environ: dict[str, Any] = {}
        self.poller: Poller

    def prepare(self) -> None:
        """Raises ConfigError when the certificate cannot be used."""
        settings = self.settings
        if settings.tls_certificate is not None:
            key = settings.tls_key or settings.tls_certificate
            self.ssl_adapter = TlsAdapter(settings.tls_certificate, key)
        self._environ = self._base_environ()
        self.poller = Poller(self, self.socket)
        self.ready = True

    def serve(self) -> None:
        """Start to answer."""
        self.poller.places.open()

    def stop(self) -> None:
        """Accept nothing more; let what runs come to its end, with `Connection: close`.

        A connection that waits for its next request has a moment left to send it: one that is
        closed while it does would have that request fail.
        """
        self._drain(_LAST_CALL)

    def retire(self) -> None:
        """As `stop`, but connections may take longer to send what then is their last request."""
        self._drain(max(_LAST_CALL, self.settings.drain_timeout))

    def _drain(self, last_call: float) -> None:
        self.last_call = min(self.last_call, time.monotonic() + last_call)
        self.is_draining = True
        self.poller.wake()

    def wait_drained(self, seconds: float | None) -> bool:
        """Wait until no connection is left, or for so long; whether that is so."""
        return self.poller.drained.wait(seconds)

    @property
    def can_add_keepalive_connection(self) -> bool:
        return not self.is_draining

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        _log.log(level, "%s", msg, exc_info=traceback)

    def next_request_id(self) -> str:
        """Unique among all workers: a random prefix of this one's and a number."""
        return f"{self._id_prefix}-{next(self._id_numbers):x}"

    def own_lines(self) -> str:
        """The header lines that the server adds to every response."""
        return self.date_line() + self.server_line

    def connection_environ(self, conn: Connection) -> dict[str, Any]:
        """What the WSGI environ of every request of this connection has in common."""
        environ = {
            **self._environ,
            "REMOTE_ADDR": conn.remote_addr,
            "REMOTE_PORT": str(conn.remote_port),
        }
        if conn.ssl_env:
            environ.update(conn.ssl_env)
        return environ

    def _base_environ(self) -> dict[str, Any]:
        return {
            "ACTUAL_SERVER_PROTOCOL": self.protocol,
            "SCRIPT_NAME": "",
            "SERVER_NAME": self.settings.host,
            "SERVER_PORT": str(self.bind_addr[1]),
            "SERVER_SOFTWARE": self.version,
            "wsgi.version": self.wsgi_version,
            "wsgi.url_scheme": "https" if self.ssl_adapter is not None else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            SPAN_OFFERED_KEY: True,
        }
