"""`davstore get`: files of a davstore that runs somewhere onto this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from davstore import paths
from davstore.commands.remote import (
    Clients,
    Options,
    Outcome,
    could_not_begin,
    parse,
    progress_bar,
    remote_options,
)


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.argument("target", metavar="DIR|FILE", type=click.Path())
@remote_options
def get(urls: tuple[str, ...], target: str, *, options: Options) -> None:
    """Download the files at URLs into the folder DIR, or one as FILE.

    What arrives is compared with the digest that the server keeps. A file is there wholly or not
    at all; a download that was interrupted goes on when the same command is run again.

    Exit status: 0 all were downloaded, 1 something was not, 2 nothing was begun.
    """
    remotes = [parse(url) for url in urls]
    is_folder = Path(target).is_dir()
    if not is_folder and target.endswith(os.sep):
        could_not_begin(f"{target} is no folder")
    if not is_folder and len(remotes) > 1:
        could_not_begin(f"{target} is no folder, and there are {len(remotes)} addresses")
    outcome = Outcome()
    with Clients(options) as clients:
        for remote in remotes:
            client = clients.of(remote)
            file = Path(target, paths.name(remote.path) if is_folder else "")
            with outcome.of(remote), progress_bar(file.name) as progress:
                client.download(remote.path, file, progress=progress)
    outcome.end()
