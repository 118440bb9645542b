"""A TCP proxy that breaks connections, at places that are chosen before, and counts the bytes.

What came before the place arrives; what comes after it does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
import socket
import struct
import termios
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.components.processes import NotReady, wait_until

_COUNT = struct.Struct("i")

#: Closing with this set sends a reset: what is on its way is lost.
_RESET = struct.pack("ii", 1, 0)


def places(seed: int, count: int, length: int) -> list[int]:
    """`count` places to cut at in a stream of `length` bytes, in order."""
    return sorted(random.Random(seed).sample(range(1, length), count))


class Cuts:
    """Where the streams of clients are cut, counted over all proxies that share it.

    `after` are numbers of bytes: when so many have come from clients (or, with `downwards`, from
    servers), the connection that brought the last of them is reset on both sides.
    """

    def __init__(self, after: Iterable[int] = (), *, downwards: bool = False) -> None:
        self._after = sorted(after)
        self._downwards = downwards
        self._guard = threading.Lock()
        #: Bytes that clients have sent, and servers.
        self.up = 0
        self.down = 0
        #: How many connections were cut.
        self.made = 0

    def passes(self, count: int, *, up: bool) -> int:
        """How many of the next `count` bytes may go on before the connection is cut."""
        with self._guard:
            if up:
                self.up += count
            else:
                self.down += count
            seen = self.down if self._downwards else self.up
            if up == self._downwards or not self._after or seen < self._after[0]:
                return count
            over = seen - self._after[0]
            while self._after and self._after[0] <= seen:
                self._after.pop(0)
            self.made += 1
            # What the client has sent and is cut off here was sent all the same.
            return count - over - 1

    @property
    def left(self) -> int:
        with self._guard:
            return len(self._after)


class CuttingProxy:
    """Takes connections at `port` and passes them on to `target`. A context manager."""

    def __init__(self, target: tuple[str, int], cuts: Cuts, port: int = 0) -> None:
        self.target = target
        self._cuts = cuts
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        threading.Thread(target=self._pass, args=(server, client, pair, False), daemon=True).start()
        self._pass(client, server, pair, True)

    def _pass(self, source: socket.socket, target: socket.socket, pair: _Pair, up: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                count = self._cuts.passes(len(data), up=up)
                target.sendall(data[:count])
                if count < len(data):
                    # A reset throws away what is not delivered, more of it on a busy machine.
                    with contextlib.suppress(NotReady):
                        wait_until(lambda: not _unsent(target), 10, "the delivery")
                    pair.cut()
                    return
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pair.cut()
        finally:
            pair.done()


class _Pair:
    """The two connections of one way through; closed when both directions are over."""

    def __init__(self, *both: socket.socket) -> None:
        self._both = both
        self._guard = threading.Lock()
        self._running = 2

    def cut(self) -> None:
        for one in self._both:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Wakes the other direction, which may wait for this one.
                one.shutdown(socket.SHUT_RDWR)

    def done(self) -> None:
        with self._guard:
            self._running -= 1
            if self._running:
                return
        for one in self._both:
            one.close()


def _unsent(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not got yet."""
    (count,) = _COUNT.unpack(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(_COUNT.size)))
    return int(count)


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()
