"""A Consul agent's HTTP interface: the calls that davstore makes, each with a bound.

python-consul 1.1.0 sends the ACL token in the query string or not at all, waits for ever, and
takes its address from the environment. All that is put right here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import consul.base
import requests

from davstore import config

#: No answer of an agent that davstore asks for is longer: 16 MiB are the entries of some
#: 20,000 nodes.
_LONGEST_ANSWER = 16 << 20

#: The longest that a blocking query waits for a change, in seconds.
LONGEST_WAIT = 60.0


class AgentError(Exception):
    """The agent could not be asked, or refused; the message is a sentence for people."""


@dataclass(frozen=True)
class Check:
    """What the agent asks a node; times in seconds."""

    url: str
    interval: float
    timeout: float
    deregister_after: float


@dataclass(frozen=True)
class Service:
    """A service as it is registered: its name, and the one instance of it that has this id."""

    name: str
    id: str
    address: str
    port: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A service as the catalogue lists it, with the worst status of its checks."""

    service: Service
    #: "passing", "warning" or "critical".
    status: str


def _reason(error: Exception) -> str:
    if isinstance(error, consul.base.ACLPermissionDenied):
        return "refuses (403): the ACL token is missing, wrong, or may not do this"
    if isinstance(error, consul.base.ConsulException):
        return f"answered with an error: {_first_line(error)}"
    if isinstance(error, requests.Timeout):
        return "does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "cannot be reached over TLS; CONSUL_CACERT names the file of its authority"
    if isinstance(error, requests.ConnectionError):
        return _why_unreachable(str(error))
    return f"broke off its answer: {_first_line(error)}"


def _why_unreachable(text: str) -> str:
    """Of what requests says, which wraps the system's words in four layers of its own."""
    if "without response" in text or "reset by peer" in text:
        return "closed the connection without an answer"
    for reason in ("Connection refused", "Name or service not known", "No route to host"):
        if reason in text:
            return f"cannot be reached: {reason}"
    return f"cannot be reached: {text[:200]}"


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return "".join(c if c.isprintable() else "?" for c in line[:200]) or type(error).__name__


class _HttpClient(consul.base.HTTPClient):  # type: ignore[misc]
    """Sends the token as a header on every call, and waits no longer than it should."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        parts = urlsplit(url)
        super().__init__(parts.hostname, parts.port, parts.scheme)
        self.base_uri = url
        self.timeout = timeout
        self._session = requests.Session()
        # No proxy stands before one's own agent, and no .netrc has a password for it.
        self._session.trust_env = False
        self._session.verify = os.environ.get("CONSUL_CACERT") or True
        if token:
            self._session.headers["X-Consul-Token"] = token

    def get(self, callback: Any, path: str, params: Any = None) -> Any:
        return callback(self._call("GET", path, params))

    def put(self, callback: Any, path: str, params: Any = None, data: str = "") -> Any:
        return callback(self._call("PUT", path, params, data))

    def delete(self, callback: Any, path: str, params: Any = None) -> Any:
        return callback(self._call("DELETE", path, params))

    def post(self, callback: Any, path: str, params: Any = None, data: str = "") -> Any:
        return callback(self._call("POST", path, params, data))

    def _call(self, method: str, path: str, params: Any, data: str = "") -> consul.base.Response:
        with self._session.request(
            method,
            self.uri(path, params),
            data=data,
            timeout=self.timeout,
            # The token must not go where an answer points to.
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.is_redirect:
                raise ValueError("points elsewhere")
            body = bytearray()
            for piece in response.iter_content(65536):
                body += piece
                if len(body) > _LONGEST_ANSWER:
                    raise ValueError("endless")
            return consul.base.Response(
                response.status_code, response.headers, body.decode("utf-8", "replace")
            )


class Agent:
    """One Consul agent. Every call raises AgentError, and nothing else, when it fails.

    `url` is "http://host:port", `timeout` seconds for connecting and between two pieces of an
    answer. Belongs to one thread at a time.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 5.0) -> None:
        self.url = url
        self._timeout = timeout
        self._http = _HttpClient(url, token, timeout)
        api = _Api(self._http)
        self._agent = consul.base.Consul.Agent(api)
        self._health = consul.base.Consul.Health(api)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Make every way in which a call can fail an AgentError."""
        try:
            yield
        except (requests.RequestException, consul.base.ConsulException) as error:
            raise AgentError(f"Consul at {self.url} {_reason(error)}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise AgentError(
                f"Consul at {self.url} answered what no Consul agent answers; is it one?"
            ) from None

    def register(self, service: Service, check: Check) -> None:
        """Register `service`; one that has its id is replaced, and keeps its status."""
        with self._telling():
            is_done = self._agent.service.register(
                service.name,
                service_id=service.id,
                address=service.address,
                port=service.port,
                tags=list(service.tags),
                check=consul.base.Check.http(
                    check.url,
                    _in_go(check.interval),
                    timeout=_in_go(check.timeout),
                    deregister=_in_go(check.deregister_after),
                ),
            )
            if not is_done:
                raise ValueError("neither done nor refused")

    def deregister(self, service_id: str) -> None:
        """Forget the service; that there is none (any more) is no error."""
        with self._telling():
            self._agent.service.deregister(service_id)

    def registered(self, service_id: str) -> Service | None:
        """What this very agent knows under that id, when its check is there as well."""
        with self._telling():
            found = self._agent.services().get(service_id)
            checks = self._agent.checks()
            is_checked = any(check["ServiceID"] == service_id for check in checks.values())
            return _service(found) if found and is_checked else None

    def advertised(self) -> str:
        """The address at which this agent is known to the others."""
        with self._telling():
            return str(self._agent.self()["Member"]["Addr"])

    def instances(
        self, name: str, *, passing: bool = False, index: str | None = None, wait: float = 0
    ) -> tuple[str, list[Entry]]:
        """All instances of the service `name` that the catalogue has, and the answer's index.

        With the `index` of an earlier answer it waits up to `wait` seconds for another one
        (Consul: "Blocking Queries").
        """
        with self._telling():
            # The agent adds up to a sixteenth of the wait, so that not all come back at once.
            self._http.timeout = self._timeout + (wait * 17 / 16 if index else 0)
            try:
                found, listed = self._health.service(
                    name, passing=passing, index=index, wait=_in_go(wait)
                )
            finally:
                self._http.timeout = self._timeout
            return str(found), [_entry(item) for item in listed]


def agent_of(settings: config.Consul, timeout: float | None = None) -> Agent:
    """The agent that the settings name; `timeout` when it is not to be theirs."""
    token = settings.token.get_secret_value() if settings.token else None
    return Agent(settings.url, token, settings.timeout if timeout is None else timeout)


class _Api:
    """What the library's groups of calls want of the client that they belong to.

    Not the library's own class: that one lets CONSUL_HTTP_* of the environment go before
    what it is given, and raises when an address there has a scheme.
    """

    def __init__(self, http: _HttpClient) -> None:
        self.http = http
        self.token = None
        self.dc = None


def _in_go(seconds: float) -> str:
    """A duration as Go reads it."""
    return f"{round(seconds * 1000)}ms"


def _service(found: Any) -> Service:
    return Service(
        name=str(found["Service"]),
        id=str(found["ID"]),
        address=str(found["Address"]),
        port=int(found["Port"]),
        tags=tuple(map(str, found["Tags"] or ())),
    )


def _entry(found: Any) -> Entry:
    service = _service(found["Service"])
    if not service.address:
        # Registered by somebody else without one: the agent's holds.
        service = Service(
            service.name, service.id, str(found["Node"]["Address"]), service.port, service.tags
        )
    return Entry(service, _worst([str(check["Status"]) for check in found["Checks"]]))


def _worst(statuses: Sequence[str]) -> str:
    for status in ("critical", "warning"):
        if status in statuses:
            return status
    return "passing"
