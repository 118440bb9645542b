"""The command line: which commands there are. What they do is in `davstore.commands`."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from davstore import __version__
from davstore.commands.configuration import fail

#: In the order in which help shows them: the module and the command in it are called alike.
_COMMANDS: Final = (
    *("serve", "check-config", "user"),
    *("put", "get", "ls", "mv", "cp", "rm"),
    *("import", "export", "fsck", "gc", "stats"),
    *("nodes", "nginx-config"),
)


class Commands(click.Group):
    """Loads a command when it is named: all of them together take a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        name = "import_" if cmd_name == "import" else cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"davstore.commands.{name}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="davstore", message="%(prog)s %(version)s")
def main() -> None:
    """Serve folders as network drives over WebDAV.

    Every setting can also be given in the environment: DAVSTORE_LISTEN__PORT is listen.port.
    The command line goes before the environment, that before the file, that before the defaults.
    """
    keep_standard_streams()
    end_as_asked()
    try:
        Path.cwd().stat()
    except OSError as error:
        fail(f"the working folder cannot be used: {error.strerror}; change to another one")


def keep_standard_streams() -> None:
    """Open on /dev/null what was closed when the process began (`>&-`).

    Its number would go to the next file that is opened, such as a database, and what is
    printed then into that file.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r"))


def end_as_asked() -> None:
    """Have TERM end process 1 as it ends any other.

    The kernel keeps from the first process of a container the signals that it has no handler
    for. A server has its own as soon as it serves.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
