"""The test application under a real supervisor, as a process."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from davstore.logs import AccessRecord
from tests.components.processes import ServerProcess, descendants, wait_until
from tests.server.wire import Wire

ROOT = Path(__file__).parents[2]


class AppServer(ServerProcess):
    """`given` are server settings, and `house` (with a housekeeper) or `log` (access records)."""

    name = "test application"

    def __init__(self, folder: Path, **given: Any) -> None:
        self.folder = folder
        given = {"port": 0, "workers": 1, **given}
        self.host = given.get("host", "127.0.0.1")
        argv = [sys.executable, "-m", "tests.server.application", str(folder), json.dumps(given)]
        super().__init__(argv, folder / "log", {"PYTHONPATH": str(ROOT)})

    @property
    def address(self) -> tuple[str, int]:
        return (self.host, self.port)

    def wait_ready(self, seconds: float = 30) -> None:
        ready = self.wait_until(
            lambda: re.search(r"^ready on port (\d+)$", self.said(), re.MULTILINE),
            seconds,
            "its first line",
        )
        self.port = int(ready[1])

    def wire(self, **options: Any) -> Wire:
        return Wire(self.address, **options)

    def workers(self) -> list[int]:
        """The children but for the housekeeper."""
        keeper = self.folder / "housekeeper"
        kept = int(keeper.read_text()) if keeper.exists() else 0
        return [pid for pid in descendants(self.pid) if pid != kept]

    def events(self) -> list[str]:
        file = self.folder / "events"
        return file.read_text().splitlines() if file.exists() else []

    def await_event(self, *wanted: str, seconds: float = 20) -> None:
        """Until the application has told just these events, in this order."""
        wait_until(lambda: self.events() == list(wanted), seconds, f"{wanted}, {self.events()}")

    def records(self, count: int) -> list[AccessRecord]:
        """The access records, once there are `count` of them."""

        def read() -> list[AccessRecord] | None:
            lines = (self.folder / "access").read_text().splitlines()
            return (
                [AccessRecord(*json.loads(line)) for line in lines] if len(lines) >= count else None
            )

        return wait_until(read, 10, f"{count} access records")
