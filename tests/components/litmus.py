"""litmus, the WebDAV compliance suite, and a strict reading of what it prints."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.components.found import require

SUITES = ("basic", "copymove", "props", "locks", "http")

_BEGIN = re.compile(r"^-> running `(\w+)':")
_TEST = re.compile(r"^\s*\d+\. (\w+)\.* ?(.*)$")
_SUMMARY = re.compile(
    r"^<- summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed\. ([\d.]+)%"
)


@dataclass
class Suite:
    """One suite's outcome. `remarks` are its lines with a failure, a warning or a skip."""

    name: str
    run: int = 0
    passed: int = 0
    failed: int = 0
    summed_up: bool = False
    remarks: list[str] = field(default_factory=list)

    @property
    def is_perfect(self) -> bool:
        return self.summed_up and self.run == self.passed > 0 and not self.remarks


@dataclass
class Report:
    suites: list[Suite]
    output: str
    status: int

    @property
    def is_perfect(self) -> bool:
        """Every suite ran to its end, all passed, and nobody warned."""
        names = tuple(suite.name for suite in self.suites)
        return self.status == 0 and names == SUITES and all(s.is_perfect for s in self.suites)

    def table(self) -> str:
        lines = [f"{'suite':10} {'run':>4} {'passed':>7} {'failed':>7}  remarks"]
        for suite in self.suites:
            counts = f"{suite.name:10} {suite.run:4} {suite.passed:7} {suite.failed:7}"
            lines.append(f"{counts}  {len(suite.remarks)}")
            lines += [f"    {remark}" for remark in suite.remarks]
        return "\n".join(lines)


def read(output: str) -> list[Suite]:
    """The suites in litmus' output. A line that is neither a pass nor known is a remark."""
    suites: list[Suite] = []
    for printed in output.split("\n"):
        line = printed.rpartition("\r")[2]  # a result overwrites the line of its test
        begin, summary, test = _BEGIN.match(line), _SUMMARY.match(line), _TEST.match(line)
        if begin:
            suites.append(Suite(begin[1]))
        elif not suites or not line.strip():
            continue
        elif summary:
            suite = suites[-1]
            suite.run, suite.passed, suite.failed = (int(summary[i]) for i in (2, 3, 4))
            suite.summed_up = summary[5] == "100.0" or suite.failed > 0
        elif not (test and test[2] == "pass"):
            suites[-1].remarks.append(line.strip())
    return suites


def run(url: str, folder: Path, user: str | None = None, password: str | None = None) -> Report:
    """Run every suite against `url`; litmus' debug log is left in `folder`."""
    argv = [str(require("litmus")), "-k", url]
    if user is not None and password is not None:
        argv += [user, password]
    done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=300, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    return Report(read(output), output, done.returncode)
