"""TLS: the same requests through it, and handshakes that delay nobody."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.processes import NotReady, is_alive, wait_until
from tests.server.certificate import make_certificate
from tests.server.conftest import StartServer
from tests.server.harness import AppServer
from tests.server.wire import Wire


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    with AppServer(folder, tls_certificate=certificate, tls_key=key, header_timeout=2) as running:
        yield running


@pytest.fixture
def tls(tls_server: AppServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tls_server.folder / "certificate.pem"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_are_answered_over_tls(
    tls_server: AppServer, tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    tls.minimum_version = tls.maximum_version = version
    with tls_server.wire(tls=tls) as wire:
        for _ in range(3):
            assert wire.ask("GET", "/").status == 200
        seen = json.loads(wire.ask("GET", "/environ").body)
        assert (seen["wsgi.url_scheme"], seen["HTTPS"]) == ("https", "on")
        assert seen["SSL_PROTOCOL"]


def test_tls_1_1_is_refused(tls_server: AppServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls_server.wire(tls=context)


def test_large_bodies_go_both_ways_over_tls(tls_server: AppServer, tls: ssl.SSLContext) -> None:
    body = os.urandom(3_000_000)
    (tls_server.folder / "file").write_bytes(body)
    with tls_server.wire(tls=tls) as wire:
        told = wire.ask("PUT", "/digest", body).text
        assert told == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
        assert wire.ask("GET", "/span?name=file").body == body
        assert wire.ask("GET", "/stream?count=30&size=100000").body == b"s" * 3_000_000
        assert wire.ask("PUT", "/unread", b"x" * 50_000).body == b"unread"
        assert wire.ask("GET", "/").status == 200


def test_requests_that_share_a_record_are_all_answered(
    tls_server: AppServer, tls: ssl.SSLContext
) -> None:
    one = b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with tls_server.wire(tls=tls) as wire:
        wire.send(one * 500)
        for _ in range(500):
            assert wire.reply().body == b"abc"


def test_an_early_reply_over_tls_arrives_although_the_body_is_not_read(
    tls_server: AppServer, tls: ssl.SSLContext
) -> None:
    with tls_server.wire(tls=tls) as wire:
        wire.send(b"PUT /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
        assert wire.reply().body == b"unread"
        assert wire.is_closed()


def test_an_upload_over_tls_that_breaks_off_is_an_error_for_the_reader(
    tls_server: AppServer, tls: ssl.SSLContext
) -> None:
    before = tls_server.events()
    with tls_server.wire(tls=tls) as wire:
        wire.send(b"PUT /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    tls_server.await_event(*before, "ClientGone")


def test_plain_http_on_the_tls_port_is_answered_400(tls_server: AppServer) -> None:
    with tls_server.wire() as wire:
        reply = wire.ask("GET", "/")
        assert reply.status == 400
        assert "HTTPS" in reply.text
        assert wire.is_closed()


def test_noise_on_the_tls_port_ends_the_connection(tls_server: AppServer) -> None:
    with tls_server.wire() as wire:
        wire.send(b"\x16\x03\x01\x00\x05noise and more noise")
        wire.socket.settimeout(10)
        while True:
            try:
                if not wire.socket.recv(1000):
                    break
            except ConnectionError:
                break


def test_silent_clients_in_the_handshake_delay_nobody(
    tls_server: AppServer, tls: ssl.SSLContext
) -> None:
    silent = [tls_server.wire() for _ in range(50)]
    try:
        for wire in silent[::2]:
            # The beginning of a hello.
            wire.send(b"\x16\x03\x01\x02\x00\x01\x00")
        for _ in range(5):
            with tls_server.wire(tls=tls) as wire:
                assert wire.ask("GET", "/").status == 200
        assert all(wire.is_closed() for wire in silent)
    finally:
        for wire in silent:
            wire.close()


def test_a_slow_reader_over_tls_gets_all_of_it_and_delays_nobody(
    tls_server: AppServer, tls: ssl.SSLContext
) -> None:
    with Wire(tls_server.address, tls=tls, receive_buffer=8192) as slow:
        slow.send(b"GET /stream?count=80&size=100000 HTTP/1.1\r\nHost: a\r\n\r\n")
        with tls_server.wire(tls=tls) as other:
            for _ in range(5):
                assert other.ask("GET", "/").status == 200
        assert len(slow.reply().body) == 8_000_000


def test_the_end_of_the_connection_is_said_in_tls(
    tls_server: AppServer, tls: ssl.SSLContext
) -> None:
    with tls_server.wire(tls=tls) as wire:
        assert wire.ask("GET", "/", None, "Connection: close").status == 200
        assert isinstance(wire.socket, ssl.SSLSocket)
        # Raises when the end of the stream comes without TLS having said so.
        wire.socket.unwrap()


def test_a_certificate_that_cannot_be_read_ends_the_start_with_a_message(
    tls_server: AppServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.pem").touch()
    with pytest.raises(NotReady, match="ended with 1"):
        AppServer(folder, tls_certificate=str(folder / "empty.pem")).start()
    with pytest.raises(NotReady, match="ended with 1"):
        AppServer(folder, tls_certificate=str(folder / "missing.pem")).start()


def test_a_reload_takes_up_a_renewed_certificate(start_server: StartServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(tls_certificate=certificate, tls_key=key)
    old = server.workers()
    make_certificate(tmp_path)
    renewed = ssl.create_default_context(cafile=certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        server.wire(tls=renewed)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: not any(map(is_alive, old)), 20, "the end of the old workers")
    with server.wire(tls=renewed) as wire:
        assert wire.ask("GET", "/").status == 200


@pytest.mark.parametrize("fault", ["empty", "missing", "of another key", "encrypted key"])
def test_a_reload_with_a_bad_certificate_is_one_sentence_and_the_old_workers_go_on(
    start_server: StartServer, tmp_path: Path, fault: str
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_server(workers=2, tls_certificate=certificate, tls_key=key)
    context = ssl.create_default_context(cafile=certificate)
    old = server.workers()
    spoil(Path(certificate), Path(key), fault)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: "cannot be used" in server.said(), 20, "the sentence")
    with server.wire(tls=context) as wire:
        assert wire.ask("GET", "/").status == 200
    assert server.workers() == old
    assert server.stop() == 0
    errors = [line for line in server.said().splitlines() if line.startswith("ERROR")]
    assert len(errors) == 2, errors
    assert "Not reloading, the old workers go on" in errors[1]
    assert "Traceback" not in server.said()


def spoil(certificate: Path, key: Path, fault: str) -> None:
    if fault == "empty":
        certificate.write_text("")
    elif fault == "missing":
        certificate.unlink()
    elif fault == "of another key":
        (certificate.parent / "other").mkdir()
        Path(make_certificate(certificate.parent / "other")[1]).replace(key)
    else:
        command = ["openssl", "pkey", "-aes256", "-passout", "pass:x", "-out", str(key)]
        subprocess.run(command, input=key.read_bytes(), check=True, capture_output=True)
