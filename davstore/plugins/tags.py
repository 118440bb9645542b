"""What a node says of itself in the catalogue beside its address: the tags of its entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from davstore import __version__
from davstore.config import Config, FolderShare, MemoryShare, Share

_VERSION = "version="

#: Before the path of every share.
_SHARE = "share="

#: Before the path of every share that clients can change and no other node has.
_LOCAL = "local="


def tags(config: Config) -> tuple[str, ...]:
    """Those of the node that has these settings."""
    return (
        "webdav",
        "https" if config.tls else "http",
        f"{_VERSION}{__version__}",
        *(f"{_SHARE}{mount}" for mount in config.shares),
        *(f"{_LOCAL}{mount}" for mount in sorted(local_shares(config))),
    )


def local_shares(config: Config) -> frozenset[str]:
    """Where the shares are mounted that belong to one node, and whose content can differ.

    Read-only ones do not count: copies of one folder on many nodes are a sensible thing.
    """
    return frozenset(mount for mount, share in config.shares.items() if _is_local(share))


def _is_local(share: Share) -> bool:
    if isinstance(share, FolderShare | MemoryShare):
        return not share.read_only
    return share.embedded is not None and not share.read_only


def scheme_of(found: Iterable[str]) -> str:
    """ "https" or "http"."""
    return "https" if "https" in found else "http"


def version_of(found: Iterable[str]) -> str | None:
    return next(_values(found, _VERSION), None)


def shares_of(found: Iterable[str]) -> Iterator[str]:
    """The paths of all shares."""
    return _values(found, _SHARE)


def local_shares_of(found: Iterable[str]) -> Iterator[str]:
    """See `local_shares`."""
    return _values(found, _LOCAL)


def _values(found: Iterable[str], prefix: str) -> Iterator[str]:
    return (tag.removeprefix(prefix) for tag in found if tag.startswith(prefix))
