"""What the commands have in common: which configuration file, and how its faults are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from davstore.config.sources import FILE_VARIABLE
from davstore.errors import ConfigError

#: Read when no other file is named and it is there.
DEFAULT_FILE = Path("davstore.yaml")

#: Exit status: the settings are wrong.
WRONG_SETTINGS = 2

#: Exit status: the settings are right, and still it could not be done.
FAILED = 1


#: The option of every command that reads a configuration.
config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar=FILE_VARIABLE,
    show_envvar=True,
    help="The configuration file. [default: ./davstore.yaml, where there is one]",
)


def configuration_file(given: Path | None) -> Path | None:
    """The file to read: the one that was named, else ./davstore.yaml, else none."""
    if given is None and DEFAULT_FILE.exists():
        return DEFAULT_FILE
    return given


@contextmanager
def faults_told() -> Iterator[None]:
    """End the command with status 2 and every fault of the settings, one to a line."""
    try:
        yield
    except ConfigError as error:
        for fault in error.faults:
            click.echo(f"davstore: {fault}", err=True)
        raise click.exceptions.Exit(WRONG_SETTINGS) from None


def fail(sentence: str) -> NoReturn:
    """End the command with status 1 and one sentence."""
    click.echo(f"davstore: {sentence}", err=True)
    raise click.exceptions.Exit(FAILED)
