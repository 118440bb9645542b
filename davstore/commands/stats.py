"""`davstore stats`: what a MongoDB share holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from davstore.commands.configuration import config_option
from davstore.commands.upkeep import json_option, kept_up
from davstore.commands.wording import in_words
from davstore.stores.mongo.statistics import Statistics


@click.command()
@click.argument("share", metavar="SHARE")
@json_option
@config_option
def stats(share: str, *, as_json: bool, config_file: Path | None) -> None:
    """Say what a share that lies in MongoDB holds, and what waits to be removed.

    SHARE is the path at which it is mounted. Servers may write meanwhile.

    Exit status: 0 it was done, 2 it could not be.
    """
    with kept_up(config_file, share, writing=False) as upkeep:
        found = upkeep.statistics()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    for name, text in _rows(found):
        click.echo(f"{name:<20}{text}")


def _rows(found: Statistics) -> list[tuple[str, str]]:
    quota = "" if found.quota is None else f" of {in_words(found.quota)}"
    states = ", ".join(f"{number} {state}" for state, number in sorted(found.contents.items()))
    late = f", the oldest for {found.oldest_due:.0f} s" if found.due else ""
    return [
        ("files", f"{found.files} ({found.inline} in one document), {in_words(found.bytes)}"),
        ("folders", str(found.folders)),
        ("used", f"{in_words(found.used)}{quota}"),
        ("deleted, there yet", f"{found.deleted}, {in_words(found.deleted_bytes)}"),
        ("contents in GridFS", f"{states or 'none'}; {in_words(found.content_bytes)}"),
        ("chunks", str(found.chunks)),
        ("on disk", in_words(found.storage_bytes)),
        ("background duties", f"{found.duties}, due {found.due}{late}"),
    ]
