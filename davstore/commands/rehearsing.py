"""What is tried before workers are started: once, so that a fault is told once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from davstore import paths
from davstore.app import build_locks, build_providers
from davstore.commands.configuration import FAILED, WRONG_SETTINGS
from davstore.config import Config, FolderShare
from davstore.errors import ConfigError, Corrupt, StoreError, Unavailable
from davstore.server import child
from davstore.stores.base import Closable, Context

_ABOUT_DAMAGE = (
    " Take that folder from the backup, or move it away: that loses locks and properties, no file."
)


def prepare_folders(config: Config) -> None:
    """Make the state folder, for this user only, and the roots that may be made.

    Doing it again, or at the same time as somebody else, changes nothing. Raises ConfigError.
    """
    faults = list(_make("state", config.state, 0o700))
    for path, share in config.shares.items():
        if isinstance(share, FolderShare) and share.create:
            faults += _make(f"shares.{path}.root", share.root)
    if faults:
        raise ConfigError(faults)


def _make(key: str, path: Path, mode: int = 0o777) -> Iterator[str]:
    """Make the folder that the setting `key` names; yields what keeps it from being made."""
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        yield f"{key}: {str(path)!r} cannot be made: {error.strerror}; name another folder"


def rehearse(config: Config) -> None:
    """Build the application once in a process of its own, before any worker does.

    What keeps it from being built (a damaged state file, ...) is told once, as a sentence.
    Not in this process: what SQLite has open does not survive the fork of the workers.
    """
    pid = child.fork(lambda: _rehearsal(config))
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise click.exceptions.Exit(os.waitstatus_to_exitcode(status))


def _rehearsal(config: Config) -> int:
    status, faults = try_out(config)
    for fault in faults:
        click.echo(f"davstore: {fault}", err=True)
    return status


def try_out(config: Config) -> tuple[int, tuple[str, ...]]:
    """Open every share and the locks, and close them again, in a process that ends soon.

    The exit status that `serve` would have, 0 if all is well, and what is wrong.
    """
    try:
        providers = build_providers(config)
        for provider in providers.values():
            provider.share.store.stat(Context(), paths.ROOT)
            if isinstance(provider.share.store, Closable):
                provider.share.store.close()
        build_locks(config, {}).close()
    except ConfigError as error:
        return WRONG_SETTINGS, error.faults
    except Unavailable as error:
        # Told by a database; a state folder has other errors.
        return WRONG_SETTINGS, (f"cannot start: {error.detail}",)
    except (StoreError, OSError) as error:
        hint = _ABOUT_DAMAGE if isinstance(error, Corrupt) else ""
        return FAILED, (f"cannot start with the state in {config.state}: {error}{hint}",)
    return 0, ()
