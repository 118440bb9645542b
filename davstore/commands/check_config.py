"""`davstore check-config`: are the settings right, on this machine?"""

from __future__ import annotations

from pathlib import Path

import click

from davstore.auth.rules import build_authority
from davstore.commands.announcement import describe_shares, who_may_enter
from davstore.commands.configuration import configuration_file, faults_told
from davstore.commands.wording import on_one_line
from davstore.config import Config, load_config
from davstore.config.sources import FILE_VARIABLE
from davstore.errors import ConfigError
from davstore.plugins.consul import AgentError, agent_of
from davstore.plugins.identity import known_service_id
from davstore.plugins.twins import twins


@click.command("check-config")
@click.argument(
    "file", required=False, type=click.Path(path_type=Path), envvar=FILE_VARIABLE, metavar="[FILE]"
)
def check_config(file: Path | None) -> None:
    """Say everything that is wrong with the settings, or what they would serve.

    Reads FILE, else ./davstore.yaml where there is one, and the DAVSTORE_... variables.
    Nothing is created or changed. Where Consul is configured, it is asked whether another
    node has a folder share at the same path.

    Exit status: 0 right, 2 wrong.
    """
    with faults_told():
        file = configuration_file(file)
        config = load_config(file)
        build_authority(config)
        look_for_twins(config)
    click.echo(
        on_one_line(
            f"{file or 'The settings'}: right; serves {describe_shares(config)} at"
            f" {config.listen.host} port {config.listen.port} - {who_may_enter(config)}"
        )
    )


def look_for_twins(config: Config) -> None:
    """Raises ConfigError when another node announces a share that belongs to one node.

    Settings can be right without Consul, so that it cannot be asked is only told.
    """
    if config.consul is None:
        return
    try:
        faults = twins(config, config.consul, agent_of(config.consul), known_service_id(config))
    except AgentError as error:
        click.echo(
            f"davstore: not known whether other nodes have the same shares: {error}", err=True
        )
        return
    if faults:
        raise ConfigError(faults)
