"""`davstore nginx-config`: nginx's list of nodes, written from Consul."""

from __future__ import annotations

import logging
import queue
import re
import shlex
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from davstore.commands.configuration import (
    FAILED,
    config_option,
    configuration_file,
    fail,
    faults_told,
)
from davstore.commands.nodes import configured_discovery
from davstore.commands.upstream import (
    NotTaken,
    NoUsableNode,
    UpstreamFile,
    find_nginx,
    upstream_text,
)
from davstore.config import read_config
from davstore.discovery import Discovery, DiscoveryError, Node
from davstore.logs import setup_logging
from davstore.plugins.occasionally import Occasionally

_log = logging.getLogger(__name__)

#: Seconds until what nginx did not take is tried again.
_RETRY = 5.0


def _upstream_name(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z_-]+", name):
        raise click.BadParameter("is no name for an upstream: letters, digits, - and _ only")
    return name


@click.command("nginx-config")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file that nginx includes. [default: standard output]",
)
@click.option("--watch", is_flag=True, help="Write FILE again and reload nginx at each change.")
@click.option(
    "--reload",
    "reload_command",
    metavar="COMMAND",
    help="What has nginx read FILE again. [default with --watch: nginx -s reload]",
)
@click.option("--consul", metavar="URL", help="The agent to ask. [default: the settings' one]")
@click.option(
    "--service-name", metavar="NAME", help="The service. [default: the settings' one, datastorage]"
)
@click.option(
    "--upstream",
    metavar="NAME",
    default="davstore",
    show_default=True,
    callback=_upstream_name,
    help="The upstream's name in nginx.",
)
@config_option
def nginx_config(
    *,
    output: Path | None,
    watch: bool,
    reload_command: str | None,
    consul: str | None,
    service_name: str | None,
    upstream: str,
    config_file: Path | None,
) -> None:
    """Write the upstream list of nginx: the healthy nodes of a service, as Consul knows them.

    nginx judges the list before FILE is replaced, where nginx is on this machine. While Consul
    is away, or lists no healthy node, FILE stays as it is: nginx takes no empty list.

    A token for Consul is read from consul.token of the settings (DAVSTORE_CONSUL__TOKEN).

    Exit status: 0 written, or told to stop (SIGTERM, SIGINT); 1 it could not be done, and FILE
    is as it was; 2 wrong settings.
    """
    discovery = configured_discovery(config_file, consul, service_name)
    command = _command(reload_command, watch=watch)
    if output is None:
        if watch or command is not None:
            raise click.UsageError("--watch and --reload need --output FILE")
        click.echo(_text_now(discovery, upstream), nl=False)
        return
    file = UpstreamFile(output.absolute(), find_nginx(), command)
    if watch:
        with faults_told():
            setup_logging(read_config(configuration_file(config_file)).log)
        _watch(discovery, upstream, file)
    try:
        is_new = file.bring(_text_now(discovery, upstream))
    except (NotTaken, OSError) as error:
        fail(f"{output}: {error}")
    click.echo(f"{output}: {'written' if is_new else 'is as it was'}")


def _command(text: str | None, *, watch: bool) -> Sequence[str] | None:
    if text is None:
        return [str(find_nginx() or "nginx"), "-s", "reload"] if watch else None
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise click.UsageError(f"--reload: {error}") from None
    if not words:
        raise click.UsageError("--reload needs a command")
    return words


def _text_now(discovery: Discovery, upstream: str) -> str:
    try:
        return upstream_text(discovery.ask(), upstream)
    except (DiscoveryError, NoUsableNode) as error:
        fail(str(error))


def _watch(discovery: Discovery, upstream: str, file: UpstreamFile) -> NoReturn:
    """Follow Consul until told to stop. A thread asks, so that what failed is tried again here."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    changes: queue.SimpleQueue[list[Node] | None] = queue.SimpleQueue()
    threading.Thread(target=_ask, args=(discovery, changes), daemon=True).start()
    complaint = Occasionally(_log)
    wanted: str | None = None
    is_behind = False
    while True:
        try:
            nodes = changes.get(timeout=_RETRY if is_behind else None)
        except queue.Empty:
            pass
        else:
            if nodes is None:
                raise click.exceptions.Exit(FAILED)
            wanted = _wanted(nodes, upstream) or wanted
        is_behind = wanted is not None and not _bring(file, wanted, complaint)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """What is half done is put right by the next run (see UpstreamFile)."""
    raise SystemExit(0)


def _ask(discovery: Discovery, changes: queue.SimpleQueue[list[Node] | None]) -> None:
    try:
        for nodes in discovery.watch():
            changes.put(nodes)
    finally:
        changes.put(None)  # only an error of the program ends the watch


def _wanted(nodes: list[Node], upstream: str) -> str | None:
    try:
        text = upstream_text(nodes, upstream)
    except NoUsableNode as error:
        _log.warning("%s: the last list stays", error)
        return None
    _log.info("%d healthy nodes: %s", len(nodes), ", ".join(node.address for node in nodes))
    return text


def _bring(file: UpstreamFile, text: str, complaint: Occasionally) -> bool:
    """Whether nginx has the list now."""
    try:
        if file.bring(text):
            _log.info("%s: nginx has the new list", file.path)
    except (NotTaken, OSError) as error:
        complaint.warn("%s: nginx does not have the new list: %s", file.path, error)
        return False
    complaint.over()
    return True
