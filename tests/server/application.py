"""A small WSGI application for the tests, and the supervisor that serves it.

Run as `python -m tests.server.application FOLDER SETTINGS`, the settings as JSON. What it sees
goes to files in the folder: `access` (one JSON list per record), `events` (one line each).
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from davstore import handoff
from davstore.errors import ConfigError
from davstore.logs import AccessRecord
from davstore.server.body import Body, BodyError
from davstore.server.housekeeper import Duty
from davstore.server.listener import open_listener
from davstore.server.plan import Plan
from davstore.server.settings import ServerSettings
from davstore.server.supervisor import Supervisor

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], Any]]
Query = dict[str, str]
Handler = Callable[["Call"], Iterable[bytes]]

HELLO = b"x" * 4096
TEXT = ("Content-Type", "text/plain")


class Call:
    """One request, as a handler of this application sees it."""

    def __init__(self, folder: Path, environ: Environ, start: StartResponse) -> None:
        self.folder = folder
        self.environ = environ
        self.start = start
        parsed = parse_qs(environ["QUERY_STRING"])
        self.query = {name: values[0] for name, values in parsed.items()}

    @property
    def input(self) -> Body:
        return cast(Body, self.environ["wsgi.input"])

    def event(self, text: str) -> None:
        with (self.folder / "events").open("a") as file:
            file.write(text + "\n")

    def whole(self, body: bytes, status: str = "200 OK") -> list[bytes]:
        self.start(status, [TEXT, ("Content-Length", str(len(body)))])
        return [body]


class Closing:
    """An iterable that tells when it is closed."""

    def __init__(self, call: Call, blocks: Iterable[bytes]) -> None:
        self._call = call
        self._blocks = iter(blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        self._call.event("closed")


def hello(call: Call) -> Iterable[bytes]:
    return call.whole(HELLO)


def environ(call: Call) -> Iterable[bytes]:
    plain = {key: value for key, value in call.environ.items() if isinstance(value, str | bool)}
    return call.whole(json.dumps(plain).encode())


def pid(call: Call) -> Iterable[bytes]:
    return call.whole(str(os.getpid()).encode())


def unread(call: Call) -> Iterable[bytes]:
    """Answers without a look at the body."""
    return call.whole(b"unread", call.query.get("status", "200 OK"))


def digest(call: Call) -> Iterable[bytes]:
    """Reads the body as an upload is read, and tells how that ended."""
    buffer = memoryview(bytearray(256 * 1024))
    seen = hashlib.sha256()
    length = reads = 0
    try:
        while count := call.input.readinto(buffer):
            reads += 1
            seen.update(buffer[:count])
            length += count
    except BodyError as error:
        call.event(type(error).__name__)
        raise
    call.event("whole")
    call.start("201 Created", [TEXT, ("X-Reads", str(reads))])
    return [f"{length} {seen.hexdigest()}".encode()]


def echo(call: Call) -> Iterable[bytes]:
    how = call.query.get("how", "read")
    if how == "read":
        body = call.input.read()
    elif how == "pieces":
        body = b"|".join(iter(lambda: call.input.read(3), b""))
    elif how == "lines":
        body = b"|".join(call.input)
    else:
        body = call.input.readline(int(how))
    return call.whole(body)


def some(call: Call) -> Iterable[bytes]:
    """Reads some of the body only."""
    return call.whole(call.input.read(int(call.query["size"])))


def stream(call: Call) -> Iterable[bytes]:
    """`count` blocks of `size` bytes, with the Content-Length `length` if that is given."""
    headers = [TEXT]
    if "length" in call.query:
        headers.append(("Content-Length", call.query["length"]))
    call.start(call.query.get("status", "200 OK"), headers)
    block = b"s" * int(call.query.get("size", "1000"))
    return Closing(call, (block for _ in range(int(call.query.get("count", "3")))))


def paced(call: Call) -> Iterable[bytes]:
    """Blocks that come only as fast as the test writes lines to the file `pace`."""
    call.start("200 OK", [TEXT])

    def blocks() -> Iterator[bytes]:
        yield b"begun"
        pace = call.folder / "pace"
        deadline = time.monotonic() + 60
        while not pace.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield b"ended"

    return Closing(call, blocks())


def write(call: Call) -> Iterable[bytes]:
    """The old way: through the callable that start_response returns."""
    send = call.start("200 OK", [TEXT])
    send(b"written ")
    return [b"and returned"]


def fail(call: Call) -> Iterable[bytes]:
    """Raises, `when` it is told to."""
    when = call.query["when"]
    if when == "call":
        raise RuntimeError("raised on purpose")
    call.start("200 OK", [TEXT, ("X-Given", "1")])

    def blocks() -> Iterator[bytes]:
        if when == "late":
            yield b"some"
        raise RuntimeError("raised on purpose")

    return Closing(call, blocks())


def retry(call: Call) -> Iterable[bytes]:
    """Changes its mind with exc_info before anything was sent."""
    call.start("200 OK", [TEXT])
    try:
        raise ValueError("raised on purpose")
    except ValueError:
        call.start("409 Conflict", [TEXT, ("Content-Length", "0")], sys.exc_info())
    return []


def header(call: Call) -> Iterable[bytes]:
    """A response header as it is asked for."""
    call.start("200 OK", [TEXT, (call.query["name"], call.query["value"])])
    return [b"ok"]


def empty(call: Call) -> Iterable[bytes]:
    call.start(call.query.get("status", "200 OK"), [])
    return []


def span(call: Call) -> Iterable[bytes]:
    """Part of the file `name` in the folder, as a FileSpan. `less` announces more than there is."""
    assert call.environ[handoff.SPAN_OFFERED_KEY] is True
    fd = os.open(call.folder / call.query["name"], os.O_RDONLY)
    size = os.fstat(fd).st_size + int(call.query.get("less", "0"))
    start = int(call.query.get("start", "0"))
    length = int(call.query.get("length", str(size - start)))
    call.environ[handoff.SPAN_KEY] = handoff.FileSpan(fd, start, length)
    call.start("200 OK", [TEXT, ("Content-Length", str(length))])

    class Open(Closing):
        def close(self) -> None:
            os.close(fd)
            super().close()

    return Open(call, [b"this is not to be sent"])


def compute(call: Call) -> Iterable[bytes]:
    """Keeps the interpreter busy for `seconds`."""
    end = time.monotonic() + float(call.query["seconds"])
    while time.monotonic() < end:
        hashlib.sha256(b"busy").digest()
    call.start("200 OK", [TEXT, ("X-Process", str(os.getpid())), ("Content-Length", "8")])
    return [b"computed"]


def wait(call: Call) -> Iterable[bytes]:
    """Waits for the file `gate`, with the place given up."""
    handoff.about_to_wait()
    deadline = time.monotonic() + 60
    while not (call.folder / "gate").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return call.whole(b"waited")


def late(call: Call) -> Iterable[bytes]:
    """An upload for which something has to be waited for first."""
    call.event("waits")
    wait(call)
    return digest(call)


def identity(call: Call) -> Iterable[bytes]:
    call.environ["davstore.identity"] = call.query["user"]
    return call.whole(b"known")


def die(call: Call) -> Iterable[bytes]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def leave(call: Call) -> Iterable[bytes]:
    raise SystemExit(3)


# fmt: off
HANDLERS: dict[str, Handler] = {
    "/": hello, "/environ": environ, "/pid": pid, "/unread": unread, "/digest": digest,
    "/echo": echo, "/some": some, "/stream": stream, "/paced": paced, "/write": write,
    "/fail": fail, "/retry": retry, "/header": header, "/empty": empty, "/span": span,
    "/compute": compute, "/wait": wait, "/late": late, "/identity": identity, "/die": die,
    "/leave": leave,
}
# fmt: on


class Application:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, environ_: Environ, start: StartResponse) -> Iterable[bytes]:
        call = Call(self._folder, environ_, start)
        return HANDLERS.get(environ_["PATH_INFO"], environ)(call)

    def explain(self, refusal: handoff.Refusal) -> tuple[list[tuple[str, str]], bytes] | None:
        """All is told where the target wants it; nothing is said of anything else."""
        if "explained" not in refusal.target:
            return None
        return [("Content-Type", "application/json")], json.dumps(refusal).encode()

    def close(self) -> None:
        with (self._folder / "events").open("a") as file:
            file.write("application closed\n")


def await_absence(file: Path) -> None:
    deadline = time.monotonic() + 60
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def make_app(folder: Path) -> Application:
    """Waits as long as the file `hold` is there, and fails as long as `broken` is."""
    await_absence(folder / "hold")
    if (folder / "broken").exists():
        raise RuntimeError("the application is broken on purpose")
    return Application(folder)


def keep_house(folder: Path, duty: Duty) -> None:
    """Ends late as long as the file `busy` is there, and says late that it leaves while `stay` is.
    Answers each connection at the admin socket with its process id."""
    # As a whole, since tests look again and again.
    (folder / "housekeeper-new").write_text(str(os.getpid()))
    (folder / "housekeeper-new").replace(folder / "housekeeper")
    (folder / "duty").write_text(json.dumps({"port": duty.port, "leaving": duty.leaving.is_set()}))

    def farewell() -> None:
        (folder / "leaving").write_text(str(os.getpid()))
        await_absence(folder / "stay")

    duty.on_leaving(farewell)
    if duty.admin is not None:
        threading.Thread(target=answer_admin, args=(duty,), daemon=True).start()
    duty.stop.wait()
    (folder / "housekeeper-stopped").touch()
    await_absence(folder / "busy")


def answer_admin(duty: Duty) -> None:
    assert duty.admin is not None
    while True:
        connection, _ = duty.admin.accept()
        with connection:
            connection.sendall(f"{os.getpid()} {duty.worker_restarts()}".encode())


class Reread:
    """Server settings from the file `settings`, which may be changed between two reloads. Fails
    with two faults when the file `wrong` is there, and takes long as long as `slow` is. The node
    is known as something else once `moved` is there."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self._plan = plan

    def prepare(self) -> bytes:
        (self._folder / "rehearsing").write_text(str(os.getpid()))
        await_absence(self._folder / "slow")
        if (self._folder / "wrong").exists():
            raise ConfigError(["one: is wrong on purpose", "two: as well"])
        file = self._folder / "settings"
        return file.read_bytes() if file.exists() else b"{}"

    def plan(self, prepared: bytes) -> Plan:
        settings = replace(self._plan.settings, **json.loads(prepared))
        is_moved = (self._folder / "moved").exists()
        self._plan = replace(self._plan, settings=settings, known_as=is_moved or None)
        return self._plan


def announce(folder: Path, address: tuple[str, int]) -> None:
    """Fails, after it has been done, when the file `deaf` is there."""
    print(f"ready on port {address[1]}", flush=True)
    if (folder / "deaf").exists():
        raise BrokenPipeError(errno.EPIPE, "nobody listens, on purpose")


def forbid_forks(folder: Path) -> None:
    """Have no fork succeed as long as the file `no-forks` is there."""
    real = os.fork

    def fork() -> int:
        if (folder / "no-forks").exists():
            raise BlockingIOError(errno.EAGAIN, "no more processes, on purpose")
        return real()

    os.fork = fork


def main(folder: Path, given: dict[str, Any]) -> int:
    logging.basicConfig(level=logging.INFO)
    access = os.open(folder / "access", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def log(record: AccessRecord) -> None:
        os.write(access, json.dumps(record).encode() + b"\n")

    forbid_forks(folder)
    known = {field.name for field in fields(ServerSettings)}
    settings = ServerSettings(**{name: given[name] for name in given if name in known})
    plan = Plan(
        settings,
        lambda: make_app(folder),
        housekeeping=(lambda duty: keep_house(folder, duty)) if given.get("house") else None,
        access_log=log if given.get("log", True) else None,
    )
    admin = open_listener("127.0.0.1", 0) if given.get("admin") else None
    if admin is not None:
        (folder / "admin-port").write_text(str(admin.getsockname()[1]))
    supervisor = Supervisor(
        plan,
        on_ready=lambda address: announce(folder, address),
        on_stage=lambda stage: print(f"stage {stage.name}", flush=True),
        admin=admin,
        renewal=Reread(folder, plan) if given.get("reread") else None,
    )
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
