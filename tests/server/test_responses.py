"""Responses: framing, one send where one will do, and honest ends."""

from __future__ import annotations

import re
import socket
from email.utils import parsedate_to_datetime

import pytest

from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire


def test_a_response_has_date_and_server(wire: Wire) -> None:
    reply = wire.ask("GET", "/")
    assert parsedate_to_datetime(reply.headers["date"]).year > 2000
    assert reply.headers["server"] == "davstore"
    assert reply.headers["content-length"] == "4096"
    assert "connection" not in reply.headers


@pytest.mark.parametrize("name", ["Date", "Server"])
def test_the_applications_own_date_and_server_are_kept(wire: Wire, name: str) -> None:
    assert wire.ask("GET", f"/header?name={name}&value=own").headers[name.lower()] == "own"


def test_a_small_response_leaves_in_one_send(wire: Wire) -> None:
    wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    first = wire.socket.recv(65536)
    assert first.endswith(b"x" * 4096)


def test_a_body_without_a_length_is_chunked(wire: Wire) -> None:
    reply = wire.ask("GET", "/stream?count=3&size=1000")
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.body == b"s" * 3000
    assert wire.ask("GET", "/").status == 200


def test_a_body_without_a_length_ends_with_the_connection_in_http_1_0(wire: Wire) -> None:
    wire.send(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    reply = wire.reply()
    assert "transfer-encoding" not in reply.headers
    assert reply.headers["connection"] == "close"
    assert reply.body == b"s" * 3000


def test_blocks_are_sent_as_they_come(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(b"GET /paced HTTP/1.1\r\nHost: localhost\r\n\r\n")
        seen = b""
        while b"begun" not in seen:
            seen += wire.socket.recv(65536)
        (server.folder / "pace").touch()
        while not seen.endswith(b"0\r\n\r\n"):
            seen += wire.socket.recv(65536)
        assert b"ended" in seen


def test_a_list_without_a_length_gets_one(wire: Wire) -> None:
    assert wire.ask("GET", "/header?name=A&value=b").headers["content-length"] == "2"


def test_the_write_callable_works(wire: Wire) -> None:
    assert wire.ask("GET", "/write").body == b"written and returned"


def test_start_response_can_be_called_again_with_exc_info(wire: Wire) -> None:
    assert wire.ask("GET", "/retry").status == 409
    assert wire.ask("GET", "/").status == 200


def test_head_has_the_headers_and_no_body(wire: Wire) -> None:
    assert wire.ask("HEAD", "/").headers["content-length"] == "4096"
    assert wire.ask("HEAD", "/stream").status == 200
    assert wire.ask("HEAD", "/stream?length=3000").headers["content-length"] == "3000"
    assert wire.ask("GET", "/").status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(wire: Wire, status: int) -> None:
    for target in ("/empty?", "/stream?", "/stream?length=0&" if status == 204 else "/empty?"):
        reply = wire.ask("GET", f"{target}status={status}+Nothing")
        assert reply.status == status
        assert "transfer-encoding" not in reply.headers
        assert "content-length" not in reply.headers
    assert wire.ask("GET", "/").status == 200


def test_an_empty_body_has_the_length_0(wire: Wire) -> None:
    assert wire.ask("GET", "/empty").headers["content-length"] == "0"
    assert wire.ask("GET", "/stream?count=0").headers["content-length"] == "0"


@pytest.mark.parametrize("when", ["call", "early"])
def test_an_exception_before_the_head_is_a_500_that_names_the_request(
    server: AppServer, wire: Wire, when: str
) -> None:
    reply = wire.ask("GET", f"/fail?when={when}")
    assert reply.status == 500
    assert reply.headers["content-type"].startswith("text/plain")
    assert "x-given" not in reply.headers
    named = re.search(r"[0-9a-f]+-[0-9a-f]+", reply.text)
    assert named is not None
    assert f"{named[0]}: GET '/fail" in server.said()
    assert "raised on purpose" in server.said()
    assert "raised on purpose" not in reply.text


def test_an_exception_after_the_head_cuts_the_connection(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as wire:
        reply = wire.ask("GET", "/fail?when=late")
        assert (reply.body, reply.is_whole) == (b"some", False)
    server.await_event("closed")


def test_an_exception_after_the_head_shows_also_without_framing(wire: Wire) -> None:
    wire.send(b"GET /fail?when=late HTTP/1.0\r\n\r\n")
    # Without framing, only a reset tells a broken body from a whole one.
    assert not wire.reply().is_whole


def test_a_body_shorter_than_its_length_cuts_the_connection(wire: Wire) -> None:
    reply = wire.ask("GET", "/stream?length=5000&count=3&size=1000")
    assert (len(reply.body), reply.is_whole) == (3000, False)


def test_a_body_longer_than_its_length_is_cut_and_the_connection_with_it(wire: Wire) -> None:
    reply = wire.ask("GET", "/stream?length=2500&count=3&size=1000")
    assert (len(reply.body), reply.is_whole) == (2500, True)
    assert wire.is_closed()


@pytest.mark.parametrize("value", ["a%0d%0aSet-Cookie:%20b=c", "a%0ab", "a%0db", "a%00b"])
def test_a_line_break_in_a_response_header_is_refused(wire: Wire, value: str) -> None:
    reply = wire.ask("GET", f"/header?name=X-Value&value={value}")
    assert reply.status == 500
    assert "set-cookie" not in reply.headers


def test_a_header_beyond_latin_1_is_refused(wire: Wire) -> None:
    assert wire.ask("GET", "/header?name=X-Value&value=%E2%82%AC").status == 500


def test_hop_by_hop_headers_of_the_application_are_dropped(wire: Wire) -> None:
    assert "keep-alive" not in wire.ask("GET", "/header?name=Keep-Alive&value=5").headers
    reply = wire.ask("GET", "/header?name=Transfer-Encoding&value=gzip")
    assert "transfer-encoding" not in reply.headers
    reply = wire.ask("GET", "/header?name=Connection&value=Close")
    assert reply.headers["connection"] == "close"
    assert wire.is_closed()


def test_a_systemexit_of_the_application_is_a_500_and_not_the_end_of_a_thread(
    start_server: StartServer,
) -> None:
    server = start_server(threads=1)
    for _ in range(3):
        with server.wire() as wire:
            assert wire.ask("GET", "/leave").status == 500


def test_the_iterable_is_closed_when_the_client_goes_away(start_server: StartServer) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(b"GET /stream?count=1000&size=1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.socket.recv(1000)
    server.await_event("closed")


def test_a_reader_that_stalls_is_cut_off(start_server: StartServer) -> None:
    server = start_server(body_timeout=0.3)
    with server.wire(receive_buffer=4096) as wire:
        wire.send(b"GET /stream?count=1000&size=1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.await_event("closed")


def test_a_reader_below_the_least_rate_is_cut_off(start_server: StartServer) -> None:
    server = start_server(rate_grace=0.2, min_rate=1_000_000_000)
    with server.wire(receive_buffer=4096) as wire:
        wire.send(b"GET /stream?count=1000&size=1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.socket.settimeout(10)
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                wire._more()
                wire._ahead = b""
    server.await_event("closed")


def test_connections_have_no_delay(server: AppServer) -> None:
    with server.wire() as wire:
        # Would take 40 ms each with Nagle's algorithm and delayed acknowledgements.
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        for _ in range(20):
            assert wire.ask("GET", "/stream?count=2&size=10").body == b"s" * 20
