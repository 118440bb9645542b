"""The listening socket at its end: who is connected is served, who is not is refused."""

from __future__ import annotations

import select
import socket

import pytest

from davstore.server.listener import open_listener, turn_away


def _begin(address: tuple[str, int]) -> socket.socket:
    client = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    client.setblocking(False)
    client.connect_ex(address)
    return client


def _can_send(client: socket.socket, milliseconds: int) -> bool:
    """Whether it is connected, or refused, within this time."""
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    return bool(poll.poll(milliseconds))


def test_who_has_connected_before_is_accepted_and_who_comes_later_is_refused_not_reset() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with _begin(address) as early:
            assert _can_send(early, 10_000)
            turn_away(listener)
            with _begin(address) as late:
                # Less than the second after which it asks again.
                assert not _can_send(late, 200)
                link, peer = listener.accept()
                with link:
                    assert peer == early.getsockname()
                    early.sendall(b"a request")
                    assert link.recv(100) == b"a request"
                    listener.close()
                    early.settimeout(10)
                    link.sendall(b"its answer")
                    assert early.recv(100) == b"its answer"
                assert _can_send(late, 10_000)
                error = late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                assert isinstance(OSError(error, ""), ConnectionRefusedError)


def test_the_same_over_ipv6() -> None:
    with open_listener("::1", 0) as listener:
        turn_away(listener)
        with _begin(listener.getsockname()) as late:
            assert not _can_send(late, 200)


def test_a_socket_that_takes_no_filter_costs_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = open_listener("127.0.0.1", 0)
    listener.close()
    turn_away(listener)
    assert "may be reset" in caplog.text
