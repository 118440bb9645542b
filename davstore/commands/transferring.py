"""What `import` and `export` have in common: options, progress, how they end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import click

from davstore.commands.configuration import config_option
from davstore.commands.opening import OpenShare, could_not_run
from davstore.commands.wording import in_words, on_one_line
from davstore.config import FolderShare
from davstore.errors import StoreError
from davstore.transfer.tally import Stopped, Tally, Total

#: Exit status: some files were left out, or it was stopped.
INCOMPLETE = 1

#: Seconds between two changes of the bar.
_BEAT = 0.2

_Command = TypeVar("_Command", bound=Callable[..., None])


class Work(Protocol):
    """An Import or an Export."""

    def count(self) -> Total: ...
    def run(self, tick: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


def transfer_options(command: _Command) -> _Command:
    """The options of both commands."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
        click.option(
            "--checksum",
            is_flag=True,
            help="Compare what is there already by content, not by size and time.",
        ),
        click.option(
            "--jobs",
            metavar="N",
            type=click.IntRange(1, 64),
            default=4,
            show_default=True,
            help="How many files are transferred at once.",
        ),
        config_option,
    ):
        command = option(command)
    return command


def must_be_apart(share: OpenShare, folder: Path) -> None:
    """End the command where one of the two lies in the other: a transfer would find its own."""
    settings = share.config.shares[share.mount]
    if not isinstance(settings, FolderShare):
        return
    root, own = Path(os.path.realpath(settings.root)), Path(os.path.realpath(folder))
    if root.is_relative_to(own) or own.is_relative_to(root):
        could_not_run(
            f"{folder} and the folder {settings.root} that the share {share.mount} serves are,"
            " or lie in, one another."
        )


def carry_out(share: OpenShare, make: Callable[[Tally], Work], *, as_json: bool, done: str) -> None:
    """Do the work, with a bar on a terminal, and end the command with its status.

    `done` is what the summary begins with, "Imported". Nothing has to be tidied up when the
    process dies: the next run goes on.
    """
    tally = Tally()
    began = time.monotonic()
    try:
        work = make(tally)
    except OSError as error:
        could_not_run(f"{error.filename}: {error.strerror}")
    try:
        with _stopped_by_signals(tally), _progress(work, tally, done) as tick:
            work.run(tick)
    except Stopped:
        pass
    except StoreError as error:
        could_not_run(share.sentence(error))
    finally:
        work.close()
    _tell(tally, as_json, done, time.monotonic() - began)
    if tally.left_out or tally.stopped:
        raise click.exceptions.Exit(INCOMPLETE)


@contextmanager
def _stopped_by_signals(tally: Tally) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the work between two pieces; a second one kills."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        tally.stop("by a signal")
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _progress(work: Work, tally: Tally, done: str) -> Iterator[Callable[[], None]]:
    """What is to be called now and then; on a terminal it moves a bar."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    click.echo("Counting ...\r", nl=False, err=True)
    total = work.count()
    shown = 0
    last = 0.0
    progress: AbstractContextManager[Any] = click.progressbar(
        length=total.files + total.bytes,
        label=done,
        file=sys.stderr,
        width=20,
        item_show_func=lambda _: _position(tally.seen, total),
    )
    with progress as bar:

        def tick(beat: float = _BEAT) -> None:
            nonlocal shown, last
            if time.monotonic() - last >= beat:
                last = time.monotonic()
                seen = sum(tally.seen)
                bar.update(seen - shown)
                shown = seen

        yield tick
        tick(0)


def _position(seen: Total, total: Total) -> str:
    return f"{seen.files} of {total.files} files, {in_words(seen.bytes)} of {in_words(total.bytes)}"


def _tell(tally: Tally, as_json: bool, done: str, seconds: float) -> None:
    if as_json:
        click.echo(
            json.dumps(
                {
                    "files": tally.files,
                    "bytes": tally.bytes,
                    "there": tally.there,
                    "folders": tally.folders,
                    "left_out": [omission._asdict() for omission in tally.left_out],
                    "stopped": tally.stopped,
                    "seconds": round(seconds, 3),
                }
            )
        )
        return
    for path, reason in tally.left_out:
        click.echo(on_one_line(f"davstore: left out: {path}: {reason}"), err=True)
    if tally.stopped:
        sentence = f"stopped ({tally.stopped}); run the same command again to go on."
        click.echo(f"davstore: {sentence}", err=True)
    click.echo(
        f"{done} {_counted(tally.files, 'file')} ({in_words(tally.bytes)}) in {seconds:.1f} s;"
        f" {_counted(tally.there, 'file')} there already,"
        f" {_counted(tally.folders, 'folder')} made, {len(tally.left_out)} left out."
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
