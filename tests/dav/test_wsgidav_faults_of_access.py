"""The rest of what wsgidav 4.4 gets wrong: locks, times, paths, authentication, speed.

See test_wsgidav_faults.py.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from davstore import handoff
from davstore.dav.lock_manager import LockManager
from davstore.dav.request_server import RequestServer
from tests.dav.client import (
    DAV,
    Dav,
    lockinfo,
    proppatch_body,
)
from tests.dav.conftest import MakeApp

WIN32 = "{urn:schemas-microsoft-com:}"
SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"


# Locks


def test_an_expired_lock_below_does_not_disturb_a_change_above(
    dav: Dav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    dav.lock("/a/b", timeout="Second-10")
    assert dav("DELETE", "/a").status == 207
    later = time.time() + 11
    monkeypatch.setattr(time, "time", lambda: later)
    assert dav("DELETE", "/a").status == 204


def test_a_refused_lock_on_an_unmapped_url_leaves_nothing_behind(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.lock("/a", depth="infinity")
    assert dav("LOCK", "/a/new", lockinfo()).status == 423
    assert dav("GET", "/a/new").status == 404


def test_inherited_locks_are_shown_in_lockdiscovery(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    token = dav.lock("/a", depth="infinity")
    answer = dav.propfind("/a/b", DAV + "lockdiscovery")
    assert token.encode() in answer.body
    listing = dav.propfind("/a", DAV + "lockdiscovery", depth="1")
    assert listing.body.count(token.encode()) == 2


def test_ones_own_locks_below_do_not_refuse_a_deep_change(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    token = dav.lock("/a/b")
    assert dav("DELETE", "/a", if_=f"</a/b> (<{token}>)").status == 204


def test_a_lock_without_a_timeout_lasts_an_hour_and_none_longer_than_a_day(dav: Dav) -> None:
    dav.put("/a")
    dav.put("/b")
    assert b"Second-3600" in dav("LOCK", "/a", lockinfo()).body.replace(b"3599", b"3600")
    answer = dav("LOCK", "/b", lockinfo(), timeout="Infinite, Second-4100000000")
    assert b"Second-864" in answer.body or b"Second-86399" in answer.body


def test_every_provider_has_our_lock_manager(make_app: MakeApp) -> None:
    app = make_app("/a", "/b")
    managers = {type(provider.lock_manager) for provider in app.provider_map.values()}
    assert managers == {LockManager}


# Properties and times


def test_a_new_file_has_none_of_the_properties_of_the_deleted_one(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    dav("PROPPATCH", "/a/b", proppatch_body({"{urn:x}color": "red"}))
    assert dav("DELETE", "/a").status == 204
    dav.mkcol("/a")
    dav.put("/a/b")
    found = dav.propfind("/a/b", "{urn:x}color").responses()["/a/b"]
    assert found["{urn:x}color"][0] == 404


def test_lastmodified_can_be_set_in_seconds(dav: Dav) -> None:
    dav.put("/a")
    answer = dav("PROPPATCH", "/a", proppatch_body({DAV + "lastmodified": "784111777"}))
    assert answer.responses()["/a"][DAV + "lastmodified"][0] == 200
    assert dav("HEAD", "/a").headers["last-modified"] == SUNDAY


def test_the_win32_properties_are_kept_and_set_the_time(dav: Dav) -> None:
    dav.put("/a")
    sets = {
        WIN32 + "Win32CreationTime": "Mon, 07 Nov 1994 08:49:37 GMT",
        WIN32 + "Win32LastAccessTime": SUNDAY,
        WIN32 + "Win32LastModifiedTime": SUNDAY,
        WIN32 + "Win32FileAttributes": "00000020",
    }
    answer = dav("PROPPATCH", "/a", proppatch_body(sets))
    assert {status for status, _ in answer.responses()["/a"].values()} == {200}
    found = dav.propfind("/a", *sets)
    assert {name: found.text("/a", name) for name in sets} == sets
    assert dav("HEAD", "/a").headers["last-modified"] == SUNDAY


def test_creationdate_does_not_change_with_content_or_properties(dav: Dav) -> None:
    dav.put("/a", x_oc_mtime="784111777")
    created = dav.propfind("/a", DAV + "creationdate").text("/a", DAV + "creationdate")
    dav("PROPPATCH", "/a", proppatch_body({"{urn:x}color": "red"}))
    dav.put("/a", b"more", x_oc_mtime="784111778")
    assert dav.propfind("/a", DAV + "creationdate").text("/a", DAV + "creationdate") == created


# Paths


def test_a_path_that_is_not_utf8_is_400(dav: Dav) -> None:
    for method in ("GET", "PUT", "PROPFIND", "MKCOL"):
        answer = dav(method, "/%FF%FE", depth="0")
        assert answer.status == 400
        assert b"UTF-8" in answer.body


def test_an_escaped_slash_in_a_destination_is_400(dav: Dav) -> None:
    dav.put("/a")
    assert dav("COPY", "/a", destination="/x%2Fy").status == 400


def test_a_file_asked_for_with_a_slash_is_404(dav: Dav) -> None:
    dav.put("/a")
    for method in ("GET", "HEAD", "PROPFIND", "DELETE", "PROPPATCH"):
        body = proppatch_body({"{urn:x}c": "1"}) if method == "PROPPATCH" else b""
        assert dav(method, "/a/", body, depth="0").status == 404, method


def test_a_name_in_nfd_finds_the_one_in_nfc(dav: Dav) -> None:
    dav.put("/%C3%A4")  # a umlaut, NFC
    assert dav.get("/a%CC%88") == b"content"
    dav.put("/a%CC%88", b"new")
    assert list(dav.propfind("/", depth="1").responses()) == ["/", "/%C3%A4"]


def test_a_share_whose_name_has_capitals_is_reachable(make_app: MakeApp) -> None:
    dav = Dav(make_app("/Files"))
    dav.put("/Files/a")
    assert dav.get("/Files/a") == b"content"
    assert dav("GET", "/files/a").status == 404


def test_a_read_only_share_advertises_only_what_it_does(
    make_app: MakeApp, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "ro").mkdir()
    root = {"store": "memory"} if kind == "memory" else {"root": str(tmp_path / "ro")}
    dav = Dav(make_app(shares={"/": {**root, "read_only": True}}))
    answer = dav("OPTIONS", "/")
    assert answer.headers["dav"] == "1, 3"
    assert "DELETE" not in answer.headers["allow"]
    assert dav("PUT", "/a", b"x").status == 403
    assert dav("LOCK", "/a", lockinfo()).status == 403


def test_a_symlink_out_of_the_share_is_not_there(dav: Dav, kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    if kind == "memory":  # it has no links; what a link could look like is a plain name
        assert dav("GET", "/link").status == 404
        return
    (tmp_path / "share0" / "link").symlink_to(tmp_path / "secret")
    assert dav("GET", "/link").status == 404
    assert list(dav.propfind("/", depth="1").responses()) == ["/"]


# Authentication


MALFORMED = ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"no colon").decode(), "Bearer x"]


@pytest.fixture
def guarded(make_app: MakeApp, tmp_path: Path) -> Dav:
    """An application with one user, "ada" with the password "engine"."""
    users = tmp_path / "users.txt"
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    users.write_text(f"ada:{hasher.hash('engine')}\n")
    users.chmod(0o600)
    return Dav(make_app(auth={"users": str(users)}))


@pytest.mark.parametrize("header", MALFORMED)
def test_malformed_credentials_are_401(guarded: Dav, header: str) -> None:
    answer = guarded("GET", "/", authorization=header)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


def test_digest_which_could_be_replayed_is_not_offered(guarded: Dav) -> None:
    assert "Digest" not in guarded("GET", "/").headers["www-authenticate"]
    assert guarded("GET", "/", authorization='Digest username="ada"').status == 401


def test_a_trusted_header_is_trusted_from_nobody(guarded: Dav) -> None:
    assert guarded("GET", "/", x_remote_user="ada", remote_user="ada").status == 401


def test_right_credentials_enter_and_wrong_ones_do_not(guarded: Dav) -> None:
    guarded.user = "ada:engine"
    assert guarded("PUT", "/a", b"x").status == 201
    guarded.user = "ada:motor"
    assert guarded("GET", "/a").status == 401


# Speed


def test_a_file_is_handed_to_the_server_rather_than_copied(dav: Dav, kind: str) -> None:
    dav.put("/a", b"0123456789")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a",
        "HTTP_HOST": "localhost",
        "HTTP_RANGE": "bytes=2-5",
        handoff.SPAN_OFFERED_KEY: True,
    }
    body: Any = dav.app(environ, lambda status, headers: None)
    span = environ.get(handoff.SPAN_KEY)
    assert (span is not None) == (kind == "folder")
    if span is not None:
        assert (span.offset, span.length) == (2, 4)
    body.close()


def test_only_get_and_head_of_a_folder_look_at_its_page(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b & c")
    page = dav("GET", "/a")
    assert page.headers["content-type"].startswith("text/html")
    assert b"b &amp; c" in page.body
    assert dav("HEAD", "/a").status == 200
    assert dav("POST", "/a").status == 405


def test_requests_are_answered_by_our_request_server(make_app: MakeApp) -> None:
    app = make_app()
    resolver = app.application.next_app
    assert all(isinstance(server, RequestServer) for server in resolver._servers.values())


def test_unknown_methods_are_501(dav: Dav) -> None:
    assert dav("BREW", "/").status == 501
