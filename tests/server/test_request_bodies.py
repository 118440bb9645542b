"""Request bodies: read as a stream, in either framing, and told from those that break off."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest

from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire

CHUNKED = b"PUT /%b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunked(target: bytes, *chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return CHUNKED % target + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + end


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        ("read", b"one\ntwo\nthree"),
        ("pieces", b"one|\ntw|o\nt|hre|e"),
        ("lines", b"one\n|two\n|three"),
        ("2", b"on"),
        ("100", b"one\n"),
        ("-1", b"one\n"),
    ],
)
def test_the_input_can_be_read_whole_in_pieces_and_by_line(
    wire: Wire, how: str, answer: bytes
) -> None:
    body = b"one\ntwo\nthree"
    assert wire.ask("PUT", f"/echo?how={how}", body).body == answer
    wire.send(_chunked(f"echo?how={how}".encode(), b"on", b"e\ntwo", b"\nth", b"ree"))
    assert wire.reply().body == answer


def test_a_body_of_many_megabytes_arrives_byte_by_byte_as_it_was_sent(wire: Wire) -> None:
    body = os.urandom(1 << 20) * 8
    told = f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    assert wire.ask("PUT", "/digest", body).text == told
    chunks = [body[at : at + 100_001] for at in range(0, len(body), 100_001)]
    wire.send(_chunked(b"digest", *chunks))
    assert wire.reply().text == told
    assert wire.ask("GET", "/").status == 200


def test_a_body_may_come_in_any_pieces(server: AppServer) -> None:
    body = b"0123456789" * 3
    told = f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    for request in (
        b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n" + body,
        _chunked(b"digest", body[:7], body[7:], end=b"0\r\nX-Trailer: 1\r\n\r\n"),
    ):
        with server.wire() as wire:
            for at in range(len(request)):
                wire.send(request[at : at + 1])
            assert wire.reply().text == told


def test_chunk_extensions_and_trailers_are_read_and_dropped(wire: Wire) -> None:
    wire.send(
        CHUNKED % b"echo"
        + b'3;name=value\r\nabc\r\n03 ;x="y z"\r\ndef\r\n000\r\nA: b\r\nC: \r\n\r\n'
    )
    assert wire.reply().body == b"abcdef"
    assert wire.ask("GET", "/").status == 200


def test_what_follows_a_whole_chunked_body_is_the_next_request(wire: Wire) -> None:
    wire.send(_chunked(b"echo", b"abc") + b"GET /unread HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert wire.reply().body == b"abc"
    assert wire.reply().body == b"unread"


MALFORMED = {
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "a size that is none": b"xyz\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "a size with a plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "a size with an underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a size with a space before": b" 3\r\nabc\r\n0\r\n\r\n",
    "an endless size": b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "a bare CR in the size": b"3\rabc\r\n0\r\n\r\n",
    "a chunk that is too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk that is too short": b"5\r\nabc\r\n0\r\n\r\n",
    "control characters in an extension": b"3;a=\x00\r\nabc\r\n0\r\n\r\n",
    "an endless extension": b"3;" + b"a" * 10_000 + b"\r\nabc\r\n0\r\n\r\n",
    "a malformed trailer": b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    "a folded trailer": b"3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n",
    "an endless trailer": b"3\r\nabc\r\n0\r\n" + b"A: bcdefghij\r\n" * 1000 + b"\r\n",
    "too much overhead": b"".join(b"1;" + b"a" * 1000 + b"\r\nx\r\n" for _ in range(40)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_chunks_are_an_error_for_the_reader_and_never_the_end(
    start_server: StartServer, name: str
) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(CHUNKED % b"digest" + MALFORMED[name])
        reply = wire.reply()
        assert reply.status == 400
        assert reply.headers["connection"] == "close"
        assert wire.is_closed()
    server.await_event("MalformedBody")


@pytest.mark.parametrize(
    "begun",
    [
        b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n0123456789",
        b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        CHUNKED % b"digest" + b"a\r\n01234",
        CHUNKED % b"digest" + b"a\r\n0123456789",
        CHUNKED % b"digest" + b"a\r\n0123456789\r\n",
        CHUNKED % b"digest" + b"a\r\n0123456789\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
def test_an_early_end_is_an_error_for_the_reader_and_never_the_end(
    start_server: StartServer, begun: bytes, how: str
) -> None:
    server = start_server()
    with server.wire() as wire:
        wire.send(begun)
        if how == "half-closed":
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.reply().status == 400
        elif how == "reset":
            wire.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
    server.await_event("ClientGone")


def test_a_body_that_stalls_is_an_error_for_the_reader_and_answered_408(
    start_server: StartServer,
) -> None:
    server = start_server(body_timeout=0.3)
    with server.wire() as wire:
        wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123")
        assert wire.reply().status == 408
        assert wire.is_closed()
    server.await_event("BodyTimeout")


def test_a_body_that_trickles_below_the_least_rate_is_ended(start_server: StartServer) -> None:
    server = start_server(rate_grace=0.5, min_rate=1000)
    with server.wire() as wire:
        wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n")
        wire.socket.settimeout(0.05)
        for _ in range(200):
            try:
                wire.send(b"x")
                reply = wire.reply()
            except TimeoutError:
                continue
            assert reply.status == 408
            break
        else:
            pytest.fail("ten seconds of trickling were taken")
    server.await_event("BodyTimeout")


def test_continue_is_sent_when_the_application_reads_and_not_before(wire: Wire) -> None:
    wire.send(b"PUT /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
    assert wire.reply().status == 100
    assert wire.send(b"abc").reply().body == b"abc"
    assert wire.ask("GET", "/").status == 200


def test_continue_is_sent_for_a_chunked_body_too(wire: Wire) -> None:
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") % b"echo"
    assert wire.send(head).reply().status == 100
    assert wire.send(b"3\r\nabc\r\n0\r\n\r\n").reply().body == b"abc"


def test_continue_is_not_sent_when_the_body_is_not_wanted(wire: Wire) -> None:
    wire.send(
        b"PUT /unread?status=401+No HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        b"Content-Length: 3\r\n\r\n"
    )
    reply = wire.reply()
    # Whether the body follows nobody knows, so the connection cannot go on.
    assert (reply.status, reply.headers["connection"]) == (401, "close")


def test_continue_is_not_sent_when_the_body_is_there_already(wire: Wire) -> None:
    reply = wire.ask("PUT", "/echo", b"abc", "Expect: 100-continue")
    assert (reply.status, reply.body) == (200, b"abc")


def test_an_expectation_of_http_1_0_is_ignored(wire: Wire) -> None:
    wire.send(b"PUT /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
    assert wire.reply().body == b"abc"


def test_a_small_unread_body_is_thrown_away_and_the_connection_goes_on(wire: Wire) -> None:
    for _ in range(3):
        reply = wire.ask("PUT", "/unread", b"x" * 60_000)
        assert (reply.body, reply.headers.get("connection")) == (b"unread", None)
    # So little comes in one piece: how much more of a chunked body there will be, nobody knows.
    wire.send(_chunked(b"unread", b"x" * 5_000, b"y" * 5_000))
    reply = wire.reply()
    assert (reply.body, reply.headers.get("connection")) == (b"unread", None)
    assert wire.ask("PUT", "/some?size=5", b"0123456789").body == b"01234"
    assert wire.ask("GET", "/").status == 200


def test_a_small_unread_body_that_comes_late_costs_no_answer_and_no_thread(
    start_server: StartServer,
) -> None:
    server = start_server(threads=1)
    with server.wire() as late, server.wire() as other:
        late.send(b"PUT /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        assert late.reply().body == b"unread"
        assert other.ask("GET", "/").status == 200
        late.send(b"def")
        assert late.ask("GET", "/").status == 200


def test_bytes_of_an_unread_body_are_never_taken_for_a_request(wire: Wire) -> None:
    smuggled = b"GET /die HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert wire.ask("PUT", "/unread", smuggled).body == b"unread"
    wire.send(_chunked(b"unread", smuggled))
    assert wire.reply().body == b"unread"
    assert wire.ask("GET", "/unread").body == b"unread"


def test_a_large_unread_body_ends_the_connection_after_the_reply(wire: Wire) -> None:
    wire.send(b"PUT /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    reply = wire.reply()
    assert (reply.body, reply.headers["connection"]) == (b"unread", "close")
    # The rest may still be sent without a reset, which could overtake the reply.
    wire.send(b"x" * 1_000_000)
    assert wire.is_closed()


def test_a_large_unread_chunked_body_ends_the_connection_after_the_reply(wire: Wire) -> None:
    wire.send(_chunked(b"unread", *[b"x" * 50_000] * 20))
    reply = wire.reply()
    assert (reply.body, reply.headers["connection"]) == (b"unread", "close")
    assert wire.is_closed()


def test_a_chunked_body_whose_end_is_not_in_sight_ends_the_connection_after_the_reply(
    wire: Wire,
) -> None:
    wire.send(_chunked(b"unread", b"x" * 100, end=b""))
    reply = wire.reply()
    # It could become larger than what is thrown away; a proxy keeps what it was not told to close.
    assert (reply.body, reply.headers["connection"]) == (b"unread", "close")
    wire.send(b"0\r\n\r\n")
    assert wire.is_closed()
