"""`davstore nodes`: the nodes of a service, as Consul lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from davstore.commands.configuration import (
    config_option,
    configuration_file,
    faults_told,
)
from davstore.commands.wording import on_one_line
from davstore.config import read_config
from davstore.discovery import Discovery, DiscoveryError, Node

#: Exit status: Consul was asked, and there is no healthy node.
NONE_HEALTHY = 1

#: Exit status: Consul could not be asked.
COULD_NOT_ASK = 2


@click.command()
@click.option("--all", "wants_all", is_flag=True, help="List those that are not healthy as well.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.option("--consul", metavar="URL", help="The agent to ask. [default: the settings' one]")
@click.option(
    "--service-name", metavar="NAME", help="The service. [default: the settings' one, datastorage]"
)
@config_option
def nodes(
    *,
    wants_all: bool,
    as_json: bool,
    consul: str | None,
    service_name: str | None,
    config_file: Path | None,
) -> None:
    """List the healthy nodes of a service, as Consul knows them now.

    A token for Consul is read from consul.token of the settings (DAVSTORE_CONSUL__TOKEN).

    Exit status: 0 there is a healthy node, 1 there is none, 2 Consul could not be asked.
    """
    discovery = configured_discovery(config_file, consul, service_name)
    try:
        found = discovery.ask(healthy=not wants_all)
    except DiscoveryError as error:
        click.echo(f"davstore: {error}", err=True)
        raise click.exceptions.Exit(COULD_NOT_ASK) from None
    if as_json:
        click.echo(json.dumps([_as_json(node) for node in found]))
    elif found:
        for line in _table(found):
            click.echo(on_one_line(line))
    if not any(node.is_healthy for node in found):
        raise click.exceptions.Exit(NONE_HEALTHY)


def configured_discovery(
    config_file: Path | None, consul: str | None, service_name: str | None
) -> Discovery:
    """What asks for the service that the settings and these options name.

    Ends the command with status 2 when they are wrong, or name no agent.
    """
    given = {"consul.url": consul, "consul.service": service_name}
    overrides = {key: value for key, value in given.items() if value is not None}
    with faults_told():
        settings = read_config(configuration_file(config_file), overrides).consul
    if settings is None:
        click.echo(
            "davstore: the settings name no Consul agent; set consul.url, or give --consul URL"
            " (http://127.0.0.1:8500 is usual)",
            err=True,
        )
        raise click.exceptions.Exit(COULD_NOT_ASK)
    token = settings.token.get_secret_value() if settings.token else None
    return Discovery(settings.url, settings.service, token=token, timeout=settings.timeout)


def _as_json(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "url": node.url(),
        "host": node.host,
        "port": node.port,
        "scheme": node.scheme,
        "status": node.status,
        "shares": list(node.shares),
        "tags": list(node.tags),
    }


def _table(found: list[Node]) -> list[str]:
    rows = [("URL", "STATUS", "VERSION", "SHARES", "ID")]
    rows += [
        (node.url(), node.status, node.version or "-", " ".join(node.shares) or "-", node.id)
        for node in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
