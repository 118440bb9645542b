"""A worker process: builds the application, serves, drains, ends."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from davstore.errors import ConfigError, StoreError
from davstore.logs import AccessRecord
from davstore.server.child import CANNOT_START, RETIRE
from davstore.server.http import Server
from davstore.server.settings import ServerSettings
from davstore.server.tallies import Tallies

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_log = logging.getLogger(__name__)

#: Threads that wake while another computes get their turn after so many seconds.
_SWITCH_INTERVAL = 0.001

#: mallopt(3): how many arenas threads may spread their memory over. By default it is eight per
#: core, each of which keeps what was freed: an upload of 1 GiB to MongoDB left 38 MiB behind, with
#: two of them 22 MiB.
_M_ARENA_MAX = -8
_ARENAS = 2


def work(
    settings: ServerSettings,
    listener: socket.socket,
    make_app: Callable[[], WSGIApplication],
    access_log: Callable[[AccessRecord], None] | None,
    report_ready: Callable[[], None],
    *,
    tallies: Tallies,
) -> int:
    """Serve until SIGTERM, or RETIRE: then requests and connections may go on for as long as they
    like, up to a SIGTERM. Returns the exit status. What is done is counted in `tallies`.

    The application's `close()`, if it has one, is called at the end, when nothing runs any more:
    what a request that is not finished still writes to must not be taken away from it.
    """
    _share_arenas()
    try:
        app = make_app()
        server = Server(settings, listener, app, access_log, tallies.claim())
        server.prepare()
    except (ConfigError, StoreError, OSError) as error:
        _log.error("A worker cannot start: %s", error)
        return CANNOT_START
    except Exception as error:
        _log.exception("A worker cannot start: %s", error)
        return CANNOT_START
    raise_descriptor_limit()
    # What there is now stays; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    server.serve()
    server.tally.ready()
    report_ready()
    _serve_until_told(server)
    close = getattr(app, "close", None)
    if _drained(server) and close is not None:
        close()
    return 0


def _share_arenas() -> None:
    """Where the C library knows arenas (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def _serve_until_told(server: Server) -> None:
    """Until this process is to end within its drain_timeout."""
    number = signal.sigwait({signal.SIGTERM, RETIRE})
    server.tally.leaving()
    if number == RETIRE:
        server.retire()
        threading.Thread(target=_end_once_drained, args=(server,), daemon=True).start()
        signal.sigwait({signal.SIGTERM})


def _end_once_drained(server: Server) -> None:
    server.wait_drained(None)
    os.kill(os.getpid(), signal.SIGTERM)


def raise_descriptor_limit() -> None:
    """Allow as many connections and open files as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _drained(server: Server) -> bool:
    """Let what runs come to its end, for as long as the settings allow; whether it has."""
    server.stop()
    if server.wait_drained(server.settings.drain_timeout):
        return True
    _log.warning("Worker %d stops with requests unfinished", os.getpid())
    return False
