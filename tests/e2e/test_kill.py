"""kill -9 of every process in the middle of uploads: what was acknowledged is there, whole."""

from __future__ import annotations

import hashlib
import http.client
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.components.content import litter
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.processes import wait_until

SEED = 41
ROUNDS = 6
UPLOADS = 200


@dataclass
class Uploads:
    """One round's uploads, and which of them had their answer when everything died."""

    wanted: dict[str, bytes]
    acknowledged: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def upload(self, client: Client, path: str) -> None:
        try:
            answer = client("PUT", path, self.wanted[path])
        except (OSError, http.client.HTTPException):
            return  # the server died before it said anything
        with self.lock:
            if answer.status in (201, 204):
                self.acknowledged.add(path)
            else:
                self.refused[path] = answer.status


def _round(server: DavServer, dice: random.Random, known: dict[str, bytes], number: int) -> Uploads:
    """Upload to half new and half existing names at once; kill all when some had an answer."""
    replaced = dice.sample(sorted(known), min(len(known), UPLOADS // 2))
    new = [f"/round-{number}-{count}.bin" for count in range(UPLOADS - len(replaced))]
    paths = dice.sample(replaced + new, UPLOADS)
    uploads = Uploads({path: dice.randbytes(dice.randrange(1, 200_000)) for path in paths})
    enough = dice.randrange(UPLOADS // 10, UPLOADS * 9 // 10)
    client = Client(server.address)
    with ThreadPoolExecutor(UPLOADS) as pool:
        running = [pool.submit(uploads.upload, client, path) for path in paths]
        wait_until(lambda: len(uploads.acknowledged) >= enough, 60, f"{enough} answers")
        server.kill9()
        for upload in running:
            upload.result()
    return uploads


def _digest(data: bytes | None) -> str:
    return "absent" if data is None else hashlib.sha256(data).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_kill_9_of_all_processes_every_acknowledged_upload_is_whole_and_others_are_old(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    known: dict[str, bytes] = {}
    kills = acknowledged = undecided = 0
    server = DavServer(tmp_path / "home", tmp_path / "root")
    for number in range(ROUNDS):
        with server:
            uploads = _round(server, dice, known, number)
        kills += 1
        acknowledged += len(uploads.acknowledged)
        assert not uploads.refused
        with server:
            client = Client(server.address)
            for path, new in uploads.wanted.items():
                answer = client("GET", path)
                assert answer.status in (200, 404), (path, answer)
                found = answer.body if answer.status == 200 else None
                allowed = [new] if path in uploads.acknowledged else [new, known.get(path)]
                assert _digest(found) in map(_digest, allowed), f"round {number}, {path}"
                if found is not None:
                    known[path] = found
                undecided += path not in uploads.acknowledged
            wait_until(lambda: not litter(tmp_path / "root"), 20, "the sweep after the crash")
    print(f"{kills} kills, {acknowledged} acknowledged uploads, {undecided} without an answer")
    assert kills == ROUNDS
    assert acknowledged > 0
    assert undecided > 0
    on_disk = {f"/{path.name}" for path in (tmp_path / "root").iterdir() if path.is_file()}
    assert on_disk == set(known)


@pytest.mark.slow
def test_locks_and_properties_that_were_acknowledged_outlive_kill_9(tmp_path: Path) -> None:
    server = DavServer(tmp_path / "home", tmp_path / "root")
    lock = (
        '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
        "<D:locktype><D:write/></D:locktype></D:lockinfo>"
    )
    change = (
        '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>'
        '<x:color xmlns:x="urn:x">blue</x:color></D:prop></D:set></D:propertyupdate>'
    )
    with server:
        client = Client(server.address)
        assert client("PUT", "/file.txt", b"content").status == 201
        assert client("PROPPATCH", "/file.txt", change).status == 207
        answer = client("LOCK", "/file.txt", lock, Timeout="Second-3600")
        assert answer.status == 200
        token = answer.header("Lock-Token") or ""
        server.kill9()
    with server:
        client = Client(server.address)
        assert client("PUT", "/file.txt", b"other").status == 423
        found = client("PROPFIND", "/file.txt", Depth="0").text
        assert ">blue<" in found, found
        assert client("PUT", "/file.txt", b"other", If=f"({token})").status == 204
        assert client("UNLOCK", "/file.txt", Lock_Token=token).status == 204
