"""nginx's list of nodes: its text, and the file that nginx includes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from davstore.discovery import Node

_log = logging.getLogger(__name__)

#: What a node's host may be in nginx's file, where anything else could be a directive.
_HOST = re.compile(r"[0-9A-Za-z._-]+|[0-9A-Fa-f:.]+")

#: Seconds that nginx may take to look at a file, or to be reloaded.
_PATIENCE = 60.0

#: Programs of the system's administrator are often not on an ordinary PATH.
_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin")

#: As config/upstream.conf, which says why.
_UPSTREAM = """\
# Written by `davstore nginx-config`, which writes it again: changes here are lost.
upstream {name} {{
    zone {name} 256k;
{servers}
    keepalive 32;
    keepalive_timeout 60s;
}}
"""

#: What nginx needs around the list to judge it, far from the files of the one that runs.
_AROUND = """\
pid {home}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/a;
    proxy_temp_path {home}/b;
    fastcgi_temp_path {home}/c;
    uwsgi_temp_path {home}/d;
    scgi_temp_path {home}/e;
    include {candidate};
}}
"""


class NoUsableNode(Exception):
    """There is nothing to list, which nginx would not take."""


class NotTaken(Exception):
    """nginx does not take the list, or was not reloaded; the message is a sentence."""


def upstream_text(nodes: Sequence[Node], name: str) -> str:
    """The block `upstream name { ... }`. Raises NoUsableNode.

    nginx speaks either HTTP or HTTPS to all of them: where nodes differ, those with HTTP count.
    """
    usable = [node for node in nodes if _HOST.fullmatch(node.host) and 0 < node.port < 65536]
    plain = [node for node in usable if node.scheme == "http"]
    chosen = plain or usable
    left_out = [node.id for node in nodes if node not in chosen]
    if left_out:
        _log.warning("left out, for their address or because they speak HTTPS: %s", left_out)
    if not chosen:
        raise NoUsableNode("no node of the service is healthy")
    if len({frozenset(node.shares) for node in chosen}) > 1:
        _log.warning("the nodes serve different shares: what a client finds depends on chance")
    addresses = sorted({node.address for node in chosen})
    servers = "\n".join(
        f"    server {address} max_fails=1 fail_timeout=30s;" for address in addresses
    )
    return _UPSTREAM.format(name=name, servers=servers)


def find_nginx() -> Path | None:
    """The program, where there is one."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES))
    found = shutil.which("nginx", path=path)
    return Path(found) if found else None


def check_upstream(text: str, nginx: Path) -> None:
    """Have nginx judge the list by itself, before any file is touched. Raises NotTaken."""
    with tempfile.TemporaryDirectory(prefix="davstore-nginx-") as home:
        candidate = Path(home, "candidate.conf")
        candidate.write_text(text)
        config = Path(home, "nginx.conf")
        config.write_text(_AROUND.format(home=home, candidate=candidate))
        run_nginx([str(nginx), "-t", "-p", home, "-c", str(config)])


def run_nginx(argv: Sequence[str]) -> None:
    """Run a command and wait for it. Raises NotTaken with what it said when it fails."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotTaken(f"{argv[0]}: {error}") from None
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        reasons = [line for line in said if "[emerg]" in line] or said or ["it says nothing"]
        raise NotTaken(f"{' '.join(argv)} ended with {done.returncode}: {reasons[-1]}")


class UpstreamFile:
    """The file that nginx includes, and the command that has nginx read it again, if any.

    That a reload is due is remembered beside the file until it was done: a process that dies in
    between has the next one do it. nginx includes neither of the other names, not with *.conf.
    """

    def __init__(self, path: Path, nginx: Path | None, reload: Sequence[str] | None) -> None:
        self.path = path
        self._nginx = nginx
        self._reload = reload
        self._due = path.with_name(f".{path.name}.reload-due")

    def bring(self, text: str) -> bool:
        """Have nginx use `text`; whether anything had to be done.

        Raises NotTaken, with the old file in place when nginx refuses the new list, and OSError.
        """
        is_new = text != self._current()
        if is_new:
            if self._nginx is not None:
                check_upstream(text, self._nginx)
            if self._reload is not None:
                self._due.touch()
            self._replace(text)
        if self._reload is None or not self._due.exists():
            return is_new
        run_nginx(self._reload)
        self._due.unlink(missing_ok=True)
        return True

    def _current(self) -> str | None:
        try:
            return self.path.read_text(errors="surrogateescape")
        except FileNotFoundError:
            return None

    def _replace(self, text: str) -> None:
        """All of `text` or the old file, whenever the power fails."""
        folder = self.path.parent
        fd, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=folder)
        try:
            with os.fdopen(fd, "w") as fresh:
                fresh.write(text)
                os.fchmod(fd, 0o644)  # nothing secret; nginx may be another user
                fresh.flush()
                os.fsync(fd)
            Path(name).replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
