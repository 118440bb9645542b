"""What `fsck`, `gc` and `stats` have in common: whose share it is, how they end, the bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from davstore import paths
from davstore.commands.opening import COULD_NOT_RUN, OpenShare, could_not_run, opened_share
from davstore.errors import ConfigError, StoreError
from davstore.stores.mongo.store import MongoStore
from davstore.stores.mongo.upkeep import Upkeep

#: Exit status: something is wrong with the share.
FINDINGS = 1

#: Seconds between two changes of the bar.
_BEAT = 0.2

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@contextmanager
def kept_up(config_file: Path | None, share: str, *, writing: bool) -> Iterator[Upkeep]:
    """The upkeep of a MongoDB share. Whatever is in the way ends the command with status 2."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(opened_share(config_file, share, writing=writing))
        except click.exceptions.Exit:
            # 1 would say that something was found.
            raise click.exceptions.Exit(COULD_NOT_RUN) from None
        try:
            yield _store_of(opened).upkeep()
        except StoreError as error:
            could_not_run(opened.sentence(error))
        except ConfigError as error:
            could_not_run("; ".join(error.faults))
        except KeyboardInterrupt:
            could_not_run("stopped; run the same command again.")


def _store_of(opened: OpenShare) -> MongoStore:
    if not isinstance(opened.store, MongoStore):
        could_not_run(
            f"the share {opened.mount} does not lie in MongoDB; only such shares need this."
        )
    if opened.path != paths.ROOT:
        could_not_run(f"only the share {opened.mount} as a whole can be looked at.")
    return opened.store


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """What is to be called with how much of about `length` is done; a bar on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    shown, last = 0, 0.0
    bar: Any
    with click.progressbar(length=max(length, 1), label=label, file=sys.stderr, width=20) as bar:

        def move(done: int) -> None:
            nonlocal shown, last
            if time.monotonic() - last >= _BEAT:
                last = time.monotonic()
                bar.update(max(0, done - shown))
                shown = max(done, shown)

        yield move
        bar.update(max(0, length - shown))


def counted(number: int, what: str) -> str:
    """Such as "1 file" and "2 files"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
