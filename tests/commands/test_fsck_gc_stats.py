"""`davstore fsck`, `gc` and `stats` as people use them: real processes on a real mongod."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from davstore.stores.mongo.documents import STAGE
from davstore.stores.mongo.store import MongoStore
from tests.commands.test_import_export import read_terminal
from tests.components.mongod import Mongod
from tests.components.processes import free_port
from tests.stores.harness import CTX, names, pattern, put, read
from tests.stores.mongo.damages import DAMAGES, LARGE, LONG_AGO, Documents, fill, fresh
from tests.test_cli import DAVSTORE, Done, davstore, environment


@pytest.fixture
def share(here: Path, mongod: Mongod, mongo_database: str) -> Iterator[MongoStore]:
    """The store of /tree, which `here` has beside the folder share /files."""
    text = f"{{store: mongo, uri: '{mongod.uri}', database: {mongo_database}}}"
    (here / "davstore.yaml").write_text(f"shares: {{/tree: {text}, /files: ./data}}")
    store = MongoStore(mongod.uri, mongo_database, chunk_size=1 << 16)
    yield store
    store.close()


@pytest.fixture
def database(share: MongoStore) -> Documents:
    return share.database


def parsed(done: Done) -> dict[str, Any]:
    """The JSON that was printed, and nothing else."""
    assert done.err == ""
    found: dict[str, Any] = json.loads(done.out)
    return found


def age(database: Documents) -> None:
    """So much time has gone by that no operation can be under way any more."""
    now = datetime.now(UTC) - timedelta(seconds=1)
    database.nodes.update_many({"slot": {"$exists": True}}, {"$set": {"slot": now}})
    retired = {"metadata.state": {"$ne": "new"}, "metadata.gc": {"$exists": True}}
    database["fs.files"].update_many(retired, {"$set": {"metadata.gc": now}})


# fsck


def test_a_clean_share_is_status_0(here: Path, share: MongoStore) -> None:
    fill(share)
    assert davstore(here, "fsck", "/tree", "--verify") == (0, "Clean.\n", "")
    done = davstore(here, "fsck", "/tree/", "--json")
    assert done.status == 0
    assert parsed(done) == {"clean": True, "findings": [], "left": []}


def test_findings_are_status_1_and_named_by_path(
    here: Path, share: MongoStore, database: Documents
) -> None:
    fill(share)
    DAMAGES["chunk missing"].make(database)
    DAMAGES["leaked"].make(database)
    done = davstore(here, "fsck", "/tree")
    assert (done.status, done.err) == (1, "")
    assert "chunks: /d/large: Chunks of its content are missing" in done.out
    assert "(chunk 2 of 5 is missing)\n" in done.out
    assert done.out.endswith("2 findings.\n")
    done = davstore(here, "fsck", "/tree", "--json")
    assert done.status == 1
    found = parsed(done)
    assert not found["clean"]
    assert found["findings"][0].items() >= {
        "kind": "chunks", "path": "/d/large", "repaired": False,
        "detail": "chunk 2 of 5 is missing",
    }.items()  # fmt: skip
    assert found["findings"][1].items() >= {"kind": "leaked", "path": None}.items()


def test_changed_bytes_are_found_with_verify_only(
    here: Path, share: MongoStore, database: Documents
) -> None:
    fill(share)
    DAMAGES["chunk changed"].make(database)
    assert davstore(here, "fsck", "/tree").status == 0
    done = davstore(here, "fsck", "/tree", "--verify")
    assert done.status == 1 and "damaged: /d/large: " in done.out


def test_what_is_repaired_is_status_0(here: Path, share: MongoStore, database: Documents) -> None:
    fill(share)
    DAMAGES["no parent"].make(database)
    DAMAGES["counter"].make(database)
    done = davstore(here, "fsck", "/tree", "--repair")
    assert (done.status, done.err) == (0, "")
    assert done.out.count(" - repaired\n") == 4
    assert done.out.endswith("4 of 4 findings repaired.\nClean.\n")
    assert read(share, "/lost+found/large") == LARGE
    assert davstore(here, "fsck", "/tree", "--verify").status == 0


def test_what_is_left_after_a_repair_is_status_1(
    here: Path, share: MongoStore, database: Documents
) -> None:
    fill(share)
    DAMAGES["leaked"].make(database)
    DAMAGES["last chunk missing"].make(database)
    done = davstore(here, "fsck", "/tree", "--repair", "--json")
    found = parsed(done)
    assert done.status == 1
    assert [(each["kind"], each["repaired"]) for each in found["findings"]] == [
        ("chunks", False), ("leaked", True),
    ]  # fmt: skip
    assert [each["kind"] for each in found["left"]] == ["chunks"]


def test_a_name_cannot_break_the_line(here: Path, share: MongoStore, database: Documents) -> None:
    put(share, "/file", pattern(100_000))
    database.nodes.update_one({"n": "file"}, {"$set": {"n": "a\nClean.\x1b[2J"}})
    database["fs.chunks"].delete_many({})
    done = davstore(here, "fsck", "/tree")
    assert done.status == 1
    assert len(done.out.splitlines()) == 2 and "\x1b" not in done.out


# gc and stats


def test_gc_frees_what_was_deleted(here: Path, share: MongoStore, database: Documents) -> None:
    fill(share)
    before = parsed(davstore(here, "stats", "/tree", "--json"))
    assert (before["files"], before["folders"], before["inline"]) == (4, 2, 3)
    assert before["bytes"] == before["used"] == len(LARGE) + 18 + 1 + 5
    assert (before["contents"], before["chunks"]) == ({"live": 1}, 5)
    share.delete(CTX, "/d")
    first = parsed(davstore(here, "gc", "/tree", "--grace", "0", "--json"))
    # Somebody may have looked at the names a moment ago, so they stay.
    assert (first["nodes"], first["contents"], first["waiting"]) == (0, 0, 5)
    assert 0 < first["seconds"] <= 300
    between = parsed(davstore(here, "stats", "/tree", "--json"))
    assert (between["files"], between["deleted"], between["used"]) == (1, 5, 5)
    assert between["chunks"] == 5
    age(database)
    second = parsed(davstore(here, "gc", "/tree", "--grace", "0", "--json"))
    assert (second["nodes"], second["contents"], second["waiting"]) == (5, 0, 1)
    age(database)
    third = parsed(davstore(here, "gc", "/tree", "--grace", "0", "--json"))
    assert (third["contents"], third["bytes"], third["waiting"]) == (1, len(LARGE), 0)
    after = parsed(davstore(here, "stats", "/tree", "--json"))
    assert (after["deleted"], after["contents"], after["chunks"]) == (0, {}, 0)
    assert (after["files"], after["used"], after["duties"]) == (1, 5, 0)
    assert davstore(here, "fsck", "/tree", "--verify").status == 0


def test_gc_keeps_to_the_grace_of_the_share(
    here: Path, share: MongoStore, database: Documents
) -> None:
    fill(share)
    put(share, "/d/large", b"replaced")
    share.delete(CTX, "/other")
    age(database)
    done = parsed(davstore(here, "gc", "/tree", "--json"))
    assert (done["nodes"], done["contents"], done["waiting"]) == (0, 0, 1)
    assert 3000 < done["seconds"] <= 3600
    assert database.nodes.count_documents({"old": {"$exists": True}}) == 1
    done = parsed(davstore(here, "gc", "/tree", "--grace", "0", "--json"))
    assert (done["nodes"], database.nodes.count_documents({"old": {"$exists": True}})) == (1, 0)


def test_gc_leaves_what_is_under_way(here: Path, share: MongoStore, database: Documents) -> None:
    """An upload, a copy that is being built, a name that was just looked at, a download."""
    fill(share)
    content = pattern(400_000)
    upload = share.upload(CTX, "/new")
    upload.write(content)
    upload.persist(600)
    share.delete(CTX, "/other")
    lease = datetime.now(UTC) + timedelta(seconds=600)
    (model,) = database.nodes.find({"n": "d"})
    staged = {"_id": fresh(), "p": STAGE, "n": "op", "stg": True, "gc": lease}
    database.nodes.insert_one({**model, **staged})
    for _ in range(2):
        assert davstore(here, "gc", "/tree", "--grace", "0").status == 0
    assert database.nodes.count_documents({"stg": True, "del": {"$exists": False}}) == 1
    assert database.nodes.count_documents({"n": "other"}) == 1
    upload.commit(expected_length=len(content))
    assert read(share, "/new") == content
    assert names(share) == ["d", "new"]


def test_gc_goes_on_past_what_somebody_wrote_wrongly(
    here: Path, share: MongoStore, database: Documents
) -> None:
    fill(share)
    share.delete(CTX, "/other")
    share.delete(CTX, "/d/e/x")
    database.nodes.update_one({"n": "other"}, {"$unset": {"v": 1}})
    database.nodes.update_many({"del": {"$exists": True}}, {"$set": {"del": LONG_AGO}})
    age(database)
    done = davstore(here, "gc", "/tree", "--json")
    assert (done.status, json.loads(done.out)["nodes"]) == (0, 1)
    assert "cannot be done" in done.err


def test_stats_for_people(here: Path, share: MongoStore) -> None:
    fill(share)
    done = davstore(here, "stats", "/tree")
    assert (done.status, done.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert rows["files"] == "4 (3 in one document), 293.0 KiB"
    assert rows["folders"] == "2"
    assert rows["used"] == "293.0 KiB"


# What they have in common


@pytest.mark.parametrize("command", ["fsck", "gc", "stats"])
def test_what_cannot_be_run_is_status_2_and_one_sentence(
    here: Path, share: MongoStore, command: str
) -> None:
    for name, sentence in {
        "/files": "the share /files does not lie in MongoDB; only such shares need this.",
        "/tree/d": "only the share /tree as a whole can be looked at.",
        "/none": "no share is mounted at or above /none; there is /files, /tree",
    }.items():
        assert davstore(here, command, name) == (2, "", f"davstore: {sentence}\n")
    closed = f"shares: {{/tree: {{store: mongo, uri: 'mongodb://127.0.0.1:{free_port()}/x'}}}}"
    (here / "davstore.yaml").write_text(closed)
    done = davstore(here, command, "/tree")
    assert (done.status, done.out) == (2, "")
    assert "the share /tree cannot be opened: " in done.err
    assert davstore(here, command).status == 2


@pytest.mark.parametrize("command", ["fsck", "gc"])
def test_a_bar_is_shown_on_a_terminal_only(here: Path, share: MongoStore, command: str) -> None:
    fill(share)
    share.delete(CTX, "/other")
    shown, terminal = pty.openpty()
    done = subprocess.run(
        [*DAVSTORE, command, "/tree", "--json"], cwd=here, env=environment({"TERM": "xterm"}, here),
        stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=True,
    )  # fmt: skip
    os.close(terminal)
    assert "100%" in read_terminal(shown)
    assert json.loads(done.stdout)
