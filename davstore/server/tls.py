"""TLS: a handshake that delays nobody, and a plain word for those who speak plain HTTP."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from cheroot.ssl.builtin import BuiltinSSLAdapter

from davstore.errors import ConfigError
from davstore.server.connection import WOULD_BLOCK, Connection
from davstore.server.head import BAD_REQUEST, Refused
from davstore.server.request import Request
from davstore.server.settings import ServerSettings

if TYPE_CHECKING:
    from davstore.server.http import Server

#: The first byte of a TLS record that begins a handshake (RFC 8446, 5.1).
_HANDSHAKE = b"\x16"

_RECORD = 16 * 1024

_PLAIN = Refused(BAD_REQUEST, "This port speaks HTTPS only.")


class TlsAdapter(BuiltinSSLAdapter):
    """Certificate, key and the least that is accepted: TLS 1.2, no renegotiation."""

    def __init__(self, certificate: str, private_key: str) -> None:
        """Raises ConfigError when they cannot be used."""
        _check(certificate, private_key)
        super().__init__(certificate, private_key)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        self.context.set_alpn_protocols(["http/1.1"])


def check_certificate(settings: ServerSettings) -> None:
    """Raise ConfigError when there is a certificate to be used and it cannot be."""
    if settings.tls_certificate is not None:
        _check(settings.tls_certificate, settings.tls_key or settings.tls_certificate)


def _check(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, ssl.SSLError):
            is_mismatch = error.reason == "KEY_VALUES_MISMATCH"
            reason = "the key is another certificate's" if is_mismatch else "not in PEM"
        raise ConfigError(
            [f"The certificate {certificate!r} and the key {key!r} cannot be used: {reason}"]
        ) from None


def _no_password() -> str:
    """Refuse, rather than have OpenSSL ask at a terminal that a server does not have."""
    raise ValueError("the key is encrypted")


class TlsConnection(Connection):
    """Begins with a handshake, which goes on whenever something arrives, as a head does."""

    is_tls = True

    def __init__(self, server: Server, sock: socket.socket, address: tuple[str, int]) -> None:
        super().__init__(server, sock, address)
        self.step = TlsConnection.on_hello

    def communicate(self) -> bool:
        while True:
            if not self.step(self):
                return False
            # Bytes that were decrypted and not taken do not show at the socket.
            if not isinstance(self.socket, ssl.SSLSocket) or not self.socket.pending():
                return True

    def on_hello(self) -> bool:
        """The first byte tells whether this is TLS at all."""
        try:
            first = self.socket.recv(1, socket.MSG_PEEK)
        except WOULD_BLOCK:
            return True
        except OSError:
            return False
        if first and first != _HANDSHAKE:
            Request(self.server, self).refuse(_PLAIN)
            return self.close_softly()
        if not first:
            return False
        context = self.server.ssl_adapter.context
        try:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        except OSError:
            return False
        self.is_idle = False
        self.step = TlsConnection.on_handshake
        return self.on_handshake()

    def on_handshake(self) -> bool:
        # What the handshake writes fits into the socket's buffer; a client that does not even
        # read it is closed at its deadline.
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        self.ssl_env = self.server.ssl_adapter.get_environ(self.socket)
        self.step = Connection.on_request
        self.is_idle = True
        return True

    def _end_sending(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.unwrap()
        self.socket.shutdown(socket.SHUT_WR)

    def _send_some(self, data: bytes | memoryview, more: bool) -> int:
        # One record: of a larger piece nobody could tell how much has moved before all has.
        count: int = self.socket.send(memoryview(data)[:_RECORD])
        return count
