"""rclone as a client of a WebDAV server."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.components.found import require


class RcloneClient:
    """Runs rclone's commands; `remote(path)` names a path on the server.

    `vendor` is the kind of server that rclone takes it for, which decides how it asks for
    times and digests. Its pause of 10 ms between calls is switched off, and
    so are Nextcloud's uploads in parts, which need a special URL.
    """

    def __init__(self, url: str, home: Path, vendor: str = "other") -> None:
        self._program = require("rclone")
        self._config = home / "rclone.conf"
        home.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f"[dav]\ntype = webdav\nurl = {url}\nvendor = {vendor}\npacer_min_sleep = 0\n"
            "nextcloud_chunk_size = 0\n",
            encoding="utf-8",
        )

    def remote(self, path: str = "") -> str:
        return f"dav:{path}"

    def __call__(self, *arguments: str) -> str:
        """Run `rclone arguments...`; all that it says. Fails the test when it fails."""
        done = self._run(*arguments)
        return (done.stdout + done.stderr).decode(errors="replace")

    def output(self, *arguments: str) -> str:
        """The same, but only its standard output."""
        return self._run(*arguments).stdout.decode()

    def command(self, *arguments: str) -> list[str]:
        """What runs it with everything else at its defaults, repetitions included."""
        return [str(self._program), f"--config={self._config}", *arguments]

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        argv = self.command("--retries=1", *arguments)
        done = subprocess.run(argv, capture_output=True, timeout=300, check=False)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"{argv} -> {done.returncode}\n{said[-8000:]}"
        return done
