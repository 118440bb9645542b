"""Who may do what, by the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from davstore.auth.base import ANONYMOUS, Action, Identity
from davstore.auth.rules import build_authority
from davstore.auth.users import set_password
from davstore.config import Auth, Config
from davstore.errors import ConfigError


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("auth") / "users"
    set_password(file, "alice", "secret")
    return file


@pytest.mark.parametrize("action", Action)
def test_without_users_everybody_may_do_everything(action: Action) -> None:
    authority = build_authority(Config())
    assert authority.allows_anonymous
    assert authority.may(ANONYMOUS, action, "/x")


def test_without_users_credentials_that_nobody_asked_for_are_no_obstacle() -> None:
    assert build_authority(Config()).identify("who", "ever") == ANONYMOUS


@pytest.mark.parametrize("action", Action)
def test_with_users_each_of_them_may_do_everything_and_nobody_else_anything(
    users: Path, action: Action
) -> None:
    authority = build_authority(Config(auth=Auth(users=users)))
    assert not authority.allows_anonymous
    alice = authority.identify("alice", "secret")
    assert alice == Identity("alice")
    assert authority.may(alice, action, "/x")
    assert not authority.may(ANONYMOUS, action, "/x")


def test_wrong_credentials_are_nobody_also_where_anonymous_requests_are_let_in(
    users: Path,
) -> None:
    authority = build_authority(Config(auth=Auth(users=users, anonymous=True)))
    assert authority.allows_anonymous
    assert authority.may(ANONYMOUS, Action.WRITE, "/x")
    assert authority.identify("alice", "wrong") is None
    assert authority.identify("nobody", "secret") is None


def test_a_faulty_file_of_users_is_told_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("alice\nbob:plain\n")
    with pytest.raises(ConfigError) as caught:
        build_authority(Config(auth=Auth(users=file)))
    assert ["line 1" in caught.value.faults[0], "line 2" in caught.value.faults[1]] == [True, True]


def test_a_missing_file_of_users_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        build_authority(Config(auth=Auth(users=tmp_path / "none")))
