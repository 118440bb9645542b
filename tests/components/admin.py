"""The admin listener of a davstore, as those see it that ask it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.components.davserver import DavServer
from tests.components.http import Answer, Client
from tests.components.processes import descendants, wait_until

_ADDRESS = re.compile(r"; admin at http://([0-9.]+):(\d+)/")
_LISTENING = "0A"


class Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


class Admin:
    """Of a running server that was started with an admin port."""

    def __init__(self, server: DavServer, timeout: float = 10) -> None:
        found = _ADDRESS.findall(server.said())
        assert found, server.tail()
        self._server = server
        self.address = (found[-1][0], int(found[-1][1]))
        self.client = Client(self.address, timeout=timeout)

    def get(self, path: str, **headers: str) -> Answer:
        return self.client("GET", path, **headers)

    def report(self) -> dict[str, Any]:
        """What /readyz says, whose status has to agree with it."""
        answer = self.get("/readyz")
        report: dict[str, Any] = json.loads(answer.body)
        assert answer.status == (200 if report["ready"] else 503), answer
        return report

    def is_ready(self) -> bool:
        return bool(self.report()["ready"])

    def samples(self) -> list[Sample]:
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        families = text_string_to_metric_families(answer.text)
        return [
            Sample(sample.name, dict(sample.labels), sample.value)
            for family in families
            for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def requests(self) -> dict[tuple[str, str], int]:
        """Counts by method and status."""
        return {
            (sample.labels["method"], sample.labels["status"]): int(sample.value)
            for sample in self.samples()
            if sample.name == "davstore_requests_total"
        }

    def housekeeper(self) -> int:
        """The child that holds the admin listener's socket, once it is one; a worker that has
        just been forked holds it as well, for a moment."""

        def only() -> int | None:
            holders = self._holders()
            return holders[0] if len(holders) == 1 else None

        return wait_until(only, 20, "a housekeeper")

    def workers(self) -> list[int]:
        keepers = self._holders()
        return [pid for pid in descendants(self._server.pid) if pid not in keepers]

    def _holders(self) -> list[int]:
        socket = f"socket:[{self._inode()}]"
        return [pid for pid in descendants(self._server.pid) if socket in _open_files(pid)]

    def _inode(self) -> str:
        port = f":{self.address[1]:04X}"
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(port) and fields[3] == _LISTENING:
                return fields[9]
        raise AssertionError(f"nobody listens at {self.address}")


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(entry.readlink()))
    except OSError:
        pass  # it has just ended, or closed one
    return found
