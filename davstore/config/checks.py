"""What is wrong with settings that are each right by themselves, or are so on another machine.

Each check yields faults: the settings that they are about, and a sentence.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from davstore import paths
from davstore.config.model import (
    Config,
    FolderShare,
    MemoryShare,
    MongoShare,
    Tls,
    is_loopback,
)
from davstore.config.sources import Place

Fault = tuple[tuple[Place, ...], str]

_MISSING = "does not exist"


def faults(config: Config) -> Iterator[Fault]:
    """Everything that keeps `config` from being served on this machine, now."""
    yield from _mount_paths(config)
    yield from _roots(config)
    yield from _overlapping_roots(config)
    yield from _state(config)
    yield from _memory(config)
    yield from _admission(config)
    yield from _admin(config)
    yield from _tls(config)
    yield from _limits(config)
    yield from _rest(config)


def _folders(config: Config) -> list[tuple[str, FolderShare]]:
    return [(path, s) for path, s in config.shares.items() if isinstance(s, FolderShare)]


def _mount_paths(config: Config) -> Iterator[Fault]:
    """A share within another one hides what lies there; below "/" that is what is wanted."""
    for path in config.shares:
        for other in config.shares:
            if other not in (path, paths.ROOT) and paths.is_within(path, other):
                sentence = f"is mounted within the share {other!r} and would hide what lies there"
                yield (("shares", path),), sentence


def _roots(config: Config) -> Iterator[Fault]:
    for path, share in _folders(config):
        place = ("shares", path, "root")
        fault = _root_fault(share)
        if fault:
            yield (place,), f"{str(share.root)!r} {fault}"


def _root_fault(share: FolderShare) -> str | None:
    found, fault = _look(share.root)
    if fault:
        return fault
    if found is not None:
        return _access_fault(share) if stat.S_ISDIR(found.st_mode) else "is not a folder"
    if not share.create:
        return "does not exist; make the folder, or set `create: true` for this share"
    return _making_fault(share.root)


def _access_fault(share: FolderShare) -> str | None:
    if not os.access(share.root, os.R_OK | os.X_OK):
        return "cannot be read by this user: permission denied"
    if not share.read_only and not os.access(share.root, os.W_OK):
        return "cannot be written by this user; set `read_only: true` to serve it like that"
    return None


def _overlapping_roots(config: Config) -> Iterator[Fault]:
    """Two ways to write to one file: a lock taken on one path would not guard the other."""
    for (path, share), (other, its) in combinations(_folders(config), 2):
        root, its_root = _real(share.root), _real(its.root)
        overlap = root.is_relative_to(its_root) or its_root.is_relative_to(root)
        if overlap and not (share.read_only or its.read_only):
            places = ("shares", path, "root"), ("shares", other, "root")
            yield (
                places,
                f"{str(share.root)!r} and {str(its.root)!r} of the share {other!r} are, or lie in,"
                " one folder, and locks on one would not guard the other; make one of them"
                " read_only",
            )


def _state(config: Config) -> Iterator[Fault]:
    state = _real(config.state)
    for path, share in _folders(config):
        if state.is_relative_to(_real(share.root)):
            yield (
                (("state",), ("shares", path, "root")),
                f"{str(config.state)!r} lies inside {str(share.root)!r}, which the share {path!r}"
                " serves; choose a folder outside of it",
            )
    found, fault = _look(state)
    if found is None and fault is None:
        fault = _making_fault(state)
    elif found is not None and not stat.S_ISDIR(found.st_mode):
        fault = "is not a folder"
    elif found is not None and not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        fault = "cannot be written by this user"
    if fault:
        yield (("state",),), f"{str(config.state)!r} {fault}; name another folder (state, --state)"


def _memory(config: Config) -> Iterator[Fault]:
    in_memory = [path for path, s in config.shares.items() if isinstance(s, MemoryShare)]
    if in_memory and config.workers > 1:
        yield (
            (("workers",),),
            f"{config.workers} workers cannot share the memory of the share {in_memory[0]!r};"
            " set workers to 1",
        )


def _admission(config: Config) -> Iterator[Fault]:
    auth = config.auth
    if auth.users is None and not auth.anonymous and not is_loopback(config.listen.host):
        yield (
            (("listen", "host"), ("auth",)),
            f"{config.listen.host!r} can be reached from other machines, and there are no users;"
            " name a file of users (auth.users, see `davstore user add`), or let everybody in"
            " (--anonymous), or listen on 127.0.0.1",
        )
    fault = None if auth.users is None else _file_fault(auth.users)
    if fault:
        hint = "; `davstore user add NAME` makes it" if fault == _MISSING else ""
        yield (("auth", "users"),), f"{str(auth.users)!r} {fault}{hint}"


def _admin(config: Config) -> Iterator[Fault]:
    admin = config.admin
    if admin is not None and admin.port and admin.port == config.listen.port:
        yield (
            (("admin", "port"), ("listen", "port")),
            f"{admin.port} is the port of the files as well; choose another one",
        )


def _tls(config: Config) -> Iterator[Fault]:
    if config.tls is None:
        return
    broken = False
    for name in ("certificate", "key"):
        file: Path = getattr(config.tls, name)
        fault = _file_fault(file)
        if fault:
            broken = True
            yield (("tls", name),), f"{str(file)!r} {fault}"
    if broken:
        return
    yield from _pair(config.tls)


def _pair(tls: Tls) -> Iterator[Fault]:
    """What OpenSSL says of certificate and key, which it says of both in one word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(tls.certificate)
    except (ssl.SSLError, OSError):
        yield (("tls", "certificate"),), f"{str(tls.certificate)!r} holds no certificate in PEM"
        return
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            meaning = f"is not the key of {str(tls.certificate)!r}"
        else:
            meaning = "holds no private key in PEM"
        yield (("tls", "key"),), f"{str(tls.key)!r} {meaning}"
    except (OSError, ValueError) as error:
        yield (("tls", "key"),), f"{str(tls.key)!r} cannot be used: {error}"


def _no_password() -> str:
    """Refuse, rather than have OpenSSL ask at a terminal that a server does not have."""
    raise ValueError("the key is encrypted; davstore needs one without a passphrase")


def _limits(config: Config) -> Iterator[Fault]:
    dav = config.dav
    if dav.default_lock_seconds > dav.max_lock_seconds:
        yield (
            (("dav", "default_lock_seconds"), ("dav", "max_lock_seconds")),
            f"{dav.default_lock_seconds:g} s is more than dav.max_lock_seconds,"
            f" {dav.max_lock_seconds:g} s",
        )


def _rest(config: Config) -> Iterator[Fault]:
    rest = config.rest
    if not rest.enabled:
        return
    for mount in config.shares:
        # What lies in a share at "/" below the same path is hidden, as it is by another share.
        if mount != paths.ROOT and paths.is_within(rest.prefix or paths.ROOT, mount):
            yield (
                (("rest", "prefix"), ("shares", mount)),
                f"{rest.prefix!r} lies in the share {mount!r} and would hide what is there;"
                " choose another prefix",
            )
        elif any(
            paths.is_within(mount, f"{rest.prefix}/{each}") for each in ("v1.0.0", "v1.0.0.0")
        ):
            yield (
                (("rest", "prefix"), ("shares", mount)),
                f"{rest.prefix!r} is where the REST face answers, and would hide the share"
                f" {mount!r}; choose another prefix",
            )
    if rest.share is not None and not isinstance(config.shares.get(rest.share), MongoShare):
        yield (
            (("rest", "share"),),
            f"{rest.share!r} is not the path of a share that is kept in MongoDB",
        )


def _real(path: Path) -> Path:
    """Where `path` leads, as far as it exists."""
    return Path(os.path.realpath(path))


def _look(path: Path) -> tuple[os.stat_result | None, str | None]:
    """What is there, or a fault: why that cannot be told. Neither: there is nothing."""
    try:
        return path.stat(), None
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except PermissionError:
        return None, "cannot be reached by this user: permission denied"
    except OSError as error:
        return None, f"cannot be used: {error.strerror}"


def _file_fault(path: Path) -> str | None:
    found, fault = _look(path)
    if fault:
        return fault
    if found is None:
        return _MISSING
    if not stat.S_ISREG(found.st_mode):
        return "is not a file"
    return None if os.access(path, os.R_OK) else "cannot be read by this user"


def _making_fault(path: Path) -> str | None:
    """Why the folder `path`, which is not there, cannot be made."""
    above = path.parent
    while _look(above) == (None, None):
        above = above.parent
    found, fault = _look(above)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        return f"cannot be made: {str(above)!r} is not a folder"
    if fault or not os.access(above, os.W_OK | os.X_OK):
        return f"cannot be made by this user, who cannot write to {str(above)!r}"
    return None
