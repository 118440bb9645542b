"""Measuring in rounds, so that a noisy moment of the machine hits everybody alike."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.checks import Refused
from bench.contenders import Contender, Served
from bench.layout import empty, lay_out
from bench.loads import LOADS, Column
from bench.mongo_tree import Key

#: By contender and load: one figure per round in which the load succeeded.
Figures = dict[Key, list[float]]


@dataclass(frozen=True)
class Place:
    """Where a run takes place: below `base`, with the content in `root`.

    `scratch` is in memory where that is possible; the file to upload lies there.
    """

    base: Path
    root: Path
    scratch: Path


@dataclass(frozen=True)
class Measuring:
    """The figures of one run so far, and where its progress goes."""

    seconds: int
    say: Callable[[str], None]
    figures: Figures = field(default_factory=dict)

    def keep(self, key: Key, figure: float) -> None:
        self.figures.setdefault(key, []).append(figure)


def measure(
    contenders: Sequence[Contender], rounds: int, seconds: int, say: Callable[[str], None]
) -> Figures:
    """Every load on every contender, `rounds` times; the order rotates from round to round."""
    run = Measuring(seconds, say)
    with tempfile.TemporaryDirectory(prefix="davstore-bench-") as name:
        base = Path(name)
        base.chmod(0o755)  # Apache and nginx serve as a user of their own
        lay_out(base / "root")
        memory = Path("/dev/shm")
        above = memory if memory.exists() else base
        with tempfile.TemporaryDirectory(prefix="davstore-bench-", dir=above) as scratch:
            place = Place(base, base / "root", Path(scratch))
            shutil.copyfile(place.root / "huge.bin", place.scratch / "huge.bin")
            for number in range(rounds):
                turn = number % len(contenders)
                for contender in [*contenders[turn:], *contenders[:turn]]:
                    say(f"round {number + 1} of {rounds}: {contender.name}")
                    _measure_one(contender, place, run)
    return run.figures


def _measure_one(contender: Contender, place: Place, run: Measuring) -> None:
    empty(place.root / "put")
    home = Path(tempfile.mkdtemp(prefix="home-", dir=place.base))
    try:
        with contender.make(home, place.root) as server:
            try:
                _fill(contender, server, place, run)
            except Refused as refused:
                run.say(f"  left out in this round: {refused}")
            else:
                _all_loads(contender, server, place, run)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _fill(contender: Contender, server: Served, place: Place, run: Measuring) -> None:
    if contender.fill is not None:
        start = time.monotonic()
        contender.fill(server.url, place.root)
        run.say(f"  uploaded in {time.monotonic() - start:.0f} s")


def _all_loads(contender: Contender, server: Served, place: Place, run: Measuring) -> None:
    for load in LOADS:
        os.sync()  # nobody pays for what another one wrote
        try:
            figure = load.measure(server.url, place.scratch, run.seconds)
        except Refused as refused:
            run.say(f"  {load.column.title}: {refused}")
        else:
            run.keep((contender.name, load.column.key), figure)
            run.say(f"  {load.column.title}: {figure:,.{load.column.digits}f}")
    if contender.more is not None:
        try:
            for key, figure in contender.more(server, place.scratch).items():
                run.keep(key, figure)
                run.say(f"  {': '.join(key)}: {figure:,.1f}")
        except Refused as refused:
            run.say(f"  {refused}")


def median(figures: Figures, contender: str, column: Column) -> float | None:
    """The median over the rounds; None when the load never succeeded."""
    found = figures.get((contender, column.key))
    return statistics.median(found) if found else None
