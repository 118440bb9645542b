"""A real Consul agent: a server of its own in development mode, which keeps nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import requests

from tests.components.found import require
from tests.components.processes import NotReady, ServerProcess, free_port, wait_until


class ConsulAgent(ServerProcess):
    """Started again over the same `home` it has its old ports, and has forgotten everything.

    With `acl` it lets nobody do anything without a token; `master` is the one that may do all.
    """

    name = "consul"

    def __init__(self, home: Path, *, acl: bool = False) -> None:
        super().__init__([], home / "consul.log")
        self._home = home
        self._acl = acl
        self.master = ""

    @property
    def http(self) -> str:
        """Its address as davstore wants it."""
        return f"http://127.0.0.1:{self.port}"

    def reserved_http(self) -> str:
        """As `http`, before it was started."""
        self.port = self.port or free_port()
        return self.http

    def start(self) -> Self:
        """Start it and wait until it leads. Raises NotReady.

        Other ports are tried at the first start, as somebody else may have been quicker.
        """
        is_first, is_reserved = not self.argv, self.port != 0
        for attempts_left in (2, 1, 0):
            if is_first:
                self.port = self.port if is_reserved else free_port()
                self.argv = self._command()
            try:
                return super().start()
            except NotReady as failed:
                if not (is_first and attempts_left and "address already in use" in str(failed)):
                    raise
        raise AssertionError("not reached")

    def _command(self) -> list[str]:
        self._home.mkdir(parents=True, exist_ok=True)
        ports = {"http": self.port, "server": free_port(), "serf_lan": free_port()}
        ports |= dict.fromkeys(("serf_wan", "dns", "grpc", "https"), -1)
        settings: dict[str, Any] = {
            "ports": ports,
            "node_name": f"node-{self.port}",
            "disable_update_check": True,
            # What one node does to the catalogue is there for all others soon.
            "performance": {"raft_multiplier": 1},
            "discovery_max_stale": "0s",
        }
        if self._acl:
            settings["acl"] = {"enabled": True, "default_policy": "deny"}
        file = self._home / "agent.json"
        file.write_text(json.dumps(settings), encoding="utf-8")
        argv = [str(require("consul")), "agent", "-dev", "-bind", "127.0.0.1"]
        argv += ["-client", "127.0.0.1", "-log-level", "info"]
        return [*argv, "-config-file", str(file)]

    def wait_ready(self, seconds: float = 30) -> None:
        """Until it leads, which is when its catalogue can be written."""
        self.wait_until(self._leads, seconds, "a leader")
        if self._acl:
            self.wait_until(self._bootstrap, seconds, "its first token")
            self.put("/v1/agent/token/agent", {"Token": self.master}).raise_for_status()

    def _leads(self) -> bool:
        try:
            answer = requests.get(f"{self.http}/v1/status/leader", timeout=5)
        except requests.RequestException:
            return False
        return answer.ok and answer.json() != ""

    def _bootstrap(self) -> bool:
        answer = self.put("/v1/acl/bootstrap", None)
        if answer.ok:
            self.master = answer.json()["SecretID"]
        return answer.ok

    def token(self, rules: str) -> str:
        """A new token that may do what `rules` (HCL) say, and nothing else."""
        name = f"policy-{free_port()}-{len(rules)}"
        policy = self.put("/v1/acl/policy", {"Name": name, "Rules": rules})
        policy.raise_for_status()
        made = self.put("/v1/acl/token", {"Policies": [{"Name": name}]})
        made.raise_for_status()
        return str(made.json()["SecretID"])

    def get(self, path: str) -> Any:
        """The answer's JSON, asked with the token that may do all."""
        answer = requests.get(f"{self.http}{path}", headers=self._headers(), timeout=10)
        answer.raise_for_status()
        return answer.json()

    def index(self, service: str) -> int:
        """A number that grows with each change of the service's instances and their statuses."""
        answer = requests.get(
            f"{self.http}/v1/health/service/{service}", headers=self._headers(), timeout=10
        )
        return int(answer.headers["X-Consul-Index"])

    def put(self, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        data = None if body is None else json.dumps(body)
        return requests.put(f"{self.http}{path}", data, headers=self._headers(), timeout=10)

    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self.master} if self.master else {}

    def instances(self, service: str) -> dict[str, dict[str, Any]]:
        """What the catalogue has of a service, by the instances' ids."""
        listed = self.get(f"/v1/health/service/{service}")
        return {item["Service"]["ID"]: item for item in listed}

    def statuses(self, service: str) -> dict[str, str]:
        """The status of the check of each instance, by its id; "unchecked" without one."""
        return {
            key: next((c["Status"] for c in item["Checks"] if c["ServiceID"]), "unchecked")
            for key, item in self.instances(service).items()
        }

    def wait_statuses(self, service: str, *wanted: str, seconds: float = 15) -> dict[str, str]:
        """Until the instances have these statuses, in any order. Raises NotReady."""

        def look() -> dict[str, str] | None:
            found = self.statuses(service)
            return found if sorted(found.values()) == sorted(wanted) else None

        if wanted:
            return wait_until(look, seconds, f"{service} being {wanted}")
        wait_until(lambda: not self.statuses(service), seconds, f"no {service}")
        return {}
