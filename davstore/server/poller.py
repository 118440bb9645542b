"""The events of one worker: one epoll, watched by the one thread that has the place.

Registrations are level-triggered and stay while a request is handled, because nobody else
looks meanwhile: an ordinary request costs epoll_wait, recv and send, nothing more. Only when the
handling thread loses the place is its connection taken out, and put back when it is done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from davstore import handoff
from davstore.server.child import FAILED
from davstore.server.connection import Connection
from davstore.server.head import Refused
from davstore.server.places import Places, Seat
from davstore.server.request import Request
from davstore.server.tls import TlsConnection

if TYPE_CHECKING:
    from davstore.server.http import Server

_log = logging.getLogger(__name__)

#: How often deadlines are looked at, in seconds.
_SWEEP = 0.5

#: An idle connection is closed for a new one only after so many seconds.
_LEAST_IDLE = 1.0

#: When none is idle, one whose request head has been coming in for so long has to go.
_LEAST_SLOW = 5.0

#: So many seconds a new connection is left to another worker. When it did not take it, nothing is
#: left to others for so many times as long.
_LEAVE = 0.005
_ALONE = 50

#: Between two looks at whether it was taken. The kernel makes twice as much of it.
_LOOK = 0.00005

#: Connections beyond the limit that are told so.
_MOST_REFUSED = 64

_FULL = Refused("503 Service Unavailable", "Too many connections are open. Try again later.")


class Poller:
    """`drained` is set once a graceful stop is complete."""

    def __init__(self, server: Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._limit = server.settings.connections
        self._class = TlsConnection if server.ssl_adapter is not None else Connection
        self._epoll = select.epoll()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._alarm, select.EPOLLIN)
        self._is_accepting = False
        #: Accepting failed for want of something, and is tried again at the next sweep.
        self._is_paused = False
        self._connections: dict[int, Connection] = {}
        self._next_sweep = 0.0
        #: Whether a new connection waits, asked beside the epoll.
        self._arrivals = select.poll()
        self._arrivals.register(listener, select.POLLIN)
        #: When new connections are left to others again (time.monotonic()).
        self._alone_until = 0.0
        self._draining = False
        #: The last one that was cut because all threads waited.
        self._cut: Connection | None = None
        self.drained = threading.Event()
        self.places = Places(self._work, server.settings.threads, self._shed)
        listener.setblocking(False)
        self._accept_again()

    def wake(self) -> None:
        """Have the thread with the place look at what the server was told."""
        os.eventfd_write(self._alarm, 1)

    def disarm(self, conn: Connection) -> None:
        """Called with the lock of the places."""
        conn.is_armed = False
        # A failed handshake closes the socket itself, and closing unregisters.
        with contextlib.suppress(OSError):
            self._epoll.unregister(conn.fd)

    def _arm(self, conn: Connection) -> None:
        # Under the lock, so that the flag cannot be set after the next thread's disarming.
        with self.places.lock:
            self._epoll.register(conn.fd, select.EPOLLIN)
            conn.is_armed = True

    # What a thread does.

    def _work(self, seat: Seat) -> None:
        handoff.set_place(seat.give_up)
        while True:
            try:
                self._lead(seat)
            except BaseException:
                # The place is lost with this thread; the supervisor puts a new worker here.
                _log.critical("The worker is broken and ends", exc_info=True)
                logging.shutdown()
                os._exit(FAILED)
            if not self.places.enter(seat):
                return

    def _lead(self, seat: Seat) -> None:
        """Wait for events and handle them, until the place is lost."""
        poll = self._epoll.poll
        connections = self._connections
        monitor = self.places.monitor
        claim = seat.claim
        while True:
            events = poll(_SWEEP if connections or self._is_paused else -1, 1)
            now = time.monotonic()
            if now >= self._next_sweep:
                self._next_sweep = now + _SWEEP
                self._sweep(now)
            if not events:
                continue
            conn = connections.get(events[0][0])
            if conn is None:
                self._on_other(events[0][0])
                continue
            seat.since = now
            if monitor.asleep:
                monitor.wake()
            claim.append(conn)
            stays = self._guarded(conn.communicate)
            seat.since = 0.0
            if seat.ends():
                if not stays:
                    self._close(conn)
                continue
            if stays and not (self._draining and self._may_go(conn, now)):
                self._arm(conn)
            else:
                self._close(conn)
            return

    def _guarded(self, handle: Callable[[], bool]) -> bool:
        # A thread must not end with the place, whatever the application raises.
        try:
            return handle()
        except BaseException:
            _log.exception("A connection failed")
            return False

    def _close(self, conn: Connection) -> None:
        # Out of the table first: once closed, its number can belong to a new connection.
        if self._connections.get(conn.fd) is conn:
            del self._connections[conn.fd]
        conn.close()
        self._server.tally.connections(self._connections.__len__)
        if self._draining and not self._connections:
            self.drained.set()

    def _on_other(self, fd: int) -> None:
        if fd == self._alarm:
            os.eventfd_read(self._alarm)
            if self._server.is_draining and not self._draining:
                self._drain()
        elif self._is_accepting and fd == self._listener.fileno():
            self._on_arrival()

    # New connections.

    def _on_arrival(self) -> None:
        if not self._left_to_another():
            self._accept()

    def _left_to_another(self) -> bool:
        """Whether another worker took the new connection, having at least two fewer than this one.

        They live long, so who is quick to accept would have most of the work for as long.
        Has the other one no time, is it stopped, or dies right now, this worker takes the
        connection after five milliseconds, and for a while all that come.
        """
        fewer = len(self._connections) - 1
        since = time.monotonic()
        if since < self._alone_until:
            return False
        while self._server.tally.another_has_fewer(fewer):
            waited = time.monotonic() - since
            if waited > _LEAVE:
                self._alone_until = since + _ALONE * waited
                return False
            time.sleep(_LOOK)
            if not self._arrivals.poll(0):
                return True
        return False

    def _accept(self) -> bool:
        """Accept one, as the others may want the next; whether there was one."""
        try:
            sock, address = self._listener.accept()
        except BlockingIOError:
            return False
        except ConnectionAbortedError:
            return True
        except OSError as error:
            # No descriptors or no memory: some connection may go, and others come later.
            _log.warning("A connection could not be accepted: %s", error)
            self._epoll.unregister(self._listener.fileno())
            self._is_accepting = False
            self._is_paused = True
            self._evict(time.monotonic())
            return False
        sock.setblocking(False)
        conn = self._class(self._server, sock, address)
        is_full = False
        while len(self._connections) >= self._limit and not is_full:
            is_full = not self._evict(conn.idle_since)
        self._connections[conn.fd] = conn
        self._server.tally.connections(self._connections.__len__)
        self._arm(conn)
        if is_full and not self._guarded(lambda: self._refuse(conn)):
            self._close(conn)
        return True

    def _accept_again(self) -> None:
        # Not EPOLLEXCLUSIVE: that wakes one worker, who would accept all of them alone.
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._is_accepting = True
        self._is_paused = False

    def _evict(self, now: float) -> bool:
        """Close a connection to make room; whether there was one that may go.

        That is the one that has been idle longest, else the one whose head is the slowest.
        """
        armed = [conn for conn in list(self._connections.values()) if conn.is_armed]
        idle = [conn for conn in armed if conn.is_idle and conn.idle_since < now - _LEAST_IDLE]
        if idle:
            self._close(min(idle, key=lambda conn: conn.idle_since))
            return True
        slow = [conn for conn in armed if conn.is_slow_head(now, _LEAST_SLOW)]
        if not slow:
            return False
        slowest = min(slow, key=lambda conn: conn.deadline)
        self._guarded(slowest.expire)
        self._close(slowest)
        return True

    def _refuse(self, conn: Connection) -> bool:
        """Say that there is no room; whether the connection lingers for a while."""
        if conn.is_tls or len(self._connections) > self._limit + _MOST_REFUSED:
            return False
        Request(self._server, conn).refuse(_FULL)
        return conn.close_softly()

    def spare_one(self) -> None:
        """Called by a thread that begins to wait for its client: the others may wait all."""
        if self.places.is_free:
            self._shed()

    def _shed(self) -> None:
        """All threads wait. Cut the request that has waited longest for its client."""
        cut = self._cut
        if cut is not None and self._connections.get(cut.fd) is cut:
            # Its thread is on its way.
            return
        for conn in list(self._server.waiting)[:1]:
            _log.warning("All threads wait: the connection of %s is cut", conn.remote_addr)
            self._cut = conn
            conn.abandon()

    # Time.

    def _sweep(self, now: float) -> None:
        """Close, or answer, what has been armed for too long."""
        for conn in list(self._connections.values()):
            if conn.is_armed and self._is_over(conn, now):
                self._close(conn)
        if self._is_paused and not self._draining:
            self._accept_again()

    def _is_over(self, conn: Connection, now: float) -> bool:
        if self._draining and self._may_go(conn, now):
            return True
        return conn.deadline <= now and not self._guarded(conn.expire)

    def _may_go(self, conn: Connection, now: float) -> bool:
        """Whether a graceful stop takes nothing from its client by closing it."""
        if not conn.is_idle or conn.step is Connection.on_linger:
            return False
        return now >= self._server.last_call

    def _drain(self) -> None:
        """Begin the graceful end."""
        # Who has connected already is served: once all close the socket, they would be reset.
        for _ in range(self._server.settings.backlog):
            if not self._is_accepting or not self._accept():
                break
        if self._is_accepting:
            self._epoll.unregister(self._listener.fileno())
            self._is_accepting = False
        self._listener.close()
        now = time.monotonic()
        self._draining = True
        self._sweep(now)
        if not self._connections:
            self.drained.set()
