"""Errors: each has a path and a meaning, and none a status of HTTP."""

from __future__ import annotations

import inspect
import pickle

import pytest

from davstore import errors
from davstore.errors import ConfigError, LockConflict, Locked, NotFound, StoreError

ALL = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, StoreError)
]


@pytest.mark.parametrize("error", ALL)
def test_every_error_carries_its_path_and_a_sentence(error: type[StoreError]) -> None:
    caught = error("/a/b")
    assert caught.path == "/a/b"
    assert caught.detail == error.meaning
    assert caught.detail.endswith(".")
    assert str(caught) == f"/a/b: {error.meaning}"


@pytest.mark.parametrize("error", ALL)
def test_every_class_but_the_root_has_a_meaning_of_its_own(error: type[StoreError]) -> None:
    others = [other.meaning for other in ALL if other is not error]
    assert error.meaning not in others


def test_a_detail_takes_the_place_of_the_default_sentence() -> None:
    assert NotFound("/a", "Nothing here, sorry.").detail == "Nothing here, sorry."


def test_a_lock_in_the_way_names_its_roots() -> None:
    assert Locked("/a/b", ["/a", "/"]).roots == ("/a", "/")
    assert Locked("/a/b").roots == ("/a/b",)
    assert isinstance(LockConflict("/a", ["/a/b"]), Locked)


def test_no_error_knows_of_http() -> None:
    for error in ALL:
        assert not [name for name in dir(error("/")) if "status" in name.lower()]


def test_an_error_survives_the_way_between_processes() -> None:
    copied = pickle.loads(pickle.dumps(NotFound("/a", "Gone.")))
    assert (type(copied), copied.path, copied.detail) == (NotFound, "/a", "Gone.")


def test_a_wrong_configuration_reports_every_fault() -> None:
    caught = ConfigError(["port: 99999 is too large", "shares: missing"])
    assert caught.faults == ("port: 99999 is too large", "shares: missing")
    assert str(caught) == "port: 99999 is too large\nshares: missing"
