"""`davstore cp`: copies within a davstore that runs somewhere."""

from __future__ import annotations

import click

from davstore.commands.remote import Options, remote_options, transfer


@click.command()
@click.argument("source", metavar="URL")
@click.argument("target", metavar="URL")
@click.option("--overwrite", is_flag=True, help="Replace what is there, as a whole.")
@remote_options
def cp(source: str, target: str, *, overwrite: bool, options: Options) -> None:
    """Copy a file or folder from the first URL to the second, within one share.

    Into a folder that is there. Nothing that is there is replaced unless --overwrite is given.

    Exit status: 0 it was copied, 1 it was not, 2 the addresses are wrong.
    """
    transfer(
        source,
        target,
        options,
        lambda client, path, destination: client.copy(path, destination, overwrite=overwrite),
    )
