"""Starts of davstore that have to fail, and what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def refused_start(
    here: Path, *arguments: str, env: Mapping[str, str] | None = None, seconds: float = 60
) -> str:
    """The one sentence with which `davstore serve` ends in the folder `here`, with status 2."""
    argv = [sys.executable, "-m", "davstore", "serve", "--port", "0", *arguments]
    here.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        argv,
        cwd=here,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    print(done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    said = done.stderr.strip().splitlines()
    assert len(said) == 1, done.stderr
    return said[0].removeprefix("davstore: ")
