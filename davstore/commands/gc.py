"""`davstore gc`: remove for good what was deleted from a MongoDB share."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import click

from davstore.commands.configuration import config_option
from davstore.commands.upkeep import counted, json_option, kept_up, progress
from davstore.commands.wording import in_words


@click.command()
@click.argument("share", metavar="SHARE")
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="How long deleted files stay for running downloads. [default: the share's grace]",
)
@json_option
@config_option
def gc(share: str, *, grace: float | None, as_json: bool, config_file: Path | None) -> None:
    """Remove for good what was deleted from, or replaced in, a share that lies in MongoDB.

    Servers do this by themselves all the time; this does all of it at once. SHARE is the path
    at which it is mounted. What operations that are under way may need stays for some minutes
    in any case, and is told as waiting.

    Exit status: 0 it was done, 2 it could not be.
    """
    with kept_up(config_file, share, writing=True) as upkeep:
        done = 0
        with progress("Reclaiming", upkeep.duties()) as move:

            def step() -> None:
                nonlocal done
                done += 1
                move(done)

            reclaimed = upkeep.reclaim(grace, step)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(reclaimed)))
        return
    click.echo(
        f"Removed {counted(reclaimed.nodes, 'deleted node')} and"
        f" {counted(reclaimed.contents, 'content')} ({in_words(reclaimed.bytes)})."
    )
    if reclaimed.waiting:
        minutes = counted(max(1, math.ceil(reclaimed.seconds / 60)), "minute")
        click.echo(f"{reclaimed.waiting} more may go within {minutes}.")
