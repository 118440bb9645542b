"""What the server makes of request heads, good and bad: RFC 9112, sections 2 to 5."""

from __future__ import annotations

import json
import random

import pytest

from tests.server.harness import AppServer
from tests.server.wire import Wire

HOST = b"Host: localhost\r\n"

# fmt: off
REFUSED = {
    "no request line": (b"\r\n\r\n\r\n\r\n", 400),
    "a second empty line": (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "noise": (b"\x00\x01\x02\x03\r\n\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an SSH greeting": (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tab in the target": (b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tab for a space": (b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a space at the end of the line": (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400),
    "a space before the method": (b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method with a slash": (b"GE/T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method with a quote": (b'"GET" / HTTP/1.1\r\n' + HOST + b"\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "a method in mixed case": (b"Propfind / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "HTTP/0.9 by name": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    "a version without a minor": (b"GET / HTTP/1\r\n" + HOST + b"\r\n", 400),
    "a version of two digits": (b"GET / HTTP/1.11\r\n" + HOST + b"\r\n", 400),
    "a version in lower case": (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400),
    "another protocol": (b"GET / ICY/1.1\r\n" + HOST + b"\r\n", 400),
    "a bare LF after the request line": (b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
    "bare LFs": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
    "a bare LF between headers": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\nC: d\r\n\r\n", 400),
    "a bare CR": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rC: d\r\n\r\n", 400),
    "NUL in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x00c\r\n\r\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "DEL in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: \x7f\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "a folded first line": (b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    "a space in a name": (b"GET / HTTP/1.1\r\n" + HOST + b"A B: c\r\n\r\n", 400),
    "an empty name": (b"GET / HTTP/1.1\r\n" + HOST + b": c\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"Nothing\r\n\r\n", 400),
    "no colon after a known name": (b"GET / HTTP/1.1\r\n" + HOST + b"Accept\r\n\r\n", 400),
    "a name that is not ASCII": (b"GET / HTTP/1.1\r\n" + HOST + b"\xc3\xa4: c\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: local/host\r\n\r\n", 400),
    "a Host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with a user": (b"GET / HTTP/1.1\r\nHost: me@localhost\r\n\r\n", 400),
    "a Host with a list": (b"GET / HTTP/1.1\r\nHost: a, b:80:90\r\n\r\n", 400),
    "a Host with a word for a port": (b"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400),
    "two Authorizations": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n", 400),
    "two Destinations": (
        b"MOVE / HTTP/1.1\r\n" + HOST + b"Destination: /a\r\nDestination: /b\r\n\r\n", 400),
    "a fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a star for GET": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a target without a slash": (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an ftp URL": (b"GET ftp://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a URL without a host": (b"GET http:///a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a URL with a user": (b"GET http://me@localhost/a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a URL without Host": (b"GET http://localhost/a HTTP/1.1\r\n\r\n", 400),
    "a bad escape": (b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a short escape": (b"GET /%2 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a lone percent": (b"GET /100% HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an escaped slash": (b"GET /a%2Fb HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an escaped slash in lower case": (b"GET /a%2fb HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an escaped NUL": (b"GET /a%00b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an escaped path that is not UTF-8": (b"GET /%ff%fe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a raw path that is not UTF-8": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an escaped surrogate": (b"GET /%ed%a0%80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a Content-Length with an underscore": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 1_0\r\n\r\n0123456789", 400),
    "a Content-Length with a plus": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\n12345", 400),
    "a negative Content-Length": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    "an empty Content-Length": (b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n", 400),
    "a hexadecimal Content-Length": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x5\r\n\r\n12345", 400),
    "an exotic digit": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: \xb2\r\n\r\n12", 400),
    "an endless Content-Length": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
    "a list of Content-Lengths": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n\r\n12345", 400),
    "Content-Lengths that differ": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", 400),
    "a Content-Length twice": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345", 400),
    "Content-Length and Transfer-Encoding": (
        b"PUT / HTTP/1.1\r\n" + HOST
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "Transfer-Encoding in HTTP/1.0": (
        b"PUT / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an unknown transfer coding": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked twice": (
        b"PUT / HTTP/1.1\r\n" + HOST
        + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "a disguised transfer coding": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "an unknown expectation": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\nContent-Length: 1\r\n\r\n", 417),
    "a target that is too long": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", 414),
    "a head that is too long": (
        b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
    "a head that never ends": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 12_000, 431),
    "a head that breaks off": (b"GET / HTTP/1.1\r\nHost: lo", 400),
}
# fmt: on


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_request_is_answered_with_a_sentence_and_the_connection_ends(
    server: AppServer, name: str
) -> None:
    data, status = REFUSED[name]
    with server.wire() as wire:
        wire.send(data)
        if name == "a head that breaks off":
            wire.socket.shutdown(1)
        reply = wire.reply("GET")
        assert reply.status == status, reply
        assert reply.headers["content-type"].startswith("text/plain")
        assert 10 < len(reply.body) < 200
        assert reply.headers["connection"] == "close"
        assert wire.is_closed()


@pytest.mark.parametrize("name", [name for name in REFUSED if len(REFUSED[name][0]) < 1000])
def test_a_malformed_request_is_answered_also_when_it_comes_byte_by_byte(
    server: AppServer, name: str
) -> None:
    data, status = REFUSED[name]
    with server.wire() as wire:
        try:
            for at in range(len(data)):
                wire.send(data[at : at + 1])
        except ConnectionError:
            assert at > 0
        if name == "a head that breaks off":
            wire.socket.shutdown(1)
        assert wire.reply().status == status


def test_random_noise_is_always_answered_with_a_client_error(server: AppServer) -> None:
    seed = 20_240_607
    print(f"seed {seed}")
    chance = random.Random(seed)
    good = b"PUT /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345"
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(good) - 5)] = chance.randrange(256)
        with server.wire() as wire:
            wire.send(bytes(bad)).socket.shutdown(1)
            reply = wire.reply()
            assert reply.status in (200, 201, 400, 417, 501, 505), bytes(bad)
    with server.wire() as wire:
        assert wire.ask("GET", "/").status == 200


def _environ(wire: Wire, request: bytes) -> dict[str, str]:
    reply = wire.send(request).reply()
    assert reply.status == 200, reply
    found: dict[str, str] = json.loads(reply.body)
    return found


def test_the_environ_has_what_pep_3333_asks_for(server: AppServer, wire: Wire) -> None:
    seen = _environ(
        wire,
        b"PROPFIND /environ?a=%zz&b HTTP/1.1\r\nHost: Localhost:80\r\nDepth: 1\r\nx-y: 1\r\n"
        b"content-type: text/xml\r\nCONTENT-LENGTH: 0\r\n\r\n",
    )
    assert seen["REQUEST_METHOD"] == "PROPFIND"
    assert seen["SCRIPT_NAME"] == ""
    assert seen["PATH_INFO"] == "/environ"
    assert seen["QUERY_STRING"] == "a=%zz&b"
    assert seen["REQUEST_URI"] == "/environ?a=%zz&b"
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["SERVER_PORT"] == str(server.port)
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["REMOTE_PORT"] == str(wire.socket.getsockname()[1])
    assert seen["HTTP_HOST"] == "Localhost:80"
    assert seen["HTTP_DEPTH"] == "1"
    assert seen["HTTP_X_Y"] == "1"
    assert seen["CONTENT_TYPE"] == "text/xml"
    assert seen["CONTENT_LENGTH"] == "0"
    assert seen["wsgi.url_scheme"] == "http"
    assert seen["wsgi.multithread"] and seen["wsgi.multiprocess"]
    assert seen["davstore.request_id"]
    assert seen["davstore.file_span_offered"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a%20b", "/a b"),
        (b"/%C3%A4", "/ä"),
        (b"/\xc3\xa4", "/ä"),
        (b"/%e2%82%ac;p=1/x+y", "/€;p=1/x+y"),
        (b"//a//b/", "//a//b/"),
        (b"/%25zz", "/%zz"),
        (b"/a%3Fb", "/a?b"),
        (b"/?", "/"),
    ],
)
def test_the_path_is_decoded_and_the_raw_target_is_kept(
    wire: Wire, target: bytes, path: str
) -> None:
    # The query keeps "/" from being the application's answer to "/".
    request = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if path == "/":
        assert wire.send(request).reply().status == 200
        return
    seen = _environ(wire, request)
    assert seen["PATH_INFO"].encode("latin-1").decode() == path
    assert seen["REQUEST_URI"].encode("latin-1") == target


def test_a_target_in_absolute_form_is_accepted_and_its_host_counts(wire: Wire) -> None:
    seen = _environ(wire, b"GET http://other:81/environ?q HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert seen["PATH_INFO"] == "/environ"
    assert seen["QUERY_STRING"] == "q"
    assert seen["HTTP_HOST"] == "other:81"
    assert seen["REQUEST_URI"] == "http://other:81/environ?q"
    assert wire.send(b"GET HTTP://other HTTP/1.1\r\nHost: localhost\r\n\r\n").reply().status == 200


def test_options_of_the_server_as_a_whole_reaches_the_application(wire: Wire) -> None:
    seen = _environ(wire, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert seen["PATH_INFO"] == "*"


def test_an_unknown_method_in_capitals_reaches_the_application(wire: Wire) -> None:
    seen = _environ(wire, b"BASELINE-CONTROL /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert seen["REQUEST_METHOD"] == "BASELINE-CONTROL"


def test_repeated_headers_are_joined(wire: Wire) -> None:
    seen = _environ(
        wire,
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nAccept: a\r\naccept: b\r\n"
        b"Cookie: c=1\r\nCookie: d=2\r\n\r\n",
    )
    assert seen["HTTP_ACCEPT"] == "a, b"
    assert seen["HTTP_COOKIE"] == "c=1; d=2"


def test_header_names_with_an_underscore_are_dropped(wire: Wire) -> None:
    seen = _environ(
        wire,
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nX_Forwarded_For: 1\r\nX_B: 2\r\nX_B: 3\r\n\r\n",
    )
    assert not [key for key in seen if key.startswith("HTTP_X")]


def test_white_space_around_a_value_is_no_part_of_it(wire: Wire) -> None:
    seen = _environ(wire, b"GET /x HTTP/1.1\r\nHost:localhost\r\nA: \t b c \t\r\n\r\n")
    assert seen["HTTP_HOST"] == "localhost"
    assert seen["HTTP_A"] == "b c"


def test_bytes_beyond_ascii_in_a_value_arrive_as_latin_1(wire: Wire) -> None:
    seen = _environ(wire, b"GET /x HTTP/1.1\r\nHost: localhost\r\nA: \xe4\r\n\r\n")
    assert seen["HTTP_A"] == "ä"


def test_an_empty_line_before_a_request_is_forgiven(wire: Wire) -> None:
    wire.send(b"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert wire.reply().status == 200


def test_a_higher_minor_version_is_taken_for_1_1(wire: Wire) -> None:
    seen = _environ(wire, b"GET /x HTTP/1.2\r\nHost: localhost\r\n\r\n")
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_http_1_0_needs_no_host(wire: Wire) -> None:
    reply = wire.send(b"GET / HTTP/1.0\r\n\r\n").reply()
    assert reply.status == 200
    assert reply.headers["connection"] == "close"


def test_a_head_may_come_in_any_pieces(server: AppServer) -> None:
    request = b"GET /environ HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\r\n"
    for at in range(1, len(request)):
        with server.wire() as wire:
            wire.send(request[:at])
            assert wire.send(request[at:]).reply().status == 200
