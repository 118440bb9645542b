"""The folder store's process dies at every single step of every change."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from davstore.stores.base import Attributes, Store, Update
from davstore.stores.folder.resolve import Means
from tests.stores.dying import dies_before
from tests.stores.harness import (
    CTX,
    LONG_AGO,
    Opener,
    attributes_of_tree,
    build,
    digests_of,
    find,
    opened,
    pattern,
    put,
    settle,
    tree,
    used,
)
from tests.stores.mounts import mounted
from tests.stores.test_folder import open_folder

PROP = {"{urn:x}colour": '<colour xmlns="urn:x">red</colour>'}
OTHER = {"{urn:x}shape": '<shape xmlns="urn:x">round</shape>'}


def prepare(store: Store) -> None:
    """Files and folders, all of which have properties; /f and /d are alike, but not the same."""
    for top, prop in (("d", PROP), ("f", OTHER)):
        if find(store, f"/{top}") is None:
            store.create_folder(CTX, f"/{top}")
        build(store, {f"/{top}/in": None, f"/{top}/in/{top}": b"deep"})
        put(store, f"/{top}.txt", pattern(9000 + ord(top)), content_type=f"text/{top}")
        for path in (f"/{top}", f"/{top}/in/{top}", f"/{top}.txt"):
            store.update(CTX, path, Update(prop))
    if find(store, "/f/mount"):
        build(store, {"/f/mount/tree": None, "/f/mount/tree/x": b"elsewhere"})


def upload_persistently(store: Store) -> None:
    upload = store.upload(CTX, "/d.txt", Attributes("text/new"))
    upload.write(b"first ")
    upload.persist(0)
    upload.write(b"second")
    upload.commit()


class Case(NamedTuple):
    """`swaps`: made in another way where two names cannot be exchanged.

    `forgets`: until it is acknowledged, type and digests of a file may be missing, as they
    are of any file that somebody else has written.
    """

    change: Callable[[Store], object]
    swaps: bool = False
    forgets: bool = False


CASES = {
    "create": Case(lambda store: put(store, "/new", b"new", content_type="a/b"), forgets=True),
    "replace": Case(lambda store: put(store, "/d.txt", b"new", content_type="a/b"), forgets=True),
    "upload persistently": Case(upload_persistently, forgets=True),
    "make a folder": Case(lambda store: store.create_folder(CTX, "/new")),
    "delete a file": Case(lambda store: store.delete(CTX, "/d.txt")),
    "delete a tree": Case(lambda store: store.delete(CTX, "/d")),
    "set properties": Case(lambda store: store.update(CTX, "/d.txt", Update(OTHER, list(PROP)))),
    "set the time": Case(
        lambda store: store.update(CTX, "/d.txt", Update(modified=LONG_AGO)), forgets=True
    ),
    "move a file": Case(lambda store: store.move(CTX, "/d.txt", "/f/new", overwrite=False)),
    "move a file over a file": Case(
        lambda store: store.move(CTX, "/d.txt", "/f.txt", overwrite=True)
    ),
    "move a tree": Case(lambda store: store.move(CTX, "/d", "/f/in/d", overwrite=False)),
    "move a tree over a tree": Case(
        lambda store: store.move(CTX, "/d", "/f", overwrite=True), swaps=True
    ),
    "move a file over a tree": Case(
        lambda store: store.move(CTX, "/d.txt", "/f", overwrite=True), swaps=True
    ),
    "move a tree over a file": Case(
        lambda store: store.move(CTX, "/d", "/f.txt", overwrite=True), swaps=True
    ),
    "copy a file": Case(lambda store: store.copy(CTX, "/d.txt", "/new", overwrite=False)),
    "copy a file over a file": Case(
        lambda store: store.copy(CTX, "/d.txt", "/f.txt", overwrite=True)
    ),
    "copy a tree": Case(lambda store: store.copy(CTX, "/d", "/f/new", overwrite=False)),
    "copy a tree over a tree": Case(
        lambda store: store.copy(CTX, "/d", "/f", overwrite=True), swaps=True
    ),
}

#: With another file system at /f/mount.
MOUNT_CASES = {
    "move a file": Case(lambda store: store.move(CTX, "/d.txt", "/f/mount/new", overwrite=False)),
    "move a tree": Case(lambda store: store.move(CTX, "/d", "/f/mount/new", overwrite=False)),
    "upload": Case(lambda store: put(store, "/f/mount/new", b"new"), forgets=True),
    "delete a tree": Case(lambda store: store.delete(CTX, "/f/mount/tree")),
    "move a tree over a tree": Case(
        lambda store: store.move(CTX, "/d", "/f/mount/tree", overwrite=True)
    ),
    "move a tree back over a tree": Case(
        lambda store: store.move(CTX, "/f/mount/tree", "/d", overwrite=True)
    ),
}

RUNS = [
    pytest.param(case, means, id=f"{name}-{means}")
    for name, case in CASES.items()
    for means in (("kernel", "portable") if case.swaps else ("kernel",))
]


def seen(store: Store, forgets: bool) -> Mapping[str, object]:
    """Everything in the store. With `forgets`, digests may be missing, but not be wrong."""
    found = attributes_of_tree(store)
    return {path: _without_type(what) for path, what in found.items()} if forgets else found


def _without_type(what: object) -> object:
    if not isinstance(what, tuple):
        return what
    (name, is_folder, size, _, digests, props, modified), content = what
    assert not digests or digests == digests_of(content, ("sha1", "sha256"))
    return name, is_folder, size, props, modified, content


def left_over(home: Path) -> list[object]:
    """What no settled share has: temporaries, intents, leases, rows of what is gone."""
    found: list[object] = list((home / "share").glob("**/.davstore~/*"))
    db = sqlite3.connect(home / "state" / "nodes.db")
    try:
        for table, which in (("intents", "1"), ("uploads", "1"), ("nodes", "parent < 0")):
            found += db.execute(f"SELECT * FROM {table} WHERE {which}").fetchall()
    finally:
        db.close()
    return found


def sizes(store: Store) -> int:
    return sum(len(content) for content in tree(store).values() if content is not None)


def prepared(home: Path, means: Means) -> Opener:
    opener = functools.partial(open_folder, home, "rename", means)
    with opened(opener) as store:
        prepare(store)
        used(store)
    return opener


def die_at_every_step(
    case: Case, means: Means, home_for: Callable[[str], AbstractContextManager[Path]]
) -> None:
    """`home_for` gives an empty place for a share by its name."""
    with home_for("whole") as home, opened(prepared(home, means)) as store:
        before = seen(store, case.forgets)
        case.change(store)
        after = seen(store, case.forgets)
    assert before != after
    outcomes: list[bool] = []
    died = True
    while died:
        step = len(outcomes)
        with home_for(str(step)) as home:
            opener = prepared(home, means)
            died = dies_before(opener, case.change, step)
            with opened(opener) as store:
                found = seen(store, case.forgets)
                settle(store)
                assert seen(store, case.forgets) == found, f"step {step}: settled late"
                assert found in (before, after), f"step {step}"
                assert left_over(home) == [], f"step {step}"
                assert used(store) == sizes(store), f"step {step}"
                if found == before:
                    case.change(store)
                    assert seen(store, case.forgets) == after, f"step {step}: made again"
        outcomes.append(found == after)
    print(f"{len(outcomes)} deaths, {sum(outcomes)} of them after the change")
    assert outcomes == sorted(outcomes)
    assert outcomes[0] < outcomes[-1]


@pytest.mark.parametrize(("case", "means"), RUNS)
def test_a_death_at_any_step_leaves_the_change_made_or_not_made_and_nothing_else(
    tmp_path: Path, case: Case, means: Means
) -> None:
    @contextlib.contextmanager
    def home_for(name: str) -> Iterator[Path]:
        (tmp_path / name).mkdir()
        yield tmp_path / name

    die_at_every_step(case, means, home_for)


@pytest.mark.parametrize("case", MOUNT_CASES.values(), ids=MOUNT_CASES)
def test_a_death_at_any_step_of_a_move_to_another_file_system_leaves_one_of_the_two(
    tmp_path: Path, case: Case
) -> None:
    @contextlib.contextmanager
    def home_for(name: str) -> Iterator[Path]:
        mount = tmp_path / name / "share" / "f" / "mount"
        mount.mkdir(parents=True)
        with mounted("-t", "tmpfs", "tmpfs", str(mount)):
            yield tmp_path / name

    die_at_every_step(case, "kernel", home_for)
