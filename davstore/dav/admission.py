"""Who may come in at all: the host that is meant, and who asks. The same for every face."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsgidav.dav_error import DAVError

from davstore.auth.base import ANONYMOUS, Authority, Identity
from davstore.auth.basic import challenge, parse_basic
from davstore.dav.proxy import HEARD_HOST_KEY
from davstore.dav.request import DavSettings, Environ, Realm


class Admission:
    """HTTP Basic (RFC 7617), and the Host field where it matters.

    Wrong or malformed credentials are 401, also where anonymous requests are let in: who
    says a name wants to be known by it. What an identity may do is asked later, with
    the path and the method.
    """

    def __init__(self, realm: Realm) -> None:
        self._authority: Authority = realm.authority
        self._settings: DavSettings = realm.settings

    def admit(self, environ: Environ) -> None:
        """Put the identity into the environ ("davstore.who", and its name for the access log).

        Raises 421 (see `check_hosts`) and 401.
        """
        self.check_hosts(environ)
        header = environ.get("HTTP_AUTHORIZATION")
        identity = ANONYMOUS if header is None else self._identify(header)
        if identity is None:
            raise self.challenge("Name or password is wrong.")
        if identity.name is None and not self._authority.allows_anonymous:
            raise self.challenge("Say who you are.")
        environ["davstore.who"] = identity
        environ["davstore.identity"] = identity.name

    def challenge(self, sentence: str) -> DAVError:
        """A 401 that says how to answer it (RFC 9110, 11.6.1)."""
        headers = [("WWW-Authenticate", challenge(self._settings.realm))]
        return DAVError(401, sentence, add_headers=headers)

    def check_hosts(self, environ: Environ) -> None:
        """Raise 421 unless the names that the request is meant for are this server's.

        Without users, on loopback, only known names are answered: a web page whose name is
        made to point here must not read the files (DNS rebinding).
        """
        hosts = self._settings.hosts
        if hosts is None:
            return
        _check_host(environ.get("HTTP_HOST", ""), hosts)
        if HEARD_HOST_KEY in environ:
            # A page in a browser beside a trusted proxy can say X-Forwarded-Host, but not Host.
            _check_host(environ[HEARD_HOST_KEY], hosts)

    def _identify(self, header: str) -> Identity | None:
        credentials = parse_basic(header)
        return None if credentials is None else self._authority.identify(*credentials)


def _check_host(host: str, hosts: frozenset[str]) -> None:
    if host.rpartition(":")[0] in hosts or host in hosts:  # the usual cases, unparsed
        return
    try:
        name = urlsplit("//" + host).hostname
    except ValueError:
        name = None
    if name is None or (name not in hosts and f"[{name}]" not in hosts):
        raise DAVError(
            421, "This server does not answer to that host name; see dav.hosts in its settings."
        )
