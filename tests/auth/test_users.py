"""The file of users: what it may hold, how it is rewritten, and that changes are seen."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore.auth import users
from davstore.auth.users import UserFile, parse, remove_user, set_password
from davstore.auth.verify import check_hash

ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$jD6TjGwxhn0LHE8B5aQGjg"
#: With a salt that is always the same: it stands in the names of tests.
BCRYPT = bcrypt.hashpw(b"secret", b"$2b$04$abcdefghijklmnopqrstuu").decode()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_argon2id_and_htpasswd_bcrypt_lines_are_read_with_comments_between() -> None:
    text = f"# who may\n\nalice:{ARGON2}\nbob:{BCRYPT}\r\ncarol:{BCRYPT.replace('$2b$', '$2y$')}\n"
    found = parse(text)
    assert list(found.hashes) == ["alice", "bob", "carol"]
    assert not found.faults


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("dave", "name:hash"),
        (":x", "empty"),
        ("dave:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "neither argon2id nor bcrypt"),
        ("dave:$apr1$x$y", "neither argon2id nor bcrypt"),
        ("dave:plain", "neither argon2id nor bcrypt"),
        ("dave:" + ARGON2.replace("argon2id", "argon2i"), "neither argon2id nor bcrypt"),
        ("dave:" + BCRYPT[:-1], "neither argon2id nor bcrypt"),
        (f"alice:{ARGON2}", "second time"),
        (f"a\tb:{ARGON2}", "control character"),
        (f"DOMAIN\\dave:{ARGON2}", "backslash"),
        (f"{'x' * 256}:{ARGON2}", "255 bytes"),
        (f" dave:{ARGON2}", "begins or ends"),
    ],
)
def test_a_line_that_is_wrong_is_told_by_number_and_lets_nobody_in(line: str, reason: str) -> None:
    found = parse(f"alice:{ARGON2}\n{line}\n")
    assert list(found.hashes) == ["alice"]
    assert len(found.faults) == 1
    assert found.faults[0].startswith("line 2: ")
    assert reason in found.faults[0]


def test_a_fault_never_shows_what_may_be_a_password() -> None:
    assert "hunter2" not in "".join(parse("dave:hunter2").faults)


def test_names_are_compared_in_their_composed_form(tmp_path: Path) -> None:
    file = tmp_path / "users"
    set_password(file, "Zoe\u0308", "x")
    assert list(UserFile(file).users().hashes) == ["Zo\u00eb"]
    assert not set_password(file, "Zo\u00eb", "y")
    assert remove_user(file, "Zoe\u0308")


@given(st.text())
def test_no_text_makes_reading_fail(text: str) -> None:
    parse(text)


def test_a_new_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "users"
    assert set_password(file, "alice", "secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert check_hash(UserFile(file).users().hashes["alice"], "secret")
    assert "secret" not in file.read_text()


def test_a_rewritten_file_keeps_its_owner_its_mode_and_everybody_else(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"# ours\nalice:{ARGON2}\n\nbob:{BCRYPT}\n")
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 1234, 1235)
    owner = file.stat()
    assert not set_password(file, "alice", "new")
    lines = file.read_text().splitlines()
    assert (lines[0], lines[2], lines[3]) == ("# ours", "", f"bob:{BCRYPT}")
    assert remove_user(file, "bob")
    assert not remove_user(file, "bob")
    assert list(UserFile(file).users().hashes) == ["alice"]
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode) == (
        owner.st_uid, owner.st_gid, owner.st_mode,
    )  # fmt: skip
    assert [entry.name for entry in tmp_path.iterdir()] == ["users"]


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "users").symlink_to("kept/users")
    set_password(tmp_path / "users", "alice", "x")
    assert (tmp_path / "users").is_symlink()
    assert (tmp_path / "kept/users").is_file()


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".users.new").write_text("half")
    set_password(tmp_path / "users", "alice", "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["users"]


def test_a_name_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    for name in ("", "a:b", "a\\b", "#a", "a\nb"):
        with pytest.raises(ValueError, match="name"):
            set_password(tmp_path / "users", name, "x")
    assert not list(tmp_path.iterdir())


def test_users_added_by_several_processes_at_once_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "users"
    script = (
        "import sys, pathlib, davstore.auth.users as u\n"
        f"u.hash_password = lambda _: {ARGON2!r}\n"
        "for i in range(20): u.set_password(pathlib.Path(sys.argv[1]), sys.argv[2] + str(i), 'x')\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(file), name]) for name in "abcd"]
    assert [process.wait(60) for process in running] == [0] * 4
    expected = {name + str(number) for name in "abcd" for number in range(20)}
    assert set(UserFile(file).users().hashes) == expected


def test_the_file_is_looked_at_once_a_second_and_read_when_it_has_changed(tmp_path: Path) -> None:
    file, clock = tmp_path / "users", Clock()
    file.write_text(f"alice:{ARGON2}\n")
    known = UserFile(file, clock)
    file.write_text(f"alice:{ARGON2}\nbob:{BCRYPT}\n")
    clock.now += users.LOOK_INTERVAL / 2
    assert list(known.users().hashes) == ["alice"]
    clock.now += users.LOOK_INTERVAL / 2
    assert list(known.users().hashes) == ["alice", "bob"]
    before = known.users()
    clock.now += 100
    assert known.users() is before


def test_a_file_that_goes_away_lets_nobody_in_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "users", Clock()
    file.write_text(f"alice:{ARGON2}\n")
    known = UserFile(file, clock)
    file.rename(tmp_path / "away")
    for _ in range(3):
        clock.now += 1
        assert not known.users().hashes
    assert len(caplog.records) == 1
    (tmp_path / "away").rename(file)
    clock.now += 1
    assert known.users().hashes


def test_a_line_that_becomes_wrong_later_is_logged_and_the_others_still_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "users", Clock()
    file.write_text(f"alice:{ARGON2}\n")
    known = UserFile(file, clock)
    file.write_text(f"alice:{ARGON2}\nbob:plain\n")
    clock.now += 1
    assert list(known.users().hashes) == ["alice"]
    assert "line 2" in caplog.text


def test_a_missing_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        UserFile(tmp_path / "none")
