"""The tables, the ratios that davstore has to reach, and the page that keeps them."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.halves import HALVES, Half, Run
from bench.loads import COLUMNS, CONNECTIONS, Column
from bench.mongo_tree import BARE
from bench.rounds import Figures, median

_HEAD = """# Benchmark

Written by `make bench`. Only the ratios within one run mean anything: the load comes from the
same machine, and another machine has other figures.

In both halves: PUT of 4 KiB to a new name each time, PROPFIND without a body (allprop),
PROPFIND 0 of a file, contents that do not compress, listed files whose type follows from their
names (some servers open each file otherwise, and are slower by far). Before each rate one answer
is read whole: it has the right status, length and number of resources; after a PUT the file is
read back. Before the upload of 512 MiB some memory is touched, as the host of a virtual machine
gives it page by page, which would be measured with whoever writes most copies.
"""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(head), "|" + "---|" * len(head), *(_row(row) for row in rows), ""]


def _number(value: float | None, column: Column) -> str:
    return "-" if value is None else f"{value:,.{column.digits}f}"


def figures_table(run: Run, figures: Figures) -> list[str]:
    """A line for each contender; with what it promises where that was said."""
    has_promises = any(contender.durability for contender in run.contenders)
    head = ["", *(column.title for column in COLUMNS), *(["durability"] * has_promises)]
    rows = [
        [
            f"{contender.name} ({contender.version})",
            *(_number(median(figures, contender.name, column), column) for column in COLUMNS),
            *([contender.durability] * has_promises),
        ]
        for contender in run.contenders
    ]
    return _table(head, rows)


def more_table(half: Half, figures: Figures) -> list[str]:
    """What only ours is measured in, beside the least that it can cost."""
    if not half.more:
        return []
    rows = [
        [name, *(_number(median(figures, name, column), column) for column in half.more)]
        for name in (half.ours, BARE)
    ]
    return _table(["", *(column.title for column in half.more)], rows)


def beside_table(run: Run, figures: Figures) -> list[str]:
    """Our figures as multiples of each peer's; above 1 ours is the better one."""
    rows = [
        [peer.name, *(_times(ratio(run.half, figures, peer.name, column)) for column in COLUMNS)]
        for peer in run.contenders
        if peer.name != run.half.ours
    ]
    return _table([f"{run.half.ours} is ... times", *(each.title for each in COLUMNS)], rows)


def ratio(half: Half, figures: Figures, peer: str, column: Column) -> float | None:
    ours, theirs = median(figures, half.ours, column), median(figures, peer, column)
    if not ours or not theirs:
        return None
    return ours / theirs if column.larger_is_better else theirs / ours


def _times(found: float | None) -> str:
    return "-" if found is None else f"{found:.2f}"


def verdicts(half: Half, figures: Figures) -> Iterator[tuple[list[str], bool | None]]:
    """Line by line what has to be reached, and whether it is; None: that was not measured."""
    for required in half.required:
        column = half.column(required.column)
        found = ratio(half, figures, required.peer, column)
        reached = None if found is None else found >= required.ratio
        cells = [column.title, required.peer, f"at least {required.ratio:g} x", _times(found)]
        yield cells, reached
    for limit in half.limits:
        column = half.column(limit.column)
        figure = median(figures, half.ours, column)
        reached = None if figure is None else figure <= limit.most
        yield [column.title, "-", f"at most {limit.most:g}", _number(figure, column)], reached


def required_table(half: Half, figures: Figures) -> list[str]:
    said = {None: "not measured", True: "reached", False: "**missed**"}
    rows = [[*cells, said[reached]] for cells, reached in verdicts(half, figures)]
    return _table(["what", "beside", "required", "measured", ""], rows)


def is_reached(half: Half, figures: Figures) -> bool:
    """Whether all that could be measured reaches what it has to."""
    return all(reached is not False for _, reached in verdicts(half, figures))


def section(run: Run, figures: Figures) -> str:
    """One half of the page, in Markdown."""
    rounds = "1 round" if run.rounds == 1 else f"{run.rounds} rounds in rotating order, medians"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"## {run.half.title}",
        "",
        f"- {today}, {os.cpu_count()} cores, Linux {platform.release().partition('-')[0]},"
        f" Python {platform.python_version()}",
        f"- {rounds}; wrk with {CONNECTIONS} connections"
        f" for {run.seconds} s each, curl for large files and for the folder of 10,000",
        *(f"- {note}" for note in run.half.notes),
        *(f"- left out: {sentence}" for sentence in run.missing),
        "",
        *figures_table(run, figures),
        *more_table(run.half, figures),
        f"### {run.half.title}: {run.half.ours} beside each",
        "",
        *beside_table(run, figures),
        f"### {run.half.title}: what has to be reached",
        "",
        *required_table(run.half, figures),
    ]
    return "\n".join(lines)


def page(measured: dict[str, str], before: str) -> str:
    """The whole page; a half that was not measured now (by title) stays as it was `before`."""
    found = re.split(r"^(?=## )", before, flags=re.MULTILINE)[1:]
    kept = {text.partition("\n")[0].removeprefix("## "): text.rstrip("\n") + "\n" for text in found}
    kept |= measured
    return "\n".join([_HEAD, *(kept[half.title] for half in HALVES if half.title in kept)])


def save(path: Path, measured: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(page(measured, before), encoding="utf-8")
