"""nginx in front of davstore, run from the sample configuration as a user would have it."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.components.found import require
from tests.components.processes import ServerProcess, free_port

SAMPLES = Path(__file__).parent.parent.parent / "config"

_numbers = itertools.count(1)

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def upstream(ports: Sequence[int]) -> str:
    """The sample's upstream.conf with the nodes at these ports in place of its own."""
    text = (SAMPLES / "upstream.conf").read_text()
    servers = "\n".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=30s;" for port in ports)
    made, count = re.subn(r"(^ *server .*\n)+", servers + "\n", text, flags=re.MULTILINE)
    assert count == 1
    return made


def configuration(home: Path, port: int, *, tls: bool = False, prefix: bool = False) -> str:
    """The sample's nginx.conf with places of this machine, and with what it shows in comments
    where that is asked for."""
    text = (SAMPLES / "nginx.conf").read_text()
    if prefix:
        text = _taken(text, "# In place of these two", start="    map $request_uri $node_target")
    if tls:
        text = _taken(text, "# In place of this, for TLS", start="        listen 8080;")
        text = _replaced(text, "listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    else:
        text = _replaced(text, "listen 8080;", f"listen 127.0.0.1:{port};")
    text = _replaced(text, "/var/log/nginx/access.log", str(home / "access.log"))
    temporary = "".join(f"    {name}_temp_path {home}/{name};\n" for name in _TEMPORARY)
    return _replaced(text, "http {\n", "http {\n" + temporary)


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def _taken(text: str, mark: str, *, start: str) -> str:
    """The alternative in comments after `mark` in place of what stands from `start` to there."""
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(mark)
    assert found, mark
    lines = after.splitlines(keepends=True)[1:]
    count = next(at for at, line in enumerate(lines) if not line.lstrip().startswith("#"))
    return (
        before
        + "".join(line.replace("#", "", 1) for line in lines[:count])
        + "".join(lines[count:])
    )


class Nginx(ServerProcess):
    """nginx with the sample's configuration in front of the nodes at `ports`."""

    name = "nginx"

    def __init__(
        self, home: Path, ports: Sequence[int], *, tls: bool = False, prefix: bool = False
    ) -> None:
        home.mkdir(parents=True)
        self.home = home
        self.upstream = home / "upstream.conf"
        self.upstream.write_text(upstream(ports))
        self.is_tls = tls
        port = free_port()
        self.config = home / "nginx.conf"
        self.config.write_text(configuration(home, port, tls=tls, prefix=prefix))
        super().__init__(self.command("-g", f"daemon off; pid {home}/pid;"), home / "output.log")
        self.port = port

    def command(self, *arguments: str) -> list[str]:
        """nginx with this configuration; its error log goes to standard error."""
        program = str(require("nginx"))
        return [program, "-e", "stderr", "-p", str(self.home), "-c", str(self.config), *arguments]

    def signal_command(self, what: str) -> list[str]:
        """The command that tells the running one something: `nginx -s reload`."""
        return self.command("-g", f"pid {self.home}/pid;", "-s", what)

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://localhost:{self.port}/"


class Watcher(ServerProcess):
    """`davstore nginx-config --watch` for `nginx`."""

    name = "nginx-config"

    def __init__(self, nginx: Nginx, consul: str, service: str) -> None:
        argv = [sys.executable, "-m", "davstore", "nginx-config", "--watch", "--consul", consul]
        argv += ["--service-name", service, "--output", str(nginx.upstream)]
        argv += ["--reload", shlex.join(nginx.signal_command("reload"))]
        super().__init__(argv, nginx.home / f"watcher-{next(_numbers)}.log")

    def wait_ready(self, seconds: float = 30) -> None:
        """It says nothing before it knows of nodes."""

    def reloads(self) -> int:
        return self.said().count("nginx has the new list")
