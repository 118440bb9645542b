"""Finding a davstore node through Consul, for other services that are written in Python.

    from davstore.discovery import Discovery

    storage = Discovery("http://127.0.0.1:8500")
    requests.get(storage.url("/files/report.pdf"))

    # Goes on to the next node when one cannot be reached:
    answer = storage.with_failover(lambda url: requests.get(url, timeout=10), "/files/report.pdf")

All nodes of one service serve the same shares (but for folder shares, which belong to one
node), so any healthy one will do. Consul that is away does no harm once it was asked: the last
list holds until there is a new one.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

import requests

from davstore.plugins.consul import Agent, AgentError, Entry
from davstore.plugins.occasionally import Occasionally
from davstore.plugins.tags import scheme_of, shares_of, version_of

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Seconds between two tries to reach Consul while it is away.
_RETRY = 2.0

#: Seconds for which what could not be reached is not tried when there is another way: Consul,
#: while nodes are known; a node, while there are others.
_AWAY = 10.0

#: Seconds between two questions of `watch` at least. A change meanwhile is not missed: the next
#: answer comes at once.
_BREATH = 0.2

#: What says that a node could not be reached: of sockets, of requests, of urllib.
#: (HTTPError of urllib is an answer, though it is made a kind of URLError.)
CONNECTION_ERRORS: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    requests.ConnectionError,
    requests.Timeout,
    urllib.error.URLError,
)


class DiscoveryError(Exception):
    """Consul could not be asked, and never could before; the message is a sentence."""


class NoHealthyNode(DiscoveryError):
    """Consul was asked, and no node of the service is ready."""


@dataclass(frozen=True)
class Node:
    """One node as Consul lists it."""

    id: str
    host: str
    port: int
    #: "http" or "https".
    scheme: str
    tags: tuple[str, ...] = ()
    #: The paths at which shares are mounted: "/", "/files".
    shares: tuple[str, ...] = ()
    #: "passing", "warning" or "critical".
    status: str = field(default="passing", compare=False)

    @property
    def address(self) -> str:
        """ "host:port", an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_healthy(self) -> bool:
        return self.status == "passing"

    @property
    def version(self) -> str | None:
        """That of davstore on the node."""
        return version_of(self.tags)

    def url(self, path: str = "/") -> str:
        """That of `path`, which is not encoded yet."""
        return f"{self.scheme}://{self.address}{quote(path, safe='/')}"


class Discovery:
    """The nodes of one service. Any number of threads may use it at once.

    `consul_url` is that of an agent ("http://127.0.0.1:8500"), `token` an ACL token that may
    read the service, `timeout` and `cache` are seconds: for each call of the agent, and how
    long one answer is used before Consul is asked again.
    """

    def __init__(
        self,
        consul_url: str,
        service: str = "datastorage",
        *,
        token: str | None = None,
        timeout: float = 5.0,
        cache: float = 3.0,
    ) -> None:
        self._url = consul_url
        self._token = token
        self._timeout = timeout
        self._service = service
        self._cache = cache
        #: Held by the one thread that asks Consul.
        self._asking = threading.Lock()
        self._agent = self._new_agent()
        self._known: list[Node] | None = None
        #: Until when, by the monotonic clock, `_known` or `_failure` is used without asking.
        self._good_until = 0.0
        self._failure = ""
        #: Until when those that could not be reached come last, by their addresses.
        self._avoided: dict[str, float] = {}
        self._turn = itertools.count(random.randrange(1 << 16))  # noqa: S311  # spreads the load
        self._complaint = Occasionally(_log)

    @property
    def service(self) -> str:
        """The name of the service whose nodes these are."""
        return self._service

    def nodes(self) -> list[Node]:
        """The healthy nodes, in the order of their ids; the last known ones while Consul is away.

        Raises DiscoveryError when Consul cannot be asked and never could.
        """
        # While one thread asks, the others go on with what is known.
        if self._is_stale() and self._asking.acquire(blocking=self._known is None):
            try:
                if self._is_stale():
                    self._refresh()
            finally:
                self._asking.release()
        known = self._known
        if known is None:
            raise DiscoveryError(self._failure)
        return list(known)

    def _is_stale(self) -> bool:
        return time.monotonic() >= self._good_until

    def _refresh(self) -> None:
        try:
            _, found = self._agent.instances(self._service, passing=True)
        except AgentError as error:
            self._failure = str(error)
            if self._known is not None:
                self._complaint.warn("the last known nodes are used: %s", error)
            pause = _RETRY if self._known is None else max(self._cache, _AWAY)
            self._good_until = time.monotonic() + pause
            return
        self._complaint.over()
        self._known = _nodes(found)
        self._good_until = time.monotonic() + self._cache

    def _new_agent(self) -> Agent:
        return Agent(self._url, self._token, self._timeout)

    def ask(self, *, healthy: bool = True) -> list[Node]:
        """The nodes as Consul lists them now; with `healthy` False all of them.

        Raises DiscoveryError when Consul cannot be asked, whatever was known before.
        """
        try:
            _, found = self._new_agent().instances(self._service, passing=healthy)
        except AgentError as error:
            raise DiscoveryError(str(error)) from None
        return _nodes(found)

    def in_turn(self) -> list[Node]:
        """The healthy nodes, each time with another one in front.

        Those that `with_failover` could not reach a moment ago come last. Raises DiscoveryError:
        NoHealthyNode when there are none.
        """
        known = self.nodes()
        if not known:
            raise NoHealthyNode(f"no node of the service {self._service!r} is healthy")
        first = next(self._turn) % len(known)
        now = time.monotonic()
        turn = known[first:] + known[:first]
        return sorted(turn, key=lambda node: self._avoided.get(node.address, 0.0) > now)

    def url(self, path: str = "/") -> str:
        """The URL of `path` (not encoded) on a healthy node; they take turns.

        Raises DiscoveryError: NoHealthyNode when there is none.
        """
        return self.in_turn()[0].url(path)

    def with_failover(self, call: Callable[[str], _T], path: str = "/") -> _T:
        """What `call` returns for the URL of `path` on the first node that can be reached.

        The next node is tried after one of CONNECTION_ERRORS, so `call` can be made more than
        once: a request whose connection breaks may have been carried out all the same. With a
        time-out in `call`, a node that hangs counts as one that cannot be reached. Raises the
        last node's error when none can be reached, all other errors of `call` at once, and
        DiscoveryError.
        """
        failed: Exception | None = None
        for node in self.in_turn():
            try:
                return call(node.url(path))
            except urllib.error.HTTPError:
                raise
            except CONNECTION_ERRORS as error:
                failed = error
                self._avoided[node.address] = time.monotonic() + _AWAY
        assert failed is not None
        raise failed

    def watch(
        self, *, wait: float = 30.0, stop: threading.Event | None = None
    ) -> Iterator[list[Node]]:
        """The healthy nodes now, and again at each change: of nodes, addresses, shares.

        An empty list is a change like any other. While Consul is away nothing is yielded; the
        log says so once a minute. Of a Consul that lost all its data it can take `wait` seconds
        to hear. Ends after at most `wait` seconds (and the time-out) once `stop` is set.
        """
        stop = stop or threading.Event()
        complaint = Occasionally(_log)
        agent = self._new_agent()
        index: str | None = None
        shown: list[Node] | None = None
        while not stop.is_set():
            try:
                found_index, found = agent.instances(
                    self._service, passing=True, index=index, wait=wait
                )
            except AgentError as error:
                complaint.warn("nodes are not watched now: %s", error)
                index = None
                stop.wait(_RETRY)
                continue
            complaint.over()
            index = _next_index(index, found_index)
            index = _next_index(index, found_index)
            if (listed := _nodes(found)) != shown:
                shown = listed
                yield list(listed)
            stop.wait(_BREATH if index else _RETRY)


def _next_index(before: str | None, now: str) -> str | None:
    """What to wait with; None asks anew. A Consul that was set up afresh counts from the start."""
    if not now.isdigit() or now == "0" or (before is not None and int(now) < int(before)):
        return None
    return now


def _nodes(found: list[Entry]) -> list[Node]:
    return sorted(map(_node, found), key=lambda node: (node.id, node.address))


def _node(entry: Entry) -> Node:
    service = entry.service
    return Node(
        id=service.id,
        host=service.address,
        port=service.port,
        scheme=scheme_of(service.tags),
        tags=service.tags,
        shares=tuple(shares_of(service.tags)),
        status=entry.status,
    )
