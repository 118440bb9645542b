"""LOCK, UNLOCK and what locks forbid (RFC 4918, 6, 7, 9.10, 9.11)."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from davstore.dav.methods import lock as lock_method
from davstore.dav.request import Request
from davstore.locks.base import Lock, LockRequest
from tests.dav.client import DAV, Dav, lockinfo, proppatch_body
from tests.dav.conftest import MakeApp

WIN32 = "{urn:schemas-microsoft-com:}Win32LastModifiedTime"
THEN = "Sun, 06 Nov 1994 08:49:37 GMT"
OFFICE = "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0; Pro)"


def held(token: str) -> str:
    """The If header that submits it."""
    return f"(<{token}>)"


def test_a_lock_on_an_unmapped_url_is_201_and_creates_an_empty_file(dav: Dav) -> None:
    answer = dav("LOCK", "/new", lockinfo(), if_none_match="*")
    assert answer.status == 201
    assert dav.get("/new") == b""
    assert dav("PUT", "/new", b"x").status == 423
    token = answer.headers["lock-token"].strip("<>")
    assert dav("PUT", "/new", b"x", if_=held(token)).status == 204


def test_a_lock_on_an_unmapped_url_without_a_parent_is_409_and_leaves_no_lock(dav: Dav) -> None:
    assert dav("LOCK", "/no/new", lockinfo()).status == 409
    dav.mkcol("/no")
    dav.put("/no/new")


def test_if_none_match_refuses_to_lock_what_is_there(dav: Dav) -> None:
    dav.put("/a")
    assert dav("LOCK", "/a", lockinfo(), if_none_match="*").status == 412


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PUT", b"new"),
        ("DELETE", b""),
        ("PROPPATCH", proppatch_body({"{urn:x}c": "1"})),
        ("MOVE", b""),
    ],
)
def test_a_lock_refuses_changes_without_its_token(dav: Dav, method: str, body: bytes) -> None:
    dav.put("/a")
    token = dav.lock("/a")
    answer = dav(method, "/a", body, destination="/b")
    assert answer.status == 423
    condition = answer.xml().find(DAV + "lock-token-submitted")
    assert condition.findtext(DAV + "href") == "/a"
    assert dav(method, "/a", body, destination="/b", if_=held(token)).status in (201, 204, 207)


def test_a_lock_does_not_refuse_reading_or_copying_away(dav: Dav) -> None:
    dav.put("/a")
    dav.lock("/a")
    assert dav.get("/a") == b"content"
    assert dav("COPY", "/a", destination="/b").status == 201
    dav.put("/b", b"the copy is not locked")


def test_a_lock_refuses_being_copied_or_moved_over(dav: Dav) -> None:
    dav.put("/a")
    dav.put("/b")
    token = dav.lock("/b")
    for method in ("COPY", "MOVE"):
        assert dav(method, "/a", destination="/b").status == 423
    assert dav("COPY", "/a", destination="/b", if_=f"</b> (<{token}>)").status == 204


def test_a_depth_infinity_lock_covers_new_members_and_a_depth_0_lock_their_names(dav: Dav) -> None:
    dav.mkcol("/deep")
    dav.mkcol("/flat")
    dav.put("/flat/old")
    dav.lock("/deep", depth="infinity")
    dav.lock("/flat", depth="0")
    assert dav("PUT", "/deep/new", b"x").status == 423
    assert dav("PUT", "/flat/new", b"x").status == 423
    assert dav("MKCOL", "/flat/sub").status == 423
    assert dav("DELETE", "/flat/old").status == 423
    assert dav("PUT", "/flat/old", b"x").status == 204


def test_shared_locks_coexist_and_any_of_their_tokens_opens(dav: Dav) -> None:
    dav.put("/a")
    first = dav.lock("/a", scope="shared")
    second = dav.lock("/a", scope="shared")
    assert dav("LOCK", "/a", lockinfo("exclusive")).status == 423
    assert dav("PUT", "/a", b"x").status == 423
    assert dav("PUT", "/a", b"x", if_=held(first)).status == 204
    assert dav("PUT", "/a", b"x", if_=held(second)).status == 204
    discovery = dav.propfind("/a", DAV + "lockdiscovery").body
    assert first.encode() in discovery and second.encode() in discovery


def test_a_deep_lock_over_a_locked_member_is_207_that_names_it(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    dav.lock("/a/b")
    answer = dav("LOCK", "/a", lockinfo(), depth="infinity")
    assert answer.status == 207
    assert answer.statuses() == {"/a/b": 423, "/a/": 424}


def test_a_delete_over_a_locked_member_changes_nothing_and_names_it(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    dav.put("/a/c")
    dav.lock("/a/b")
    answer = dav("DELETE", "/a")
    assert (answer.status, answer.statuses()) == (207, {"/a/b": 423})
    assert dav.get("/a/c") == b"content"


def test_a_refresh_with_an_empty_body_prolongs_the_lock(dav: Dav) -> None:
    dav.put("/a")
    token = dav.lock("/a", timeout="Second-60")
    answer = dav("LOCK", "/a", timeout="Second-600", if_=held(token))
    assert answer.status == 200
    assert b"Second-600" in answer.body or b"Second-599" in answer.body
    assert "lock-token" not in answer.headers


def test_a_refresh_of_an_unknown_lock_is_412_and_without_if_400(dav: Dav) -> None:
    dav.put("/a")
    assert dav("LOCK", "/a", if_=held("opaquelocktoken:unknown")).status == 412
    assert dav("LOCK", "/a").status == 400


def test_a_refresh_through_a_member_of_a_deep_lock_works(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    token = dav.lock("/a", depth="infinity")
    assert dav("LOCK", "/a/b", timeout="Second-60", if_=held(token)).status == 200


@pytest.mark.parametrize("form", ["<{}>", "{}"])
def test_unlock_takes_the_token_with_or_without_brackets(dav: Dav, form: str) -> None:
    dav.put("/a")
    token = dav.lock("/a")
    assert dav("UNLOCK", "/a", lock_token=form.format(token)).status == 204
    dav.put("/a")


def test_unlock_of_a_wrong_token_is_409_and_without_one_400(dav: Dav) -> None:
    dav.put("/a")
    dav.put("/b")
    token = dav.lock("/a")
    assert dav("UNLOCK", "/b", lock_token=f"<{token}>").status == 409
    assert dav("UNLOCK", "/a").status == 400
    assert dav("PUT", "/a", b"x").status == 423


@pytest.mark.parametrize(
    "body",
    [
        "not xml",
        "<x/>",
        '<lockinfo xmlns="DAV:"/>',
        lockinfo("impossible"),
        lockinfo().replace("D:write", "D:read"),
        lockinfo().replace("somebody", "s" * 5000),
    ],
)
def test_a_lock_body_that_makes_no_sense_is_400(dav: Dav, body: str) -> None:
    dav.put("/a")
    assert dav("LOCK", "/a", body).status == 400
    dav.put("/a")


def test_a_lock_of_depth_1_is_400(dav: Dav) -> None:
    dav.put("/a")
    assert dav("LOCK", "/a", lockinfo(), depth="1").status == 400


def test_the_owner_comes_back_as_it_was_sent(dav: Dav) -> None:
    dav.put("/a")
    owner = "<D:owner><D:href>mailto:ä&amp;b</D:href></D:owner>"
    body = lockinfo().replace("<D:owner>somebody</D:owner>", owner)
    answer = dav("LOCK", "/a", body)
    found = answer.xml().find(f".//{DAV}owner/{DAV}href")
    assert found.text == "mailto:ä&b"


def test_a_token_of_somebody_else_opens_nothing(make_app: MakeApp, tmp_path: Path) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    users = tmp_path / "users.txt"
    users.write_text("".join(f"{name}:{hasher.hash(name)}\n" for name in ("ada", "bob")))
    users.chmod(0o600)
    app = make_app(auth={"users": str(users)})
    ada, bob = Dav(app, "ada:ada"), Dav(app, "bob:bob")
    ada.put("/a")
    token = ada.lock("/a")
    assert bob("PUT", "/a", b"x", if_=held(token)).status == 423
    assert bob("LOCK", "/a", if_=held(token)).status == 412
    times = proppatch_body({WIN32: THEN})
    assert bob("PROPPATCH", "/a", times, user_agent=OFFICE).status == 423
    assert bob("UNLOCK", "/a", lock_token=f"<{token}>").status == 403
    assert ada("PUT", "/a", b"x", if_=held(token)).status == 204


def test_not_no_lock_lets_a_client_submit_a_token_that_may_be_gone(dav: Dav) -> None:
    etag = dav.put("/a").etag
    condition = f"(<opaquelocktoken:gone> [{etag}]) (Not <DAV:no-lock> [{etag}])"
    assert dav("PUT", "/a", b"x", if_=condition).status == 204


@pytest.mark.parametrize(
    "text",
    ["", "x", "(", "()", "(<t>", "<t>", "(Not)", "(<a>) <t> (<b>)", "([x)", "<t> </a> (<b>)"],
)
def test_an_if_header_that_cannot_be_understood_is_400(dav: Dav, text: str) -> None:
    dav.put("/a")
    assert dav("PUT", "/a", b"x", if_=text).status == 400
    assert dav.get("/a") == b"content"


def test_office_may_set_the_times_of_a_file_it_has_locked_without_the_token(dav: Dav) -> None:
    dav.put("/a")
    dav("LOCK", "/a", lockinfo())
    assert dav("PROPPATCH", "/a", proppatch_body({WIN32: THEN}), user_agent=OFFICE).status == 207
    assert dav("GET", "/a").headers["last-modified"] == THEN
    assert dav("PROPPATCH", "/a", proppatch_body({WIN32: THEN})).status == 423
    others = proppatch_body({WIN32: THEN, "{urn:x}color": "red"})
    assert dav("PROPPATCH", "/a", others, user_agent=OFFICE).status == 423
    assert dav("PUT", "/a", b"x", user_agent=OFFICE).status == 423


def test_a_change_of_a_live_property_of_a_locked_file_is_423(dav: Dav) -> None:
    dav.put("/a")
    dav("LOCK", "/a", lockinfo())
    assert dav("PROPPATCH", "/a", proppatch_body({DAV + "getetag": "mine"})).status == 423


def test_a_resource_tag_without_a_list_is_400(dav: Dav) -> None:
    dav.put("/a")
    for text in ("</a> </b> (Not <DAV:no-lock>)", "</a> (Not <DAV:no-lock>) </b>"):
        assert dav("PUT", "/a", b"x", if_=text).status == 400
    assert dav.get("/a") == b"content"


def test_an_if_header_of_another_server_never_holds(dav: Dav) -> None:
    etag = dav.put("/a").etag
    header = f"<http://elsewhere.example/a> ([{etag}])"
    assert dav("PUT", "/a", b"x", if_=header).status == 412


def test_a_lock_on_a_name_that_somebody_has_just_created_leaves_it_as_it_is(
    dav: Dav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lock; the empty file of 7.3 must not replace it."""
    grant = lock_method._grant

    def created_right_before(request: Request, wanted: LockRequest) -> Lock:
        dav.put("/new", b"content")
        return grant(request, wanted)

    monkeypatch.setattr(lock_method, "_grant", created_right_before)
    assert dav("LOCK", "/new", lockinfo()).status == 200
    assert dav.get("/new") == b"content"
