"""`davstore serve`: what all the rest is for."""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from davstore.app import build_app, run_housekeeping
from davstore.auth.rules import build_authority
from davstore.commands.announcement import announcement
from davstore.commands.configuration import config_option, configuration_file, faults_told
from davstore.commands.embedded import embedded_running
from davstore.commands.listening import Sockets, addresses_of, open_sockets
from davstore.commands.rehearsing import prepare_folders, rehearse
from davstore.commands.reloading import ConfigRenewal, embedded_addresses
from davstore.config import Config, load_config
from davstore.dav.app import before_fork
from davstore.logs import AccessLog, setup_logging
from davstore.server.plan import Plan, Renewal
from davstore.server.settings import ServerSettings
from davstore.server.supervisor import Supervisor
from davstore.server.systemd import Notifier, inherited_sockets

_log = logging.getLogger(__name__)


@click.command()
@config_option
@click.option(
    "--root",
    metavar="DIR",
    help="Serve this folder at /, and none of the shares that the configuration names.",
)
@click.option(
    "--mongo",
    metavar="URI",
    help="Serve the tree in this MongoDB at / (mongodb://host:port/database, or embedded:DIR for"
    " a private one with its data in DIR); with --root as well, the tree at /tree and the folder"
    " at /files.",
)
@click.option("--host", metavar="H", help="The address to listen on. [default: 127.0.0.1]")
@click.option("--port", metavar="P", help="The port; 0 takes any free one. [default: 8080]")
@click.option("--workers", metavar="N", help="Worker processes. [default: one per core]")
@click.option(
    "--state",
    metavar="DIR",
    help="The folder for locks and properties. [default: ./state beside the configuration"
    " file; with --root, a folder under ~/.local/state/davstore]",
)
@click.option(
    "--admin-port",
    metavar="P",
    help="Answer /healthz, /readyz and /metrics at this port; 0 takes any free one.",
)
@click.option(
    "--consul", metavar="URL", help="Register with the Consul agent at this address (http://...)."
)
@click.option(
    "--service-name", metavar="NAME", help="The name to register under. [default: datastorage]"
)
@click.option(
    "--advertise", metavar="HOST:PORT", help="Where others reach this node. [default: found out]"
)
@click.option(
    "--anonymous", is_flag=True, help="Let everybody in, also from other machines, without users."
)
def serve(
    *,
    config_file: Path | None,
    root: str | None,
    mongo: str | None,
    host: str | None,
    port: str | None,
    workers: str | None,
    state: str | None,
    admin_port: str | None,
    consul: str | None,
    service_name: str | None,
    advertise: str | None,
    anonymous: bool,
) -> None:
    """Serve the configured shares until the process is told to stop (SIGTERM, SIGINT).

    Without any option this reads ./davstore.yaml; where there is none, it serves ./data,
    which it makes if need be, to this machine only.

    One line on standard output says that it answers now; logs go to standard error.

    Exit status: 0 stopped as asked, 1 it could not be started (the port is taken, ...),
    2 wrong settings, all of which are told.
    """
    overrides: dict[str, Any] = {
        "shares": _given_shares(root, mongo),
        "listen.host": host,
        "listen.port": port,
        "workers": workers,
        "state": state,
        "admin.port": admin_port,
        "consul.url": consul,
        "consul.service": service_name,
        "consul.advertise": advertise,
        "auth.anonymous": anonymous or None,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    # To be asked to reload before it serves is no reason to end: it reads the settings just now.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    notifier = Notifier.from_environment()
    file = configuration_file(config_file)
    with faults_told():
        inherited = inherited_sockets()
        given |= addresses_of(inherited)
        asked = load_config(file, given)
        # The workers build their own; here a faulty file of users is told before anything starts.
        build_authority(asked)
        prepare_folders(asked)
    with embedded_running(asked) as config:
        rehearse(config)
        setup_logging(config.log)
        with faults_told():
            sockets = open_sockets(config, inherited)
        mongods = embedded_addresses(asked, config)
        renewal = ConfigRenewal(file, given, config, mongods, make_plan)
        status = run(config, sockets, renewal, notifier)
    raise click.exceptions.Exit(status)


def _given_shares(root: str | None, mongo: str | None) -> dict[str, Any] | None:
    """The shares that the command line names, which are then the only ones."""
    shares: dict[str, Any] = {}
    if root is not None:
        shares["/" if mongo is None else "/files"] = {"store": "folder", "root": root}
    if mongo is not None:
        shares["/" if root is None else "/tree"] = {"store": "mongo", "uri": mongo}
    return shares or None


def run(config: Config, sockets: Sockets, renewal: Renewal, notifier: Notifier) -> int:
    """Serve until told to stop. Returns the exit status of the process."""
    before_fork()
    return Supervisor(
        make_plan(config),
        on_ready=lambda address: _announce(config, address[1], sockets.admin_port),
        on_stage=notifier,
        listener=sockets.files,
        outlives=sockets.outlives,
        admin=sockets.admin,
        renewal=renewal,
    ).run()


def make_plan(config: Config) -> Plan:
    """What the children do with this configuration."""
    return Plan(
        server_settings(config),
        partial(build_app, config),
        housekeeping=partial(run_housekeeping, config),
        access_log=AccessLog(config.log.format, sys.stderr).write if config.log.access else None,
        begin=partial(setup_logging, config.log),
        known_as=(config.consul.url, config.state) if config.consul is not None else None,
    )


def _announce(config: Config, port: int, admin_port: int | None) -> None:
    """Print the line; that nobody can read it (pipe closed, disk full) is no reason to stop."""
    line = announcement(config, port, admin_port)
    try:
        click.echo(line)
    except OSError as error:
        _log.warning("%s (standard output: %s)", line, error.strerror)
        # What is left in the stream's buffer has to go somewhere when a process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def server_settings(config: Config) -> ServerSettings:
    limits = config.limits
    return ServerSettings(
        host=config.listen.host,
        port=config.listen.port,
        workers=config.workers,
        header_bytes=limits.header_bytes,
        header_timeout=limits.header_timeout,
        idle_timeout=limits.idle_timeout,
        body_timeout=limits.body_timeout,
        min_rate=limits.min_rate,
        rate_grace=limits.rate_grace,
        connections=limits.connections,
        threads=limits.threads,
        drain_timeout=limits.drain_timeout,
        tls_certificate=str(config.tls.certificate) if config.tls else None,
        tls_key=str(config.tls.key) if config.tls else None,
    )
