"""The Basic scheme's header."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore.auth.basic import Credentials, challenge, parse_basic


def header(text: bytes, scheme: str = "Basic ") -> str:
    return scheme + base64.b64encode(text).decode()


@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC   "])
def test_name_and_password_are_parted_at_the_first_colon(scheme: str) -> None:
    assert parse_basic(header(b"alice:a:b", scheme)) == Credentials("alice", "a:b")


def test_an_empty_password_and_an_empty_name_are_well_formed() -> None:
    assert parse_basic(header(b"alice:")) == Credentials("alice", "")
    assert parse_basic(header(b":x")) == Credentials("", "x")


def test_text_is_utf_8_or_else_latin_1() -> None:
    assert parse_basic(header("zoë:ü€".encode())) == Credentials("zoë", "ü€")
    assert parse_basic(header("zoë:ü".encode("latin-1"))) == Credentials("zoë", "ü")


@pytest.mark.parametrize(
    "value",
    ["", "Basic", "Basic ", "Basic !!!!", "Basic YWxpY2U", "Basic YWxpY2U6eA", "Bearer YTpi",
     "Digest username=x", "Basic YTpi YTpi", header(b"no colon"), header(b"a\nb:x"),
     header(b"a:x\0"), "Basic \u00fc", "YTpi"],
)  # fmt: skip
def test_what_is_malformed_is_nobody(value: str) -> None:
    assert parse_basic(value) is None


@given(st.text())
def test_no_header_makes_it_fail(value: str) -> None:
    parse_basic(value)
    parse_basic("Basic " + value)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=":")), st.text(
    st.characters(exclude_categories=("Cc", "Cs"))))  # fmt: skip
def test_what_a_client_encodes_is_what_is_read(user: str, password: str) -> None:
    assert parse_basic(header(f"{user}:{password}".encode())) == Credentials(user, password)


def test_the_challenge_names_realm_and_character_set() -> None:
    assert challenge("Team files") == 'Basic realm="Team files", charset="UTF-8"'
