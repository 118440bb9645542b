"""A real davfs2 mount, which is always unmounted again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.components.found import require

#: buf_size: Linux from 6.16 on asks for directory entries in pieces as large as the reader's
#: buffer; davfs2 1.6 answers EINVAL when that is more than its own buffer of 16 KiB.
_CONFIG = """
ask_auth 0
use_locks 1
delay_upload 0
dir_refresh 1
buf_size 256
cache_dir {cache}
"""


@contextlib.contextmanager
def davfs_mount(url: str, home: Path) -> Iterator[Path]:
    """Mount `url` below `home` (needs root); the files are uploaded when this is left.

    A second mount over the same `home` starts with an empty cache.
    """
    program = require("davfs2")
    assert os.geteuid() == 0, "mounting davfs2 needs root"
    cache, place, config = home / "cache", home / "mounted", home / "davfs2.conf"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    place.mkdir(exist_ok=True)
    shutil.chown(cache, group="davfs2")
    cache.chmod(0o770)
    config.write_text(_CONFIG.format(cache=cache), encoding="utf-8")
    with _reachable(cache):
        _run([str(program), url, str(place), "-o", f"conf={config}"])
        try:
            yield place
        finally:
            _unmount(place)


def _unmount(place: Path) -> None:
    """After the uploads, or at least out of the way; then the failure is told all the same."""
    try:
        _run(["umount", str(place)])
    except BaseException:
        subprocess.run(["umount", "--lazy", "--internal-only", str(place)], check=False)
        raise


@contextlib.contextmanager
def _reachable(folder: Path) -> Iterator[None]:
    """Let the user that davfs2 runs as pass through the private folders above `folder`."""
    closed = [
        (path, path.stat().st_mode) for path in folder.parents if path.stat().st_mode & 1 == 0
    ]
    for path, mode in closed:
        path.chmod(mode | 0o011)
    try:
        yield
    finally:
        for path, mode in closed:
            path.chmod(mode)


def _run(argv: list[str]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}"
