"""`davstore ls`: what is in a folder of a davstore that runs somewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from davstore.client import Client, Entry
from davstore.commands.remote import (
    Options,
    Outcome,
    Remote,
    client_of,
    parse,
    remote_options,
)
from davstore.commands.wording import on_one_line


@click.command()
@click.argument("url")
@click.option("-l", "is_long", is_flag=True, help="Show size and time as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to a line.")
@remote_options
def ls(url: str, *, is_long: bool, as_json: bool, options: Options) -> None:
    """List the folder, or show the file, at URL. Folders end in a slash. Times are in UTC.

    Exit status: 0 it was listed, 1 it could not be, 2 the address is wrong.
    """
    remote = parse(url)
    show = _as_json if as_json else _as_row if is_long else _as_name
    outcome = Outcome()
    with client_of(remote, options) as client, outcome.of(remote):
        for entry in _entries(client, remote):
            click.echo(show(entry))
    outcome.end()


def _entries(client: Client, remote: Remote) -> Iterator[Entry]:
    entry = client.stat(remote.path)
    if entry.is_folder:
        yield from client.list(remote.path)
    else:
        yield entry


def _as_name(entry: Entry) -> str:
    return on_one_line(f"{entry.name}/" if entry.is_folder else entry.name)


def _as_row(entry: Entry) -> str:
    size = "-" if entry.is_folder else str(entry.size)
    return f"{size:>14}  {entry.modified:%Y-%m-%d %H:%M:%S}  {_as_name(entry)}"


def _as_json(entry: Entry) -> str:
    document = {
        "path": entry.path,
        "name": entry.name,
        "kind": "folder" if entry.is_folder else "file",
        "size": None if entry.is_folder else entry.size,
        "created": entry.created.isoformat(),
        "modified": entry.modified.isoformat(),
        "etag": entry.etag,
        "content_type": entry.content_type,
        "digests": dict(entry.digests),
    }
    return json.dumps(document)
