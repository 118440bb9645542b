"""A container without an engine: the kernel's namespaces around the file system of an image.

As `docker run --read-only --cap-drop ALL --security-opt no-new-privileges --network none` runs it:
its command is process 1 of its own process namespace, as the image's user, without rights; the
root cannot be written to but for the volumes and /tmp; there is a network of its own, which has
loopback only, so ports are those of the image.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.components.found import require
from tests.components.image import Image
from tests.components.processes import NotReady, ServerProcess, descendants

#: Set up by root within the new namespaces; then process 1 becomes the image's command.
_BEGIN = """
set -eu
root=$1; home=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for volume in {volumes}; do mount --bind "$home/volumes$volume" "$root$volume"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
{ip} link set lo up
exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid \
    chroot --userspec={user} "$root" env --ignore-environment --chdir={folder} {environment} "$@"
"""


class Container(ServerProcess):
    """Of `image`, with what its volumes hold below `home`.

    `environment` is as with `--env`; `command` takes the place of the image's entry point and
    command.
    """

    name = "container"

    def __init__(
        self,
        image: Image,
        home: Path,
        environment: Sequence[str] = (),
        command: Sequence[str] | None = None,
    ) -> None:
        self._image = image
        self._user = image.config["User"]
        self._environment = [*image.config["Env"], *environment]
        self._home = home
        home.mkdir(exist_ok=True)
        for volume in image.config["Volumes"]:
            self._make_volume(volume)
        super().__init__(self._argv(command or image.command), home / "log")
        self.port = 8080

    def _make_volume(self, volume: str) -> None:
        """Empty, with owner and mode of the folder in the image, as an engine makes it."""
        folder = Path(f"{self._home}/volumes{volume}")
        if not folder.exists():
            folder.mkdir(parents=True)
            within = Path(f"{self._image.root}{volume}").stat()
            os.chown(folder, within.st_uid, within.st_gid)
            folder.chmod(within.st_mode & 0o7777)

    def volume(self, path: str) -> Path:
        """Where the volume at `path` is for others."""
        return Path(f"{self._home}/volumes{path}")

    def _argv(self, command: Sequence[str]) -> list[str]:
        begin = _BEGIN.format(
            volumes=" ".join(self._image.config["Volumes"]),
            ip=require("ip"),
            user=self._user,
            folder=self._image.config["WorkingDir"],
            environment=shlex.join(self._environment),
        )
        unshare = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
        return [*unshare, "sh", "-c", begin, "sh", str(self._image.root), str(self._home), *command]

    def run(
        self, *arguments: str, given: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Another container of the same volumes, with `arguments` for its entry point."""
        argv = self._argv([*self._image.config["Entrypoint"], *arguments])
        return subprocess.run(
            argv, input=given, capture_output=True, text=True, timeout=seconds, check=False
        )

    def wait_ready(self, seconds: float = 30) -> None:
        """Until its command runs; see `wait_serving`."""

        self.wait_until(lambda: descendants(self.pid) and self._is_set_up(), seconds, "its start")

    def _is_set_up(self) -> bool:
        """Root's part is over once process 1 has become the image's user."""
        return Path(f"/proc/{self.init}").stat().st_uid == int(self._user.partition(":")[0])

    def wait_serving(self, seconds: float = 30) -> None:
        """Until davstore has said that it answers."""
        self.wait_until(lambda: "http://" in self.said(), seconds, "the line with its address")

    @property
    def init(self) -> int:
        """The process that is number 1 within."""
        return descendants(self.pid)[0]

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a further process within, as `docker exec` does."""
        user, _, group = self._user.partition(":")
        enter = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--net", "--ipc"]
        enter += ["--root", "--wd", f"--setuid={user}", f"--setgid={group}"]
        environment = ["env", "--ignore-environment", *self._environment]
        return subprocess.run(
            [*enter, *environment, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def curl(self, *arguments: str, path: str = "/") -> str:
        """What a client in the container's network gets of `path`."""
        argv = ["nsenter", f"--target={self.init}", "--net", str(require("curl"))]
        argv += ["--silent", "--show-error", "--fail", "--max-time", "30", *arguments]
        done = subprocess.run(
            [*argv, f"{self.url.rstrip('/')}{path}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{path}: {done.stderr}\n{self.tail()}"
        return done.stdout

    def stop(self, seconds: float = 20) -> int:
        """Give process 1 the image's signal to stop, as `docker stop` does; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self.init, signal.Signals[self._image.config["StopSignal"]])
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotReady(f"{self.name} did not stop in {seconds} s\n{self.tail()}") from None
        finally:
            self.kill9()
