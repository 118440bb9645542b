"""The settings there are, with their defaults: the shape of a configuration file.

Sizes are bytes, durations are seconds; a file may write "64KiB" and "1h30m". The models are
frozen and refuse what they do not know. They judge each value by itself; what depends on
several settings, or on this machine, is judged in `davstore.config.checks`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    StringConstraints,
    model_validator,
)

from davstore import paths
from davstore.config.rest import Rest
from davstore.config.section import Section
from davstore.config.service import Admin, Consul, Proxy
from davstore.config.values import (
    EMBEDDED,
    Anchored,
    CommaSeparated,
    Duration,
    MongoUri,
    Size,
    Whole,
)
from davstore.errors import InvalidName

_KIB = 1024
_MIB = 1024 * _KIB


Digests = Annotated[tuple[Literal["md5", "sha1", "sha256"], ...], CommaSeparated]


class Listen(Section):
    #: An address of this machine, or a name of one.
    host: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.:_-]+(%[0-9A-Za-z]+)?$")] = (
        "127.0.0.1"
    )
    #: 0 takes any free port.
    port: Whole = Field(default=8080, ge=0, le=65535)


class FolderShare(Section):
    """A folder of this machine."""

    store: Literal["folder"] = "folder"
    root: Anchored
    #: Make `root` when it is missing. Not by default: where a disk is not mounted, an empty
    #: folder in its place would take the uploads.
    create: bool = False
    #: "full": what was acknowledged survives power loss. "rename": it may not.
    durability: Literal["full", "rename"] = "full"
    #: Which digests are computed while a file arrives.
    digests: Digests = ("sha1", "sha256")
    read_only: bool = False
    #: At most so many bytes in all files together; None: as much as the disk takes.
    quota: Size | None = None


class MemoryShare(Section):
    """A tree in the memory of the one worker process; gone when it ends. To try things out."""

    store: Literal["memory"]
    read_only: bool = False
    quota: Size | None = None


class MongoShare(Section):
    """A tree kept in MongoDB, which any number of nodes can serve."""

    store: Literal["mongo"]
    #: "mongodb://host:port/database", or "embedded:DIR" for a private mongod with its data there.
    uri: MongoUri
    #: None: the one that the URI names, else "davstore".
    database: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,63}$")] | None = None
    #: Files up to this size are one document; larger ones lie in GridFS.
    inline_max: ByteSize = Field(default=ByteSize(16 * _KIB), ge=0, le=8 * _MIB)
    #: Of the chunks in GridFS.
    chunk_size: Size = Field(default=ByteSize(_MIB), ge=_KIB, le=15 * _MIB)
    #: How many members of a replica set have each write when it is acknowledged.
    write_concern: Literal["majority"] | Annotated[int, Field(ge=1, le=50)] = "majority"
    #: How long replaced and deleted contents are kept, so that running downloads finish.
    grace: Duration = 3600.0
    digests: Digests = ("sha1", "sha256")
    read_only: bool = False
    #: At most so many bytes in all files together.
    quota: Size | None = None

    @property
    def embedded(self) -> Path | None:
        """The folder of the private mongod's data; None for a MongoDB of somebody else's."""
        kind, _, folder = self.uri.partition(":")
        return Path(folder) if kind == EMBEDDED else None


def _long_form(value: object) -> object:
    """A path alone is a folder share, and so is what names no store."""
    if isinstance(value, str | Path):
        return {"store": "folder", "root": value}
    if isinstance(value, Mapping) and "store" not in value:
        return {"store": "folder", **value}
    return value


Share = Annotated[
    Annotated[FolderShare | MongoShare | MemoryShare, Field(discriminator="store")],
    BeforeValidator(_long_form),
]


def _check_mount_path(path: str) -> str:
    try:
        normal = paths.normalise(path)
    except InvalidName as error:
        raise ValueError(f"cannot be the path of a share: {error.detail}") from None
    if normal != path:
        raise ValueError(f"has to be written {normal!r}")
    if paths.is_reserved(path):
        raise ValueError("begins with what davstore keeps for itself")
    return path


#: Where a share lies in the server's URL space: "/", "/photos", "/team/files".
MountPath = Annotated[str, AfterValidator(_check_mount_path)]


class Auth(Section):
    #: The file of names and password hashes. None: there are no users.
    users: Anchored | None = None
    #: Let everybody in who sends no credentials, wherever davstore listens.
    anonymous: bool = False
    realm: Annotated[str, StringConstraints(pattern=r'^[^"\\\x00-\x1f\x7f]+$')] = "davstore"
    #: How long right credentials are remembered, so that not each request costs a hash.
    cache_seconds: Duration = 60.0


class Tls(Section):
    """Both files are PEM. The certificate's file holds the intermediate ones as well."""

    certificate: Anchored
    key: Anchored


class Limits(Section):
    #: The request line and all headers.
    header_bytes: Size = ByteSize(64 * _KIB)
    #: The body of a PROPFIND, PROPPATCH, LOCK, ...; not of a PUT, which has no limit.
    xml_bytes: Size = ByteSize(_MIB)
    #: Open connections per worker; more wait in the kernel's queue.
    connections: Whole = Field(default=1024, ge=1)
    #: Requests being answered at once, per worker.
    threads: Whole = Field(default=512, ge=1)
    #: Until the headers are complete.
    header_timeout: Duration = 20.0
    #: Until the next request of a kept connection begins.
    idle_timeout: Duration = 75.0
    #: Between two pieces of a body, either way.
    body_timeout: Duration = 60.0
    #: Bytes per second that a body has to reach, averaged over the time spent waiting for
    #: the client, once `rate_grace` seconds were waited; either way.
    min_rate: Whole = Field(default=256, ge=0)
    rate_grace: Duration = 20.0
    #: How long a stopping worker lets its running requests finish.
    drain_timeout: Duration = 30.0
    #: After this, an operation that has not yet changed anything is given up.
    request_deadline: Duration = 86400.0


class Dav(Section):
    #: Answer PROPFIND with Depth: infinity.
    infinite_depth: bool = False
    max_lock_seconds: Duration = 86400.0
    #: What a lock gets whose client names no timeout.
    default_lock_seconds: Duration = 3600.0
    #: Further names for the Host header while everybody on this machine may enter; "*": any.
    hosts: Annotated[tuple[str, ...], CommaSeparated] = ()


class Log(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    #: One line per request.
    access: bool = True


def available_cores() -> int:
    """The processors that this process may use, which a container may have fewer of."""
    return len(os.sched_getaffinity(0))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def default_shares() -> dict[MountPath, Share]:
    return {"/": FolderShare(root=Path.cwd() / "data", create=True)}


def _is_memory(share: object) -> bool:
    if isinstance(share, Mapping):
        return share.get("store") == "memory"
    return isinstance(share, MemoryShare)


class Config(Section):
    listen: Listen = Listen()
    shares: dict[MountPath, Share] = Field(default_factory=default_shares, min_length=1)
    #: The folder for locks, properties and whatever else davstore has to remember.
    state: Anchored = Field(default_factory=lambda: Path.cwd() / "state")
    workers: Whole = Field(default_factory=available_cores, ge=1, le=1024)
    auth: Auth = Auth()
    tls: Tls | None = None
    #: None: no listener but, with `consul`, one at a free port beside `listen`.
    admin: Admin | None = None
    consul: Consul | None = None
    proxy: Proxy = Proxy()
    limits: Limits = Limits()
    dav: Dav = Dav()
    rest: Rest = Rest()
    log: Log = Log()

    @model_validator(mode="before")
    @classmethod
    def _one_worker_for_memory(cls, settings: object) -> object:
        """Nobody who tries out a share in memory has to know that processes do not share it."""
        if not isinstance(settings, Mapping) or "workers" in settings:
            return settings
        shares = settings.get("shares")
        if isinstance(shares, Mapping) and any(map(_is_memory, shares.values())):
            return {**settings, "workers": 1}
        return settings

    @model_validator(mode="before")
    @classmethod
    def _admin_for_consul(cls, settings: object) -> object:
        """What Consul checks has to be there, and reachable where the files are."""
        if not isinstance(settings, Mapping) or not settings.get("consul"):
            return settings
        if settings.get("admin"):
            return settings
        listen = settings.get("listen")
        host = listen.get("host") if isinstance(listen, Mapping) else getattr(listen, "host", None)
        return {**settings, "admin": {"host": host or Listen().host, "port": 0}}

    @property
    def admits_anonymous(self) -> bool:
        """Whether a request without credentials may come in."""
        return self.auth.anonymous or self.auth.users is None

    @property
    def expected_hosts(self) -> frozenset[str] | None:
        """The names that a Host header may carry, in lower case without port; None: any.

        Where everybody on this machine may enter, and nobody else, a web page in a browser
        of this machine must not get in under a name of its own (DNS rebinding).
        """
        if not (self.admits_anonymous and is_loopback(self.listen.host)) or "*" in self.dav.hosts:
            return None
        host = self.listen.host.lower()
        own = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
        return frozenset(own | {name.lower() for name in self.dav.hosts})
