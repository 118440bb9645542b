"""`davstore export`: a share into a local folder."""

from __future__ import annotations

from pathlib import Path

import click

from davstore.commands.opening import OpenShare, could_not_run, opened_share
from davstore.commands.transferring import (
    carry_out,
    must_be_apart,
    transfer_options,
)
from davstore.errors import NotAFolder, StoreError
from davstore.stores.base import Context
from davstore.transfer.exporting import Export


@click.command()
@click.argument("share", metavar="SHARE[/PATH]")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@transfer_options
def export(
    share: str,
    folder: Path,
    *,
    config_file: Path | None,
    jobs: int,
    checksum: bool,
    as_json: bool,
) -> None:
    """Copy what is in a share into the folder DIR, also while a server serves it.

    SHARE is the path at which the share is mounted. DIR and folders in it are made as
    needed, files that differ are replaced, times are kept, and nothing that is only in DIR
    is removed. Run again after an interruption, it goes on where it stopped.

    Each file's content is verified by the digest that the share keeps of it. What cannot be
    exported is left out and named at the end.

    Exit status: 0 all is there, 1 something was left out, 2 it could not be begun.
    """
    with opened_share(config_file, share, writing=False) as source:
        must_be_apart(source, folder)
        _make(source, folder)
        carry_out(
            source,
            lambda tally: Export(
                source.store,
                source.path,
                folder,
                tally=tally,
                mount=source.mount,
                jobs=jobs,
                checksum=checksum,
            ),
            as_json=as_json,
            done="Exported",
        )


def _make(source: OpenShare, folder: Path) -> None:
    """Make the folder, once it is clear that there is something to put into it."""
    try:
        if not source.store.stat(Context(), source.path).is_folder:
            raise NotAFolder(source.path)
        folder.mkdir(parents=True, exist_ok=True)
    except StoreError as error:
        could_not_run(source.sentence(error))
    except OSError as error:
        could_not_run(f"{folder} cannot be made: {error.strerror}")
