"""What the commands that talk to a running davstore have in common: addresses, credentials,
progress, how they end.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self
from urllib.parse import SplitResult, unquote, urlsplit

import click

from davstore import paths
from davstore.client import Client, ClientError, InFolder, NotFound, Progress
from davstore.commands.configuration import FAILED
from davstore.commands.wording import in_words, on_one_line
from davstore.config.values import mounted_prefix
from davstore.discovery import Discovery
from davstore.errors import InvalidName

#: Exit status: what was asked for cannot be understood, and nothing was begun.
COULD_NOT_BEGIN = 2

#: Where Consul's agent usually listens.
_AGENT = "http://127.0.0.1:8500"

#: Seconds between two changes of a bar.
_BEAT = 0.2


class Options(NamedTuple):
    """How a server is reached."""

    user: str | None
    rest_prefix: str
    consul: str


class Remote(NamedTuple):
    """A path of the tree of one davstore."""

    #: "http://host:port" or "consul://SERVICE", without user and password.
    place: str
    auth: tuple[str, str] | None
    path: str
    #: Whether the address ended in a slash: then a folder is meant.
    has_slash: bool

    def __str__(self) -> str:
        return self.place + paths.to_href(self.path)


def remote_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of all these commands; they become one parameter, `options`."""

    @wraps(command)
    def run(user: str | None, rest_prefix: str, consul: str, **others: Any) -> None:
        command(options=_options(user, rest_prefix, consul), **others)

    for option in (
        click.option(
            "--consul",
            metavar="URL",
            default=_AGENT,
            show_default=True,
            envvar="DAVSTORE_CONSUL__URL",
            help="The agent that is asked for consul://SERVICE/PATH.",
        ),
        click.option(
            "--rest-prefix",
            metavar="PATH",
            default="/filestorage",
            show_default=True,
            help="Where the server has its REST face (rest.prefix of its settings).",
        ),
        click.option(
            "--user", metavar="NAME", help="Ask for the password of this user. [default: ~/.netrc]"
        ),
    ):
        run = option(run)
    return run


def _options(user: str | None, rest_prefix: str, consul: str) -> Options:
    try:
        return Options(user, mounted_prefix(rest_prefix), consul)
    except ValueError as error:
        could_not_begin(f"--rest-prefix {error}")


def parse(text: str) -> Remote:
    """Of an address as it is in a browser, or of consul://SERVICE/PATH.

    Ends the command with status 2 when it is none.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        could_not_begin(f"an address cannot be understood: {error}")
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https", "consul") or not host:
        could_not_begin(
            f"{_without_user(parts)} is no address; it has to be like http://host:port/path"
            " or consul://service/path"
        )
    if parts.query or parts.fragment:
        sign, code = ("?", "%3F") if parts.query else ("#", "%23")
        could_not_begin(f"in an address, the {sign} of a file's name is written {code}")
    if "%2f" in parts.path.lower():
        could_not_begin(f"{_without_user(parts)}: a name cannot hold a slash (%2F)")
    try:
        path = paths.normalise(unquote(parts.path, errors="surrogateescape"))
    except InvalidName as error:
        could_not_begin(f"{_without_user(parts)}: {error.detail}")
    auth = None
    if parts.username is not None:
        auth = (unquote(parts.username), unquote(parts.password or ""))
    return Remote(f"{parts.scheme}://{host}", auth, path, parts.path.endswith("/"))


def _without_user(parts: SplitResult) -> str:
    return on_one_line(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() or "''")


def client_of(remote: Remote, options: Options) -> Client:
    """To be closed by the caller. Asks for a password where the options, or the address, want."""
    scheme, _, host = remote.place.partition("://")
    try:
        return Client(
            Discovery(options.consul, host) if scheme == "consul" else remote.place,
            auth=_credentials(remote, options),
            rest_prefix=options.rest_prefix,
            unfinished=InFolder(_state_folder()),
        )
    except (ClientError, ValueError) as error:
        could_not_begin(str(error))


class Clients:
    """One for each server and user, however many addresses there are. A context manager."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stack = ExitStack()
        self._known: dict[tuple[str, tuple[str, str] | None], Client] = {}

    def of(self, remote: Remote) -> Client:
        """As `client_of`; closed with all others."""
        key = remote.place, remote.auth
        if key not in self._known:
            self._known[key] = self._stack.enter_context(client_of(remote, self._options))
        return self._known[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _credentials(remote: Remote, options: Options) -> tuple[str, str] | None:
    user, password = remote.auth or (None, "")
    user = options.user or user
    if user is None:
        return None
    if not password or options.user is not None:
        if not sys.stdin.isatty():
            could_not_begin(f"the password of {user} is asked for on a terminal, or is in ~/.netrc")
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return user, password


def _state_folder() -> Path:
    """For uploads that were begun (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path("~/.local/state").expanduser()) / (
        "davstore/uploads"
    )


def _must_be_of_one(source: Remote, target: Remote) -> None:
    if (source.place, source.auth) != (target.place, target.auth):
        could_not_begin("both addresses have to be of the same server; use get and put otherwise")


def is_folder(client: Client, remote: Remote) -> bool:
    """Whether a folder is meant: one is there, or the address ends in a slash."""
    if remote.has_slash:
        return True
    try:
        return client.stat(remote.path).is_folder
    except NotFound:
        return False


def _destination(client: Client, source: Remote, target: Remote) -> str:
    """The path that what is at `source` gets: within `target` when that is a folder."""
    if is_folder(client, target):
        return paths.join(target.path, paths.name(source.path))
    return target.path


def could_not_begin(sentence: str) -> NoReturn:
    """End the command with status 2 and one sentence."""
    complain(sentence)
    raise click.exceptions.Exit(COULD_NOT_BEGIN)


def complain(sentence: str) -> None:
    click.echo(on_one_line(f"davstore: {sentence.removesuffix('.')}"), err=True)


class Outcome:
    """Of a command that does several things: one that fails does not keep the others."""

    def __init__(self) -> None:
        self.failed = False

    @contextmanager
    def of(self, what: object) -> Iterator[None]:
        """What fails within is told, with what it was about."""
        try:
            yield
        except BrokenPipeError:
            raise  # whoever reads what is printed has seen enough; click ends without a word
        except ClientError as error:
            self._fail(f"{what}: {error}")
        except OSError as error:
            is_other = error.filename is not None and str(error.filename) != str(what)
            where = f"{error.filename}: " if is_other else ""
            self._fail(f"{what}: {where}{error.strerror or error}")

    def _fail(self, sentence: str) -> None:
        self.failed = True
        complain(sentence)

    def end(self) -> None:
        """End the command with status 1 when something failed."""
        if self.failed:
            raise click.exceptions.Exit(FAILED)


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """On a terminal: what moves a bar. It goes back when something has to be sent again."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = 0
    last = 0.0
    bar: Any = click.progressbar(
        length=1,
        label=on_one_line(label),
        file=sys.stderr,
        width=20,
        item_show_func=lambda _: f"{in_words(shown)} of {in_words(bar.length)}" if last else None,
    )

    def move(done: int, size: int) -> None:
        nonlocal shown, last
        now = time.monotonic()
        if done < size and now - last < _BEAT:
            return
        last = now
        bar.length = size
        step, shown = done - shown, done
        bar.update(step)

    with bar:
        yield move


def transfer(
    source: str, target: str, options: Options, carry_out: Callable[[Client, str, str], object]
) -> None:
    """Have what is at one address be at the other: `carry_out(client, path, destination)`."""
    one, other = parse(source), parse(target)
    _must_be_of_one(one, other)
    outcome = Outcome()
    with client_of(one, options) as client, outcome.of(one):
        carry_out(client, one.path, _destination(client, one, other))
    outcome.end()
