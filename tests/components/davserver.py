"""davstore itself, as a user starts it: a configuration file, a command, real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.components.processes import ServerProcess, rss

#: The line that is printed once it answers; other lines name addresses too.
_READY = re.compile(r"^davstore \S+ serves .*? at https?://127\.0\.0\.1:(\d+)/", re.MULTILINE)


class DavServer(ServerProcess):
    """davstore over a folder (`root`), or over its in-memory twin when `root` is None.

    `home` takes its configuration, state and log; starting again over the same `home`
    continues with the same state. `settings` goes into the configuration as it is, and
    `share` into the share's part; `arguments` are further ones of the command.
    """

    name = "davstore"

    def __init__(
        self,
        home: Path,
        root: Path | None,
        *,
        share: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.root = root
        self.state = home / "state"
        self.config = home / "davstore.yaml"
        kept: dict[str, Any] = {"store": "memory"}
        if root is not None:
            root.mkdir(parents=True, exist_ok=True)
            kept = {"store": "folder", "root": str(root)}
        kept |= share or {}
        self.settings: dict[str, Any] = {
            "listen": {"port": 0},
            "state": str(self.state),
            "shares": {"/": kept},
        }
        if kept["store"] == "memory" and not arguments:
            self.settings["workers"] = 1  # the twin lives in one process's memory
        self.settings |= settings or {}
        self._write_config()
        argv = [sys.executable, "-m", "davstore", "serve", "--config", str(self.config)]
        argv += arguments
        super().__init__(argv, home / "davstore.log", env)
        self._heard = 0

    @classmethod
    def over_mongo(
        cls,
        home: Path,
        uri: str,
        database: str,
        *,
        share: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Over the tree in `database` of the MongoDB at `uri`."""
        kept = {"store": "mongo", "uri": uri, "database": database, **(share or {})}
        return cls(home, None, share=kept, settings=settings)

    def _write_config(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")

    def reload(self, settings: Mapping[str, Any] | None = None) -> None:
        """Have it read its configuration again, with these settings changed; waits for nothing."""
        self.settings |= settings or {}
        self._write_config()
        os.kill(self.pid, signal.SIGHUP)

    def add_user(self, name: str, password: str) -> None:
        """With davstore's own command. Before the start, this makes it ask for passwords."""
        self.settings.setdefault("auth", {})["users"] = str(self.home / "users")
        self._write_config()
        argv = [sys.executable, "-m", "davstore", "user", "add", name, "--password-stdin"]
        subprocess.run(
            [*argv, "--config", str(self.config)], input=password.encode() + b"\n", check=True
        )

    def wait_ready(self, seconds: float = 30) -> None:
        """Until the line with its address is there (of this start, not of an earlier one)."""

        def find() -> re.Match[str] | None:
            return _READY.search(self.said(), self._heard)

        found = self.wait_until(find, seconds, "the line with its address")
        self.port = int(found[1])
        self._heard = len(self.said())

    def rss_of_workers(self) -> dict[int, int]:
        """Resident bytes of every child, the housekeeper included, by process id."""
        return {pid: rss(pid) for pid in self.pids()[1:]}
