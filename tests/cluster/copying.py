"""rclone copying in the background, and what nginx's access log tells of its uploads."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components.processes import wait_until

_LINE = re.compile(r'"(PUT|DELETE) (/copy/\S+) HTTP/1\.1" (\d{3}) ')


def make_files(top: Path, count: int, seed: int = 4) -> None:
    """`count` files of 1 to 20 KiB in twenty folders."""
    dice = random.Random(seed)
    for number in range(count):
        folder = top / f"folder-{number % 20}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.bin").write_bytes(dice.randbytes(dice.randint(1 << 10, 20 << 10)))


class Uploads:
    """What was answered to the PUTs below /copy/, by nginx's access log."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def _lines(self) -> Iterator[tuple[str, str, int]]:
        for method, path, status in _LINE.findall(self._log.read_text()):
            yield method, path, int(status)

    def statuses(self) -> Counter[int]:
        return Counter(status for method, _, status in self._lines() if method == "PUT")

    def acknowledged(self) -> set[str]:
        """The paths of all files whose upload was answered with success."""
        return {path for method, path, status in self._lines() if method == "PUT" and status < 300}

    def lost(self) -> list[str]:
        """Paths of acknowledged files that were not there any more, as a later upload created them
        although nobody had deleted them. rclone deletes what it could not upload."""
        there: set[str] = set()
        found = []
        for method, path, status in self._lines():
            if method == "DELETE":
                there.discard(path)  # also where nobody knows whether it was done
            elif status < 300:
                if status == 201 and path in there:
                    found.append(path)
                there.add(path)
        return found


class Copy:
    """A running rclone; all that it says goes to `log`."""

    def __init__(self, process: subprocess.Popen[bytes], uploads: Uploads, log: Path) -> None:
        self._process = process
        self._uploads = uploads
        self._log = log

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_acknowledged(self, more: int, seconds: float = 60) -> None:
        """Until so many files more were acknowledged, with the copy still going on."""
        wanted = len(self._uploads.acknowledged()) + more

        def enough() -> bool:
            assert self.is_running, f"it is over already\n{self.tail()}"
            return len(self._uploads.acknowledged()) >= wanted

        wait_until(enough, seconds, f"{more} more files\n{self.tail()}")

    def wait(self, seconds: float) -> int:
        """Its exit status."""
        return self._process.wait(seconds)

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


@contextmanager
def copying(argv: list[str], uploads: Uploads, log: Path) -> Iterator[Copy]:
    """Run rclone by `argv` while the context is open."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield Copy(process, uploads, log)
    finally:
        process.kill()
        process.wait()
