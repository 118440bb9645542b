"""Keeps this node registered with Consul for as long as it runs."""

from __future__ import annotations

import logging
import threading
import time
from urllib.parse import urlsplit

from davstore.config import Admin, Config, Consul, is_loopback
from davstore.plugins.address import advertised, is_any
from davstore.plugins.consul import AgentError, Check, Service, agent_of
from davstore.plugins.identity import service_id
from davstore.plugins.occasionally import Occasionally
from davstore.plugins.tags import tags
from davstore.plugins.twins import twins

_log = logging.getLogger(__name__)

#: Seconds between two looks whether the agent still knows this node.
_PAUSE = 3.0

#: Seconds between two looks for nodes that have the same local share.
_PAUSE_FOR_TWINS = 30.0

#: The longest that leaving waits for the agent, in seconds.
_DEREGISTER_WITHIN = 1.5

#: How long, in seconds, those who follow Consul have to stop sending requests here before the
#: node stops taking them. `nginx-config --watch` with a reload of nginx took up to 0.7 s on two
#: busy cores; without any time each TERM cost a write. Both together stay below the 3 s that
#: the supervisor waits for.
_HEEDED_WITHIN = 1.0


class Registration:
    """The plugin. `port` is the one that files are served at, `admin_port` the admin listener's.

    All that it does is done in one thread of its own, so that no two calls of the agent ever
    overtake each other, and an agent that hangs holds up nothing else. `pause` is in seconds.
    """

    name = "consul"

    def __init__(
        self,
        config: Config,
        consul: Consul,
        admin: Admin,
        port: int,
        admin_port: int,
        *,
        pause: float = _PAUSE,
    ) -> None:
        self._config = config
        self._consul = consul
        self._admin = admin
        self._port = port
        self._admin_port = admin_port
        self._agent = agent_of(consul)
        self._pause = pause
        self._over = threading.Event()
        self._gone = threading.Event()
        self._is_leaving = False
        self._was_deregistered = False
        self._registered: Service | None = None
        self._twins: list[str] = []
        self._looked_for_twins = -_PAUSE_FOR_TWINS
        self._absence = Occasionally(_log)
        self._loss = Occasionally(_log)

    def start(self) -> None:
        threading.Thread(target=self._run, name="consul", daemon=True).start()

    def leave(self) -> None:
        """Deregister, and give those who follow Consul a second to heed it.

        An agent that does not answer within 1.5 s learns of it by its check.
        """
        self._is_leaving = True
        self._over.set()
        if self._gone.wait(_DEREGISTER_WITHIN) and self._was_deregistered:
            time.sleep(_HEEDED_WITHIN)

    def stop(self) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._look()
                self._absence.over("Consul at %s answers again", self._consul.url)
            except AgentError as error:
                self._absence.warn("%s. %s", error, self._meanwhile())
            except OSError as error:
                self._absence.warn("Consul is told nothing: %s. %s", error, self._meanwhile())
            except Exception:
                # A thread that ends would leave the node unregistered for ever.
                self._absence.warn("Consul: %s", self._meanwhile(), exc_info=True)
            self._over.wait(self._pause)
        if self._is_leaving:
            self._deregister()
        self._gone.set()

    def _meanwhile(self) -> str:
        state = "may be out of date there" if self._registered else "is not registered yet"
        return f"Files are served all the while; this node {state}, and it is tried again"

    def _look(self) -> None:
        """Register when the agent does not know this node as it is. Raises AgentError, OSError."""
        wanted = self._wanted()
        found = self._agent.registered(wanted.id)
        if self._registered != wanted or found != wanted:
            check = self._check(wanted.address)
            self._agent.register(wanted, check)
            self._tell(wanted, found, check)
            self._registered = wanted
        if time.monotonic() - self._looked_for_twins >= _PAUSE_FOR_TWINS:
            self._look_for_twins(wanted.id)

    def _wanted(self) -> Service:
        host, port = advertised(
            self._consul.advertise,
            self._config.listen.host,
            self._consul.url,
            self._agent.advertised,
        )
        return Service(
            name=self._consul.service,
            id=service_id(self._config),
            address=host,
            port=port or self._port,
            tags=tags(self._config),
        )

    def _check(self, address: str) -> Check:
        host = address if is_any(self._admin.host) else self._admin.host
        return Check(
            url=f"http://{f'[{host}]' if ':' in host else host}:{self._admin_port}/readyz",
            interval=self._consul.interval,
            timeout=min(self._consul.timeout, self._consul.interval),
            deregister_after=self._consul.deregister_after,
        )

    def _tell(self, wanted: Service, found: Service | None, check: Check) -> None:
        if self._registered != wanted:
            _log.info(
                "registered with Consul at %s as %s (%s) at %s port %d, checked at %s",
                *(self._consul.url, wanted.name, wanted.id, wanted.address, wanted.port, check.url),
            )
            self._tell_of_loopback(wanted)
        elif found is None:
            self._loss.warn("Consul had lost this node (its agent began anew?): registered again")
        else:
            self._loss.warn(
                "somebody else registered %s port %d under the id of this node, %s: set right."
                " Where the state folder was copied, remove node-id from one of the copies",
                *(found.address, found.port, found.id),
            )

    def _tell_of_loopback(self, wanted: Service) -> None:
        """Addresses of this machine only are right as long as everything runs on it."""
        if is_loopback(urlsplit(self._consul.url).hostname or ""):
            return
        if is_loopback(wanted.address):
            _log.warning(
                "Consul at %s tells others that this node is at %s, where only this machine reaches"
                " it: set listen.host or consul.advertise",
                *(self._consul.url, wanted.address),
            )
        if is_loopback(self._admin.host):
            _log.warning(
                "Consul at %s cannot ask whether this node is ready, as admin.host is %s: set it",
                *(self._consul.url, self._admin.host),
            )

    def _look_for_twins(self, own_id: str) -> None:
        self._looked_for_twins = time.monotonic()
        try:
            found = twins(self._config, self._consul, self._agent, own_id)
        except AgentError as error:
            # The catalogue can be away while the agent is there; this is not worth a line.
            _log.debug("nodes with the same share were not looked for: %s", error)
            return
        for sentence in found:
            if sentence not in self._twins:
                _log.warning("%s", sentence)
        self._twins = found

    def _deregister(self) -> None:
        try:
            agent = agent_of(self._consul, min(self._consul.timeout, _DEREGISTER_WITHIN))
            agent.deregister(service_id(self._config))
            self._was_deregistered = True
            _log.info("deregistered from Consul at %s", self._consul.url)
        except (AgentError, OSError) as error:
            _log.warning("%s. This node is still registered; the next check finds it gone", error)
