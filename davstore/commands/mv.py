"""`davstore mv`: move within a davstore that runs somewhere."""

from __future__ import annotations

import click

from davstore.commands.remote import Options, remote_options, transfer


@click.command()
@click.argument("source", metavar="URL")
@click.argument("target", metavar="URL")
@click.option("--overwrite", is_flag=True, help="Replace what is there, as a whole.")
@remote_options
def mv(source: str, target: str, *, overwrite: bool, options: Options) -> None:
    """Move a file or folder from the first URL to the second, within one share.

    Into a folder that is there. Nothing that is there is replaced unless --overwrite is given.

    Exit status: 0 it was moved, 1 it was not, 2 the addresses are wrong.
    """
    transfer(
        source,
        target,
        options,
        lambda client, path, destination: client.move(path, destination, overwrite=overwrite),
    )
