"""The other servers of the field, each as a user would set it up for one folder.

They run unencrypted and anonymously on loopback, from a configuration of their own. Apache
and nginx refuse to serve as root, so a folder that root has made is given to their user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.components.found import MissingComponent, locate
from tests.components.processes import ServerProcess, free_port

_APACHE_MODULES = "/usr/lib/apache2/modules"
_SERVICE_USER = "www-data"

_APACHE = """
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {home}/pid
ErrorLog {home}/error.log
Mutex file:{home}
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
TypesConfig /etc/mime.types
DocumentRoot {root}
DavLockDB {home}/locks
<Directory {root}>
  Require all granted
  Dav On
  DavDepthInfinity On
</Directory>
"""

_LIGHTTPD = """
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ( "mod_webdav" )
server.upload-dirs = ( "{home}" )
server.max-worker = {cores}
webdav.activate = "enable"
webdav.is-readonly = "disable"
webdav.sqlite-db-name = "{home}/webdav.db"
"""

_NGINX = """
load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;
daemon off;
{user}
worker_processes {cores};
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types;
  sendfile on;
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  dav_ext_lock_zone zone=locks:10m;
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    root {root};
    location / {{
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS LOCK UNLOCK;
      dav_ext_lock zone=locks;
      create_full_put_path off;
    }}
  }}
}}
"""


class Peer(ServerProcess):
    """A server of somebody else's over the folder `root`; `home` takes its own files."""

    #: Key in `found.COMPONENTS`, or "" when it comes with the Python environment.
    component = ""
    version_arguments: tuple[str, ...] = ()

    def __init__(self, home: Path, root: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.root = root
        super().__init__([], home / "output.log")
        self.port = free_port()
        self.argv = self.command()

    def command(self) -> list[str]:
        """Write the configuration; the command line that serves with it."""
        raise NotImplementedError

    @classmethod
    def program(cls) -> Path:
        """Raises MissingComponent."""
        return locate(cls.component)

    @classmethod
    def version(cls) -> str:
        """The first number with dots in what the program says of itself."""
        said = subprocess.run(
            [cls.program(), *cls.version_arguments], capture_output=True, text=True, check=False
        )
        found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        return found[0] if found else "unknown"

    def _configure(self, template: str, name: str, **more: object) -> Path:
        config = self.home / name
        config.write_text(
            template.format(
                port=self.port, home=self.home, root=self.root, cores=os.cpu_count(), **more
            ),
            encoding="utf-8",
        )
        return config

    def _give_away(self) -> bool:
        """As root: hand both folders to the service user. Returns whether that was done."""
        if os.geteuid() != 0:
            return False
        for top in (self.home, self.root):
            for folder, _, files in os.walk(top):
                for path in (folder, *(os.path.join(folder, file) for file in files)):  # noqa: PTH118
                    shutil.chown(path, _SERVICE_USER, _SERVICE_USER)
        return True


class Apache(Peer):
    name = "Apache mod_dav"
    component = "apache"
    version_arguments = ("-v",)

    def command(self) -> list[str]:
        user = f"User {_SERVICE_USER}\nGroup {_SERVICE_USER}" if self._give_away() else ""
        config = self._configure(_APACHE, "apache.conf", user=user, modules=_APACHE_MODULES)
        return [str(self.program()), "-DFOREGROUND", "-d", str(self.home), "-f", str(config)]


class Lighttpd(Peer):
    name = "lighttpd"
    component = "lighttpd"
    version_arguments = ("-v",)

    def command(self) -> list[str]:
        config = self._configure(_LIGHTTPD, "lighttpd.conf")
        return [str(self.program()), "-D", "-f", str(config)]


class Nginx(Peer):
    name = "nginx dav-ext"
    component = "nginx-dav-ext"
    version_arguments = ("-v",)

    def command(self) -> list[str]:
        user = f"user {_SERVICE_USER};" if self._give_away() else ""
        config = self._configure(_NGINX, "nginx.conf", user=user)
        return [str(self.program()), "-e", str(self.home / "error.log"), "-c", str(config)]


class Rclone(Peer):
    name = "rclone serve"
    component = "rclone"
    version_arguments = ("version",)

    def command(self) -> list[str]:
        address = f"127.0.0.1:{self.port}"
        config = f"--config={self.home / 'rclone.conf'}"
        return [str(self.program()), config, "serve", "webdav", str(self.root), "--addr", address]


class StockWsgiDAV(Peer):
    """WsgiDAV from its own command line, which runs on cheroot."""

    name = "stock WsgiDAV"
    version_arguments = ("--version",)

    def command(self) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--root", str(self.root)]
        return [str(self.program()), *where, "--auth", "anonymous", "--server", "cheroot", "-q"]

    @classmethod
    def program(cls) -> Path:
        program = Path(sys.executable).parent / "wsgidav"
        if not program.exists():
            raise MissingComponent("wsgidav is missing; get it with: pip install wsgidav")
        return program


PEERS: tuple[type[Peer], ...] = (Apache, Lighttpd, Nginx, Rclone, StockWsgiDAV)
