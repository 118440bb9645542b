"""A share's store, opened without a server; one may be serving it at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from davstore import paths
from davstore.app import build_locks, build_provider
from davstore.commands.configuration import configuration_file, faults_told
from davstore.commands.embedded import embedded_running
from davstore.commands.rehearsing import prepare_folders
from davstore.config import Config, MemoryShare, load_config
from davstore.errors import ConfigError, InvalidName, StoreError
from davstore.locks.base import LockStore
from davstore.stores.base import Closable, Context, Effect, Guard, Node, Store

#: Exit status of the commands that work on a share: it could not even be begun.
COULD_NOT_RUN = 2


@dataclass(frozen=True, slots=True)
class LockGuard:
    """Lets happen what no client's lock forbids."""

    locks: LockStore
    mount: str

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        """See `davstore.stores.base.Guard`."""
        url_path = paths.rebase(path, paths.ROOT, self.mount)
        self.locks.check(url_path, effect, (), None, time.time())


class OpenShare(NamedTuple):
    """`path` is the path within the share that was meant. `guard` is for every change."""

    config: Config
    mount: str
    path: str
    store: Store
    guard: Guard

    def sentence(self, error: StoreError) -> str:
        """What went wrong, with the path as the person who gave the command knows it."""
        return f"{paths.rebase(error.path, paths.ROOT, self.mount)}: {error.detail}"


def could_not_run(sentence: str) -> NoReturn:
    """End the command with status 2 and one sentence."""
    click.echo(f"davstore: {sentence}", err=True)
    raise click.exceptions.Exit(COULD_NOT_RUN)


@contextmanager
def opened_share(config_file: Path | None, text: str, *, writing: bool) -> Iterator[OpenShare]:
    """Open the share that `text`, a path of the URL space, lies in; the longest mount wins.

    Ends the command with status 2 and a sentence where that cannot be done.
    """
    with faults_told():
        config = load_config(configuration_file(config_file))
    mount, path = _find_share(config, text)
    share = config.shares[mount]
    if isinstance(share, MemoryShare):
        could_not_run(f"the share {mount} lies in the memory of the server that serves it.")
    if writing and share.read_only:
        could_not_run(f"the share {mount} is read-only.")
    with faults_told():
        prepare_folders(config)
    with ExitStack() as stack:
        config = stack.enter_context(embedded_running(config))
        try:
            provider = build_provider(config, mount)
            store = provider.share.store
            if isinstance(store, Closable):
                stack.callback(store.close)
            store.stat(Context(), paths.ROOT)
            locks = build_locks(config, {mount: provider})
        except (StoreError, OSError) as error:
            could_not_run(f"the share {mount} cannot be opened: {error}")
        except ConfigError as error:
            could_not_run(f"the share {mount} cannot be opened: {'; '.join(error.faults)}")
        stack.callback(locks.close)
        yield OpenShare(config, mount, path, store, LockGuard(locks, mount))


def _find_share(config: Config, text: str) -> tuple[str, str]:
    """The mount path, and the path within that share."""
    try:
        path = paths.normalise(text)
    except InvalidName as error:
        could_not_run(f"{text!r} is no path of a share: {error.detail}")
    mounts = [mount for mount in config.shares if paths.is_within(path, mount)]
    if not mounts:
        there = ", ".join(sorted(config.shares))
        could_not_run(f"no share is mounted at or above {path}; there is {there}")
    mount = max(mounts, key=len)
    return mount, path if mount == paths.ROOT else path[len(mount) :] or paths.ROOT
