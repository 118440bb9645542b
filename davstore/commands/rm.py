"""`davstore rm`: away with files and folders of a davstore that runs somewhere."""

from __future__ import annotations

import click

from davstore.client import Client, ClientError
from davstore.commands.remote import (
    Clients,
    Options,
    Outcome,
    Remote,
    parse,
    remote_options,
)


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("-r", "recursive", is_flag=True, help="Remove folders as well, with all in them.")
@remote_options
def rm(urls: tuple[str, ...], *, recursive: bool, options: Options) -> None:
    """Remove the files at URLs; with -r folders too, each in one step.

    Exit status: 0 all were removed, 1 something was not, 2 nothing was begun.
    """
    remotes = [parse(url) for url in urls]
    outcome = Outcome()
    with Clients(options) as clients:
        for remote in remotes:
            client = clients.of(remote)
            with outcome.of(remote):
                _remove(client, remote, recursive)
    outcome.end()


def _remove(client: Client, remote: Remote, recursive: bool) -> None:
    is_folder = client.stat(remote.path).is_folder
    if is_folder and not recursive:
        raise ClientError("this is a folder; -r removes it with all that is in it")
    if remote.has_slash and not is_folder:
        raise ClientError("this is a file, and the address ends in a slash")
    client.delete(remote.path)
