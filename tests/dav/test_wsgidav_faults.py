"""What wsgidav 4.4 gets wrong for a file server, row by row, and how it is here.

One test per fault, named after it, over every kind of store. Faults of the HTTP server are
in tests/server, those of a process that dies or a disk that is full in tests/e2e.
Continued in test_wsgidav_faults_of_access.py.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from tests.dav.client import (
    DAV,
    BrokenOff,
    BrokenOffChunked,
    Chunked,
    Dav,
    lockinfo,
    propfind_body,
    proppatch_body,
)
from tests.dav.conftest import MakeApp

SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"


# PUT


def test_put_shows_nothing_of_a_new_file_before_all_of_it_is_there(dav: Dav) -> None:
    seen: list[int] = []

    class Peeking(Chunked):
        def read(self, size: int | None = -1) -> bytes:
            seen.append(dav("GET", "/new").status)
            return b"" if len(seen) == 3 else b"part"

    assert dav("PUT", "/new", Peeking(b"")).status == 201
    assert seen == [404, 404, 404]
    assert dav.get("/new") == b"partpart"


@pytest.mark.parametrize("broken_off", [BrokenOff, BrokenOffChunked])
def test_put_whose_client_hangs_up_early_is_no_success_and_keeps_the_old_content(
    dav: Dav, broken_off: type[io.BytesIO]
) -> None:
    dav.put("/file", b"old")
    with pytest.raises(OSError):
        dav("PUT", "/file", broken_off(b"half of"))
    with pytest.raises(OSError):
        dav("PUT", "/new", broken_off(b"half of"))
    assert dav.get("/file") == b"old"
    assert dav("GET", "/new").status == 404


def test_put_that_fails_leaves_no_open_upload_behind(dav: Dav, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        dav("PUT", "/new", BrokenOff(b"half of"))
    litter = [path for path in tmp_path.glob("share0/**/*") if path.is_file()]
    assert litter == []


def test_put_keeps_the_content_type_over_changes_of_name(dav: Dav) -> None:
    dav.put("/strange.bin", b"x", content_type="text/x-davstore; charset=utf-8")
    dav("MOVE", "/strange.bin", destination="/moved.jpg")
    answer = dav("GET", "/moved.jpg")
    assert answer.headers["content-type"] == "text/x-davstore; charset=utf-8"


def test_put_to_a_name_with_a_slash_at_its_end_is_409_and_creates_nothing(dav: Dav) -> None:
    assert dav("PUT", "/x.txt/", b"x").status == 409
    assert dav("GET", "/x.txt").status == 404


@pytest.mark.parametrize(("target", "status"), [("/" + "n" * 300, 414), ("/a%00b", 400)])
def test_put_of_a_name_that_cannot_be_kept_is_4xx(dav: Dav, target: str, status: int) -> None:
    answer = dav("PUT", target, b"x")
    assert answer.status == status
    assert answer.body


def test_put_answers_the_etag_that_holds_after_the_clients_time_was_set(dav: Dav) -> None:
    answer = dav.put("/file", b"x", x_oc_mtime="784111777")
    assert answer.etag == dav("HEAD", "/file").etag
    assert dav("HEAD", "/file").headers["last-modified"] == SUNDAY


def test_put_takes_a_fractional_x_oc_mtime(dav: Dav) -> None:
    assert dav("PUT", "/file", b"x", x_oc_mtime="784111777.5").status == 201
    assert dav("HEAD", "/file").headers["last-modified"] == SUNDAY


@pytest.mark.parametrize("method", ["PUT", "COPY", "MOVE"])
def test_x_oc_mtime_is_said_to_be_accepted(dav: Dav, method: str) -> None:
    dav.put("/file", b"x")
    answer = dav(method, "/file", b"y", destination="/other", x_oc_mtime="784111777")
    assert answer.headers["x-oc-mtime"] == "accepted"
    changed = "/file" if method == "PUT" else "/other"
    assert dav("HEAD", changed).headers["last-modified"] == SUNDAY


# MOVE and COPY


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_transfer_that_fails_has_not_deleted_the_destination(dav: Dav, method: str) -> None:
    dav.mkcol("/target")
    dav.put("/target/kept")
    assert dav(method, "/missing", destination="/target").status == 404
    assert dav(method, "/target/kept", destination="/target").status == 403
    assert dav.get("/target/kept") == b"content"


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_transfer_is_201_for_a_new_destination_and_204_for_a_replaced_one(
    dav: Dav, method: str
) -> None:
    for source in ("/a", "/b"):
        dav.put(source)
    assert dav(method, "/a", destination="/new").status == 201
    assert dav(method, "/b", destination="/new").status == 204


@pytest.mark.parametrize("name", ["a;b.txt", "a%3Fb.txt", "a%23b", "a%25b", "a+b", "%C3%A4%20b"])
def test_destination_is_split_before_it_is_unquoted(dav: Dav, name: str) -> None:
    dav.put("/source")
    assert dav("MOVE", "/source", destination=f"http://localhost/{name}").status == 201
    assert dav.get(f"/{name}") == b"content"


@pytest.mark.parametrize(
    ("host", "destination"),
    [
        ("localhost", "http://localhost:8080/b"),
        ("localhost:8080", "http://localhost/b"),
        ("LOCALHOST", "http://localhost/b"),
        ("localhost", "/b"),
    ],
)
def test_destination_may_name_the_host_with_or_without_its_port(
    dav: Dav, host: str, destination: str
) -> None:
    dav.put("/a")
    assert dav("COPY", "/a", destination=destination, host=host).status == 201


def test_destination_behind_a_tls_proxy_may_be_https(dav: Dav) -> None:
    dav.put("/a")
    assert dav("MOVE", "/a", destination="https://localhost/b").status == 201


def test_destination_on_another_host_is_502(dav: Dav) -> None:
    dav.put("/a")
    assert dav("MOVE", "/a", destination="http://elsewhere.example/b").status == 502


def test_an_untagged_if_is_not_tested_against_the_destination(dav: Dav) -> None:
    etag = dav.put("/a", b"a").etag
    dav.put("/b", b"b")
    assert dav("MOVE", "/a", destination="/b", if_=f"([{etag}])").status == 204


def test_after_a_move_the_source_path_is_not_locked_any_more(dav: Dav) -> None:
    dav.put("/a")
    token = dav.lock("/a")
    assert dav("MOVE", "/a", destination="/b", if_=f"(<{token}>)").status == 201
    dav.put("/a")
    dav.put("/b")


# Conditionals


def test_if_modified_since_the_very_last_modified_is_304(dav: Dav) -> None:
    stamp = dav.put("/a").headers["last-modified"]
    assert dav("GET", "/a", if_modified_since=stamp).status == 304


def test_a_future_if_modified_since_does_not_concern_a_put(dav: Dav) -> None:
    dav.put("/a")
    answer = dav("PUT", "/a", b"new", if_modified_since="Fri, 01 Jan 2100 00:00:00 GMT")
    assert answer.status == 204


def test_304_carries_the_etag(dav: Dav) -> None:
    etag = dav.put("/a").etag
    answer = dav("GET", "/a", if_none_match=etag)
    assert (answer.status, answer.etag, answer.body) == (304, etag, b"")


def test_if_match_any_on_a_missing_file_is_412(dav: Dav) -> None:
    assert dav("PUT", "/missing", b"x", if_match="*").status == 412
    assert dav("GET", "/missing").status == 404


def test_a_tagged_if_is_judged_for_the_resource_that_it_names(dav: Dav) -> None:
    etag = dav.put("/a", b"a").etag
    other = dav.put("/b", b"b").etag
    wrong = f"<http://localhost/b> ([{etag}])"
    right = f"<http://localhost/b> ([{other}])"
    assert dav("PUT", "/a", b"new", if_=wrong).status == 412
    assert dav.get("/a") == b"a"
    assert dav("PUT", "/a", b"new", if_=right).status == 204


# Ranges


def test_all_of_several_ranges_are_returned(dav: Dav) -> None:
    dav.put("/a", b"0123456789")
    answer = dav("GET", "/a", range="bytes=0-1,8-")
    assert answer.status == 206
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    parts = answer.body.split(f"--{boundary}".encode())
    assert [part.rpartition(b"\r\n\r\n")[2].strip() for part in parts[1:3]] == [b"01", b"89"]
    assert b"Content-Range: bytes 8-9/10" in parts[2]
    assert parts[3] == b"--\r\n"


def test_a_suffix_of_no_bytes_is_unsatisfiable(dav: Dav) -> None:
    dav.put("/a", b"0123456789")
    answer = dav("GET", "/a", range="bytes=-0")
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */10"


def test_an_unknown_range_unit_is_ignored(dav: Dav) -> None:
    dav.put("/a", b"0123456789")
    answer = dav("GET", "/a", range="items=0-5")
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_one_bad_range_of_a_list_does_not_spoil_the_others(dav: Dav) -> None:
    dav.put("/a", b"0123456789")
    answer = dav("GET", "/a", range="bytes=50-60,2-3")
    assert (answer.status, answer.body) == (206, b"23")


# ETag


def test_two_contents_of_one_size_within_one_second_differ_in_their_etags(dav: Dav) -> None:
    tags = [dav.put("/a", str(n).encode(), x_oc_mtime="784111777").etag for n in range(10)]
    assert len(set(tags)) == 10


def test_getetag_is_quoted_as_the_header_is(dav: Dav) -> None:
    etag = dav.put("/a").etag
    assert etag.startswith('"')
    assert dav.propfind("/a", DAV + "getetag").text("/a", DAV + "getetag") == etag


# PROPFIND


def test_propname_lists_live_and_dead_properties_without_values(dav: Dav) -> None:
    dav.put("/a")
    assert dav("PROPPATCH", "/a", proppatch_body({"{urn:x}color": "red"})).status == 207
    body = '<propfind xmlns="DAV:"><propname/></propfind>'
    found = dav("PROPFIND", "/a", body, depth="0").responses()["/a"]
    assert {DAV + "getetag", DAV + "getcontentlength", "{urn:x}color"} <= found.keys()
    assert all(status == 200 and not el.text for status, el in found.values())


def test_include_adds_to_allprop(dav: Dav) -> None:
    dav.mkcol("/a")
    body = '<propfind xmlns="DAV:"><allprop/><include><quota-used-bytes/></include></propfind>'
    without = dav("PROPFIND", "/a", '<propfind xmlns="DAV:"><allprop/></propfind>', depth="0")
    assert DAV + "quota-used-bytes" not in without.responses()["/a/"]
    assert dav("PROPFIND", "/a", body, depth="0").status == 207


def test_depth_1_noroot_leaves_out_the_folder_itself(dav: Dav) -> None:
    dav.mkcol("/a")
    dav.put("/a/b")
    assert list(dav.propfind("/a", depth="1,noroot").responses()) == ["/a/b"]


def test_depth_infinity_is_refused_unless_it_is_allowed(make_app: MakeApp) -> None:
    dav = Dav(make_app())
    dav.mkcol("/a")
    dav.put("/a/b")
    answer = dav("PROPFIND", "/", depth="infinity")
    assert answer.status == 403
    assert answer.xml().find(DAV + "propfind-finite-depth") is not None
    assert dav("PROPFIND", "/").status == 403


def test_depth_infinity_lists_everything_where_it_is_allowed(make_app: MakeApp) -> None:
    dav = Dav(make_app(dav={"infinite_depth": True}))
    dav.mkcol("/a")
    dav.mkcol("/a/b")
    dav.put("/a/b/c")
    assert list(dav.propfind("/", depth="infinity").responses()) == ["/", "/a/", "/a/b/", "/a/b/c"]


def test_a_listing_is_one_look_at_the_store_and_streams(
    dav: Dav, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        dav.put(f"/file{number:03}")
    store: Any = dav.app.provider_map["/"].share.store
    calls: list[str] = []
    for method in ("stat", "list", "open"):
        original = getattr(store, method)

        def counted(*args: Any, _name: str = method, _original: Any = original, **kw: Any) -> Any:
            calls.append(_name)
            return _original(*args, **kw)

        monkeypatch.setattr(store, method, counted)
    answer = dav.propfind("/", depth="1")
    assert calls == ["stat", "list"]
    assert len(answer.responses()) == 301
    assert "content-length" not in answer.headers


def test_quota_of_a_file_is_not_found_rather_than_empty(dav: Dav) -> None:
    dav.put("/a")
    name = DAV + "quota-used-bytes"
    status, _ = dav.propfind("/a", name).responses()["/a"][name]
    assert status == 404


# XML


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<propfind xmlns="DAV:"><prop><x>&b;</x></prop></propfind>'
)


def test_an_entity_bomb_is_refused(dav: Dav) -> None:
    assert dav("PROPFIND", "/", BOMB, depth="0").status == 403


@pytest.mark.parametrize("kind_of_body", [io.BytesIO, Chunked])
def test_an_xml_body_has_a_limit(dav: Dav, kind_of_body: type[io.BytesIO]) -> None:
    body = b"<propfind xmlns='DAV:'><prop>" + b"<x/>" * 2_600_000
    assert len(body) > 10_000_000
    assert dav("PROPFIND", "/", kind_of_body(body), depth="0").status == 413


def test_a_chunked_xml_body_is_read(dav: Dav) -> None:
    answer = dav("PROPFIND", "/", Chunked(propfind_body(DAV + "getetag")), depth="0")
    assert list(answer.responses()["/"]) == [DAV + "getetag"]


def test_comments_in_a_lock_body_are_skipped(dav: Dav) -> None:
    dav.put("/a")
    body = lockinfo().replace("<D:lockscope>", "<!-- c --><D:lockscope><!-- d -->")
    assert dav("LOCK", "/a", body).status == 200


def test_answers_use_the_usual_prefix(dav: Dav) -> None:
    dav.put("/a")
    dav("PROPPATCH", "/a", proppatch_body({"{urn:x}color": "red"}))
    assert b"<D:multistatus xmlns:D=" in dav.propfind("/a").body
    dav("LOCK", "/a", lockinfo())
    refused = dav("PUT", "/a", b"x").body
    assert b"<D:lock-token-submitted><D:href>/a</D:href></D:lock-token-submitted>" in refused
