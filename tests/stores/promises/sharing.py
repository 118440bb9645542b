"""One store in several processes at once, and what is left when one of them is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from davstore.errors import Locked, PreconditionFailed, StoreError
from davstore.stores.base import Effect, Fenced, Node, Store, Update
from davstore.stores.memory import MemoryStore
from tests.stores.harness import (
    CTX,
    Harness,
    MustHave,
    Opener,
    attributes_of_tree,
    build,
    opened,
    pattern,
    put,
    read,
    settle,
)

SPAWN = multiprocessing.get_context("spawn")
SEED = 20_260_712
INCREMENTS = 40


@contextlib.contextmanager
def running(
    work: Callable[..., None], *arguments: object
) -> Iterator[tuple[SpawnProcess, Connection]]:
    """A process that does `work` and sends what it has to tell; it is over at the end."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(*arguments, sender))
    process.start()
    sender.close()
    try:
        yield process, receiver
    finally:
        process.kill()
        process.join(10)
        process.close()
        receiver.close()


def receive(receiver: Connection) -> Any:
    assert receiver.poll(60), "a process did not report"
    return receiver.recv()


def increment(opener: Opener, sender: Connection) -> None:
    """Count up in a file, each time on condition that nobody else did meanwhile."""
    conflicts = 0
    with opened(opener) as store:
        for _ in range(INCREMENTS):
            while True:
                node = store.stat(CTX, "/counter")
                number = int(read(store, "/counter")) + 1
                try:
                    put(store, "/counter", str(number).encode(), guard=MustHave(node.etag))
                    break
                except PreconditionFailed:
                    conflicts += 1
    sender.send(conflicts)


class LockedByFile:
    """A guard that refuses once the file is there, which all processes see."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        if self.flag.exists():
            raise Locked(path)


def write_until_locked(opener: Opener, flag: Path, number: int, sender: Connection) -> None:
    guard = LockedByFile(flag)
    with opened(opener) as store:
        with contextlib.suppress(Locked):
            turn = 0
            while True:
                turn += 1
                put(store, "/d/e/same", str(turn).encode(), guard=guard)
                put(store, f"/d/e/{number}-{turn}", b"", guard=guard)
                store.move(
                    CTX, f"/d/e/{number}-{turn}", f"/d/e/{number}", overwrite=True, guard=guard
                )
                if turn == 3:
                    sender.send("writing")
        sender.send("locked")


#: A change as a name of the method and its arguments, so that it can be sent to a process.
Change = tuple[str, ...]


def some_changes(seed: int, count: int) -> list[Change]:
    """Changes all over a small tree, most of which can be made."""
    chance = random.Random(seed)
    places = ["/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/b/y", "/c/x", "/a/x/1", "/b/x/1"]
    verbs = ["put", "put", "put", "folder", "folder", "delete", "move", "move", "copy", "update"]
    changes: list[Change] = []
    for number in range(count):
        verb = chance.choice(verbs)
        first, second = chance.sample(places, 2)
        last = second if verb in ("move", "copy") else f"{seed}-{number}"
        changes.append((verb, first, last))
    return changes


def make(store: Store, change: Change) -> None:
    """Make one of `some_changes`, or nothing when it cannot be made."""
    verb, path, last = change
    with contextlib.suppress(StoreError):
        match verb:
            case "put":
                put(store, path, last.encode() * (1 + 3000 * (len(last) % 3)))
            case "folder":
                store.create_folder(CTX, path)
            case "delete":
                store.delete(CTX, path)
            case "move":
                store.move(CTX, path, last, overwrite=True)
            case "copy":
                store.copy(CTX, path, last, overwrite=True)
            case "update":
                store.update(CTX, path, Update({"{urn:x}p": f"<p>{last}</p>"}))


def known(found: dict[str, Any], wanted: dict[str, Any], last: Change) -> dict[str, Any]:
    """`found`, with the digests of a last upload that nobody acknowledged where it has none.

    A store may learn them right after the content has become visible: a node has those that
    are known. All that was acknowledged has them.
    """
    verb, path, _ = last
    if verb != "put" or path not in found.keys() & wanted or found[path][0][4]:
        return found
    attributes, content = found[path]
    digests = wanted[path][0][4]
    return found | {path: ((*attributes[:4], digests, *attributes[5:]), content)}


def change_and_report(opener: Opener, changes: list[Change], sender: Connection) -> None:
    """Make the changes, and report each one when it was acknowledged."""
    with opened(opener) as store:
        for number, change in enumerate(changes):
            make(store, change)
            sender.send(number)
    signal.pause()


class Sharing(Harness):
    def test_no_increment_of_three_processes_is_lost(self, store: Store, opener: Opener) -> None:
        self.needs_durability()
        put(store, "/counter", b"0")
        with contextlib.ExitStack() as stack:
            counters = [stack.enter_context(running(increment, opener)) for _ in range(3)]
            conflicts = [receive(receiver) for _, receiver in counters]
        print(f"{3 * INCREMENTS} increments, conflicts by process: {conflicts}")
        assert int(read(store, "/counter")) == 3 * INCREMENTS

    def test_a_fence_holds_against_the_writes_of_other_processes(
        self, store: Store, opener: Opener, tmp_path: Path
    ) -> None:
        self.needs_durability()
        if not isinstance(store, Fenced):
            pytest.skip("this store has no fence")
        build(store, {"/d": None, "/d/e": None})
        flag = tmp_path / "flag"
        with contextlib.ExitStack() as stack:
            writers = [
                stack.enter_context(running(write_until_locked, opener, flag, number))
                for number in range(2)
            ]
            assert [receive(receiver) for _, receiver in writers] == ["writing"] * 2
            with store.fence(CTX, "/d/e"):
                within = list(store.list(CTX, "/d/e"))
                flag.touch()
            assert [receive(receiver) for _, receiver in writers] == ["locked"] * 2
        assert list(store.list(CTX, "/d/e")) == within


class Dying(Harness):
    def test_after_a_kill_every_acknowledged_change_is_there_and_the_last_wholly_or_not(
        self, opener: Opener
    ) -> None:
        """The twin makes the same changes: up to the last report, or one more."""
        self.needs_durability()
        chance = random.Random(SEED)
        twin = MemoryStore()
        for turn in range(8):
            changes = some_changes(SEED + turn, 120)
            with running(change_and_report, opener, changes) as (process, receiver):
                made = -1
                for _ in range(chance.randrange(1, 100)):
                    made = receive(receiver)
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)
                process.join(10)
                with contextlib.suppress(EOFError):
                    while receiver.poll(0):
                        made = receiver.recv()
            for change in changes[: made + 1]:
                make(twin, change)
            with opened(opener) as store:
                settle(store)
                found = attributes_of_tree(store)
                if found != attributes_of_tree(twin):
                    last = changes[made + 1]
                    make(twin, last)
                    wanted = attributes_of_tree(twin)
                    assert known(found, wanted, last) == wanted, f"seed {SEED}, turn {turn}"
                    if found != wanted:
                        # Acknowledged this time: its digests are known from here on.
                        make(store, last)
                        make(twin, last)

    def test_a_kill_during_a_large_upload_leaves_the_old_content(self, opener: Opener) -> None:
        self.needs_durability()
        with opened(opener) as store:
            put(store, "/a", b"old")
            before = attributes_of_tree(store)
        with running(upload_without_end, opener) as (process, receiver):
            for _ in range(3):
                receive(receiver)
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
            process.join(10)
        with opened(opener) as store:
            settle(store)
            assert attributes_of_tree(store) == before
            put(store, "/a", b"new")
            assert read(store, "/a") == b"new"


def upload_without_end(opener: Opener, sender: Connection) -> None:
    store = opener()
    upload = store.upload(CTX, "/a")
    while True:
        upload.write(pattern(100_000))
        sender.send(upload.offset)
