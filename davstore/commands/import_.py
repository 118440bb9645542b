"""`davstore import`: a local folder into a share."""

from __future__ import annotations

import time
from pathlib import Path

import click

from davstore.commands.opening import OpenShare, could_not_run, opened_share
from davstore.commands.transferring import (
    carry_out,
    must_be_apart,
    transfer_options,
)
from davstore.errors import StoreError
from davstore.stores.base import Context, HasUsage, Sweepable
from davstore.transfer.importing import Import

#: Where in the state folder it is remembered which uploads of large files wait to be gone on with.
_PENDING = "imports"

#: Seconds that a share with a quota may take to find out how much it holds.
_PATIENCE = 3600


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("share", metavar="SHARE[/PATH]")
@transfer_options
def import_(
    folder: Path,
    share: str,
    *,
    config_file: Path | None,
    jobs: int,
    checksum: bool,
    as_json: bool,
) -> None:
    """Copy what is in the folder DIR into a share, also while a server serves it.

    SHARE is the path at which the share is mounted. Folders are made as needed, files that
    differ are replaced, times are kept, and nothing that is only in the share is removed.
    Run again after an interruption, it goes on where it stopped.

    Symbolic links are not followed. What cannot be imported is left out and named at the end.

    Exit status: 0 all is there, 1 something was left out, 2 it could not be begun.
    """
    with opened_share(config_file, share, writing=True) as target:
        must_be_apart(target, folder)
        _find_usage(target)
        carry_out(
            target,
            lambda tally: Import(
                folder,
                target.store,
                target.path,
                tally=tally,
                pending=target.config.state / _PENDING,
                mount=target.mount,
                guard=target.guard,
                jobs=jobs,
                checksum=checksum,
            ),
            as_json=as_json,
            done="Imported",
        )


def _find_usage(target: OpenShare) -> None:
    """Have a share with a quota find out what it holds, which else the first server does.

    Until then the quota would not be kept.
    """
    store = target.store
    if getattr(target.config.shares[target.mount], "quota", None) is None:
        return
    if not isinstance(store, HasUsage) or not isinstance(store, Sweepable):
        return
    end = time.monotonic() + _PATIENCE
    try:
        while store.usage(Context()).used is None and time.monotonic() < end:
            store.sweep(time.time())
    except StoreError as error:
        could_not_run(target.sentence(error))
