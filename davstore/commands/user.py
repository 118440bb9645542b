"""`davstore user`: who may log in."""

from __future__ import annotations

import getpass
import sys
import warnings
from pathlib import Path

import click

from davstore.auth import users
from davstore.commands.configuration import (
    WRONG_SETTINGS,
    config_option,
    configuration_file,
    fail,
    faults_told,
)
from davstore.config import read_config

_users_option = click.option(
    "--users",
    "users_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file of users. [default: auth.users of the configuration]",
)


@click.group()
def user() -> None:
    """Add, remove and list the users in a file.

    A running server sees a change within a second.

    Exit status: 0 done, 1 it could not be done, 2 wrong settings.
    """


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@_users_option
@config_option
def add(
    name: str, *, password_stdin: bool, users_file: Path | None, config_file: Path | None
) -> None:
    """Add the user NAME, or give NAME a new password."""
    file = _users_file(users_file, config_file)
    if fault := users.name_fault(users.normal_name(name)):
        fail(fault)
    password = _password_from_stdin() if password_stdin else _password_from_prompt()
    if not password:
        fail("A password cannot be empty.")
    try:
        is_new = users.set_password(file, name, password)
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}")
    click.echo(f"{name} was added." if is_new else f"{name} has a new password.")


@user.command()
@click.argument("name")
@_users_option
@config_option
def remove(name: str, *, users_file: Path | None, config_file: Path | None) -> None:
    """Remove the user NAME."""
    file = _users_file(users_file, config_file)
    try:
        found = users.remove_user(file, name)
    except OSError as error:
        fail(f"{file}: cannot be changed: {error.strerror}")
    if not found:
        fail(f"There is no user {name} in {file}.")
    click.echo(f"{name} was removed.")


@user.command("list")
@_users_option
@config_option
def list_users(*, users_file: Path | None, config_file: Path | None) -> None:
    """Print the names of the users, one to a line."""
    file = _users_file(users_file, config_file)
    try:
        found = users.UserFile(file).users()
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}")
    for name in sorted(found.hashes):
        click.echo(name)
    for fault in found.faults:
        click.echo(f"davstore: {file}, {fault}", err=True)
    if found.faults:
        raise click.exceptions.Exit(1)


def _users_file(users_file: Path | None, config_file: Path | None) -> Path:
    if users_file is not None:
        return users_file
    with faults_told():
        config = read_config(configuration_file(config_file))
    if config.auth.users is None:
        click.echo(
            "davstore: the configuration names no file of users (auth.users); use --users",
            err=True,
        )
        raise click.exceptions.Exit(WRONG_SETTINGS)
    return config.auth.users


def _password_from_prompt() -> str:
    with warnings.catch_warnings():
        # Without a terminal getpass would warn, and show what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
        except (getpass.GetPassWarning, click.Abort):
            fail("No password was given. Without a terminal, use --password-stdin.")


def _password_from_stdin() -> str:
    """The first line, without its end."""
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        fail("The password is not UTF-8.")
