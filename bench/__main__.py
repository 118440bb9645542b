"""`python -m bench`: measure, print the tables and the ratios, keep them under docs/."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from bench.halves import HALVES, Half, Run
from bench.report import is_reached, save, section
from bench.rounds import Figures, measure
from tests.components.found import MissingComponent, locate

_PAGE = Path(__file__).parent.parent / "docs" / "benchmark.md"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=[half.key for half in HALVES], help="one half of it")
    parser.add_argument("--quick", action="store_true", help="one round of one second each")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--seconds", type=int, default=4, help="how long each rate is measured")
    parser.add_argument("--peers", nargs="*", help="words of the names of those to measure beside")
    parser.add_argument(
        "--save",
        type=Path,
        help=f"where the page is written, by default docs/{_PAGE.name}, after a quick run nowhere",
    )
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)  # so that no server is left over


def _run(half: Half, arguments: argparse.Namespace) -> tuple[Run, Figures]:
    rounds, seconds = (1, 1) if arguments.quick else (arguments.rounds, arguments.seconds)
    contenders, missing = half.find(arguments.peers)
    for sentence in missing:
        _say(f"left out: {sentence}")
    run = Run(half, contenders, missing, rounds, seconds)
    return run, measure(contenders, rounds, seconds, _say) if contenders else {}


def main() -> int:
    """Exit status 0: every required ratio was reached; 1: one was missed; 2: no load generator."""
    arguments = _arguments()
    try:
        locate("wrk"), locate("curl")
    except MissingComponent as absent:
        _say(str(absent))
        return 2
    signal.signal(signal.SIGTERM, _end)
    target = arguments.save or (None if arguments.quick else _PAGE)
    all_reached = True
    for half in HALVES:
        if arguments.only in (None, half.key):
            run, figures = _run(half, arguments)
            text = section(run, figures)
            print(text, flush=True)
            all_reached = all_reached and is_reached(half, figures)
            if target is not None:
                save(target, {half.title: text})
                _say(f"saved in {target}")
    return 0 if all_reached else 1


if __name__ == "__main__":
    sys.exit(main())
