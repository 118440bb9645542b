"""Three davstore nodes over one tree, which Consul knows, behind nginx, which follows Consul."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.components.consul import ConsulAgent
from tests.components.davserver import DavServer
from tests.components.nginx import Nginx, Watcher
from tests.components.processes import descendants, free_port, started_at, wait_until

#: Seconds between two looks of Consul at a node.
INTERVAL = 2

#: Seconds that a look itself and passing on what it found may take on a busy machine.
_MARGIN = 1


class Cluster:
    """The tree is in `database` of the MongoDB at `uri`; `shared` is a folder that all nodes show,
    read-only, at /shared. A context manager: entering waits until everybody knows all nodes.
    """

    def __init__(self, home: Path, consul: ConsulAgent, uri: str, database: str) -> None:
        self.home = home
        self.uri = uri
        self.database = database
        self.service = f"cluster-{os.getpid()}-{database}"
        self.shared = home / "shared"
        self.shared.mkdir(parents=True)
        self._consul = consul
        self.nodes = [self._node(number) for number in range(3)]
        self.nginx = Nginx(home / "nginx", [node.port for node in self.nodes])
        self.watcher = Watcher(self.nginx, consul.http, self.service)
        self._running = contextlib.ExitStack()

    def _node(self, number: int) -> DavServer:
        shares = {
            "/": {"store": "mongo", "uri": self.uri, "database": self.database},
            "/shared": {"store": "folder", "root": str(self.shared), "read_only": True},
        }
        settings = {
            "listen": {"port": free_port()},
            "admin": {"port": 0},
            "workers": 2,
            "shares": shares,
            "consul": {"url": self._consul.http, "service": self.service, "interval": INTERVAL},
            "proxy": {"trusted": ["127.0.0.1"]},
        }
        node = DavServer(self.home / f"node-{number}", None, settings=settings)
        node.name = f"node {number}"
        node.port = settings["listen"]["port"]  # type: ignore[index]
        return node

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in (*self.nodes, self.nginx, self.watcher):
                stack.callback(server.kill9)
                server.start()
            self.wait_whole()
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [node.address for node in self.nodes]

    def status(self, node: DavServer) -> str | None:
        """What Consul shows of the node: passing, critical, or nothing."""
        for item in self._consul.instances(self.service).values():
            if item["Service"]["Port"] == node.port:
                return next(str(one["Status"]) for one in item["Checks"] if one["ServiceID"])
        return None

    def seconds_until(self, node: DavServer, status: str | None, since: float) -> float:
        """From `since` (time.monotonic()) until Consul shows this, None being nothing at all.

        Fails when that takes longer than the interval of its checks.
        """

        def shows() -> bool:
            return self.status(node) == status

        most = INTERVAL + _MARGIN
        wait_until(shows, most, f"{node.name} being {status} in Consul")
        seconds = time.monotonic() - since
        assert seconds <= most
        return seconds

    def wait_whole(self) -> None:
        """Until Consul and nginx know all nodes, and nobody else."""
        self._consul.wait_statuses(self.service, *["passing"] * len(self.nodes), seconds=30)
        wait_until(self._is_listed, 20, "the whole list in nginx")
        wait_until(self._is_reloaded, 20, "the end of nginx's old workers")

    def _is_listed(self) -> bool:
        listed = self.nginx.upstream.read_text()
        return all(f":{node.port} " in listed for node in self.nodes)

    def _is_reloaded(self) -> bool:
        """Old workers of nginx end kept connections, with a request that is on its way."""
        written = self.nginx.upstream.stat().st_mtime
        return all(started_at(pid) >= written for pid in descendants(self.nginx.pid))

    def heal(self) -> None:
        """Start whatever does not run."""
        for node in self.nodes:
            if not node.is_started or self.status(node) != "passing":
                node.kill9()
                node.start()
        self.wait_whole()
