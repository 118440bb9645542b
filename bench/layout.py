"""What every server serves: the files and folders that the loads name, on disk or uploaded.

The contents do not compress, so that no server gains by trying. The listed files have an
extension that every server knows: without one SeaweedFS and JuiceFS open each file to guess its
type, and their listings are several times slower.
"""

from __future__ import annotations

import http.client
import itertools
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from bench.checks import Refused

MIB = 1 << 20
HUGE = 512 * MIB
SMALL = 4096
LISTED = 100

_UPLOADERS = 8
#: Seconds after which a server is given up that has not taken everything.
_PATIENCE = 600.0


def lay_out(root: Path) -> None:
    """Make everything in the folder `root`."""
    root.mkdir(parents=True, exist_ok=True)
    block = random.Random(1).randbytes(MIB)
    (root / "small.bin").write_bytes(block[:SMALL])
    (root / "large.bin").write_bytes(block)
    with (root / "huge.bin").open("wb") as huge:
        for _ in range(HUGE // MIB):
            huge.write(block)
    for folder, count in (("hundred", 100), ("ten-thousand", 10_000)):
        (root / folder).mkdir(exist_ok=True)
        for number in range(count):
            (root / folder / f"document-{number:05d}.pdf").write_bytes(block[:LISTED])
    (root / "put").mkdir(exist_ok=True)


def empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def upload(url: str, root: Path) -> None:
    """Put everything in `root` to the server at `url`, several files at a time. Raises Refused."""
    deadline = time.monotonic() + _PATIENCE
    folders, files = _entries(root)
    address = urlsplit(url).netloc
    _send(address, "MKCOL", ((folder, None) for folder in folders), deadline)
    with ThreadPoolExecutor(_UPLOADERS) as pool:
        work = [
            pool.submit(_send, address, "PUT", ((name, root / name) for name in share), deadline)
            for share in _shares(files)
        ]
        for each in work:
            each.result()


def _entries(root: Path) -> tuple[list[str], list[str]]:
    """Folders, parents first, and files, as paths below `root`."""
    folders: list[str] = []
    files: list[str] = []
    for top, below, names in os.walk(root):
        here = Path(top).relative_to(root)
        folders += [f"{here / name}/" for name in below]
        files += [str(here / name) for name in names]
    return folders, files


def _shares(files: Sequence[str]) -> Iterator[Sequence[str]]:
    """Equal parts of the files."""
    return (list(itertools.islice(files, at, None, _UPLOADERS)) for at in range(_UPLOADERS))


def _send(
    address: str, method: str, entries: Iterator[tuple[str, Path | None]], deadline: float
) -> None:
    """One request after the other on one connection."""
    connection = http.client.HTTPConnection(address, timeout=_PATIENCE, blocksize=MIB)
    try:
        for name, source in entries:
            if time.monotonic() > deadline:
                raise Refused(f"the files were not uploaded within {_PATIENCE:.0f} s")
            status = _request(connection, method, f"/{name}", source)
            if status not in (200, 201, 204):
                raise Refused(f"{method} {name}: status {status}")
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"the upload of the files broke off: {error!r}") from error
    finally:
        connection.close()


def _request(
    connection: http.client.HTTPConnection, method: str, target: str, source: Path | None
) -> int:
    if source is None:
        connection.request(method, target)
    else:
        with source.open("rb") as body:
            length = str(source.stat().st_size)
            connection.request(method, target, body, {"Content-Length": length})
    answer = connection.getresponse()
    answer.read()
    return answer.status
