"""`davstore fsck`: is everything in a MongoDB share as it must be?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from davstore.commands.configuration import config_option
from davstore.commands.upkeep import FINDINGS, counted, json_option, kept_up, progress
from davstore.commands.wording import on_one_line
from davstore.stores.mongo.findings import Finding
from davstore.stores.mongo.upkeep import Upkeep


@click.command()
@click.argument("share", metavar="SHARE")
@click.option("--repair", is_flag=True, help="Put right what can be; nothing is deleted.")
@click.option("--verify", is_flag=True, help="Also whether all bytes are those that were written.")
@json_option
@config_option
def fsck(
    share: str, *, repair: bool, verify: bool, as_json: bool, config_file: Path | None
) -> None:
    """Check a share that lies in MongoDB, also while servers write to it.

    SHARE is the path at which it is mounted. Files and folders that no path leads to are moved
    into /lost+found with --repair; files whose content is damaged are only named.

    Exit status: 0 nothing is wrong (any more), 1 something is, 2 it could not be checked.
    """
    with kept_up(config_file, share, writing=repair) as upkeep:
        found = _check(upkeep, verify=verify)
        repaired: list[Finding] = []
        left = found
        if repair and found:
            repaired = upkeep.repair(found)
            left = _check(upkeep, verify=verify)
    _tell(found, repaired, left, as_json=as_json)
    if left:
        raise click.exceptions.Exit(FINDINGS)


def _check(upkeep: Upkeep, *, verify: bool) -> list[Finding]:
    with progress("Checking", upkeep.documents()) as move:
        return upkeep.check(move, verify=verify)


def _tell(
    found: Sequence[Finding], repaired: Sequence[Finding], left: Sequence[Finding], *, as_json: bool
) -> None:
    if as_json:
        click.echo(
            json.dumps(
                {
                    "clean": not left,
                    "findings": [_as_json(each, is_repaired=each in repaired) for each in found],
                    "left": [_as_json(each) for each in left],
                }
            )
        )
        return
    for each in found:
        click.echo(_line(each) + (" - repaired" if each in repaired else ""))
    for each in left:
        if each not in found:
            click.echo(_line(each))
    if repaired:
        click.echo(f"{len(repaired)} of {counted(len(found), 'finding')} repaired.")
    click.echo(
        counted(len(left), "finding") + (" left." if repaired else ".") if left else "Clean."
    )


def _as_json(finding: Finding, **more: bool) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "meaning": finding.meaning,
        "subject": finding.subject,
        "path": finding.path or None,
        "detail": finding.detail or None,
        **{name.removeprefix("is_"): value for name, value in more.items()},
    }


def _line(finding: Finding) -> str:
    detail = f" ({finding.detail})" if finding.detail else ""
    subject = finding.path or finding.subject
    return on_one_line(f"{finding.kind}: {subject}: {finding.meaning}{detail}")
