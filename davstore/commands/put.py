"""`davstore put`: files of this machine onto a davstore that runs somewhere."""

from __future__ import annotations

from pathlib import Path

import click

from davstore import paths
from davstore.commands.remote import (
    Options,
    Outcome,
    Remote,
    client_of,
    could_not_begin,
    is_folder,
    parse,
    progress_bar,
    remote_options,
)


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.argument("url")
@click.option("--no-overwrite", is_flag=True, help="Refuse to replace a file that is there.")
@remote_options
def put(
    files: tuple[Path, ...],
    url: str,
    *,
    no_overwrite: bool,
    options: Options,
) -> None:
    """Upload FILEs to a file or into a folder at URL.

    URL is as in a browser, http://host:port/path, or consul://SERVICE/path for any healthy node
    of a service. Into a folder that is there, or when URL ends in a slash.

    Each file is there wholly or not at all, and verified. An upload that was interrupted goes
    on when the same command is run again.

    Exit status: 0 all were uploaded, 1 something was not, 2 nothing was begun.
    """
    target = parse(url)
    outcome = Outcome()
    with client_of(target, options) as client:
        with outcome.of(target):
            into_folder = is_folder(client, target)
            if len(files) > 1 and not into_folder:
                could_not_begin(f"{target} is no folder, and there are {len(files)} files")
            for file in files:
                path = _path(target, file) if into_folder else target.path
                with outcome.of(file), progress_bar(file.name) as progress:
                    client.upload(file, path, progress=progress, overwrite=not no_overwrite)
    outcome.end()


def _path(folder: Remote, file: Path) -> str:
    name = file.name or file.resolve().name
    return paths.join(folder.path, name)
