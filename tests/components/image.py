"""The container image, built from the Dockerfile by a real builder on a bare Debian.

`buildah` executes the steps as any builder does, each in a chroot, so no container engine is
needed; root is. What `BASE` stands for is the one difference to the image that users build: a
minimal Debian 12 with its own Python 3.11 from `debootstrap`, not python:3.11-slim.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.components.found import require

#: Kept between runs, as a bare Debian takes a minute to make.
_CACHE = Path(__file__).parents[2] / ".cache" / "image"

_SUITE = "bookworm"
_PYTHON = "3.11"
_BASE = f"localhost/bare-{_SUITE}-python"

#: What building davstore, and a dependency that comes as source, takes.
_BUILD_TOOLS = ("setuptools>=69", "wheel", "packaging")

#: In the bare Debian pip has the files of `_packages` and no network.
_PIP_CONF = "[global]\nno-index = true\nfind-links = /packages\ndisable-pip-version-check = true\n"


@dataclass(frozen=True)
class Image:
    """`root` is its file system; `config` is what the Dockerfile says of running it."""

    root: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    @property
    def command(self) -> list[str]:
        command: list[str] = self.config["Entrypoint"] + self.config["Cmd"]
        return command

    @property
    def health_check(self) -> list[str]:
        test: list[str] = self.config["Healthcheck"]["Test"]
        assert test[0] == "CMD"
        return test[1:]


@contextlib.contextmanager
def built_image(context: Path) -> Iterator[Image]:
    """Build the Dockerfile in `context`; the image is there until this is left."""
    assert os.geteuid() == 0, "building the image needs root, for its chroots"
    tag = f"localhost/davstore-{os.getpid()}"
    # Both wait for the network most of their time.
    with ThreadPoolExecutor() as pool:
        downloading = pool.submit(_packages, context / "requirements.lock")
        _make_base()
        packages = downloading.result()
    _buildah(
        "bud", "--isolation=chroot", "--format=docker", f"--build-arg=BASE={_BASE}",
        f"--volume={packages}:/packages:ro", f"--tag={tag}", str(context),
    )  # fmt: skip
    container = _buildah("from", "--pull-never", tag)
    try:
        root = Path(_buildah("mount", container))
        about = json.loads(_buildah("inspect", "--type=image", tag))
        yield Image(root, about["Docker"]["config"])
    finally:
        _buildah("rm", container)
        _buildah("rmi", tag)


def _make_base() -> None:
    """Once: a bare Debian with Python as the image `_BASE`."""
    if _buildah("images", "--quiet", "--filter", f"reference={_BASE}"):
        return
    with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
        root = Path(folder) / "root"
        include = "--include=python3,python3-venv"
        _run([str(require("debootstrap")), "--variant=minbase", include, _SUITE, str(root)])
        for left in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / left)
        (root / "etc/pip.conf").write_text(_PIP_CONF)
        container = _buildah("from", "scratch")
        try:
            _buildah("add", container, str(root), "/")
            _buildah("commit", container, _BASE)
        finally:
            _buildah("rm", container)


def _packages(lock: Path) -> Path:
    """A folder with the packages that `lock` names, and with what builds those that need it."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    folder = _CACHE / f"packages-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            pip += [f"--python-version={_PYTHON}", f"--dest={temporary}/packages"]
            _run([*pip, "--require-hashes", f"--requirement={lock}"])
            _run([*pip, *_BUILD_TOOLS])
            # Whole or not at all, whoever else does the same now.
            with contextlib.suppress(FileExistsError):
                Path(temporary, "packages").rename(folder)
    return folder


def _buildah(*arguments: str) -> str:
    """What it printed, without the last end of line."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    program = str(require("buildah"))
    places = [f"--root={_CACHE}/storage", f"--runroot={_CACHE}/run"]
    return _run([program, *places, *arguments])


def _run(argv: list[str]) -> str:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{argv} ended with {done.returncode}: {said[-8000:]}"
    return done.stdout.removesuffix("\n")
