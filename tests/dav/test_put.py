"""PUT, MKCOL and DELETE beyond the faults of wsgidav."""

from __future__ import annotations

import hashlib

import pytest

from tests.dav.client import Chunked, Dav

SHA1 = hashlib.sha1(b"content").hexdigest()
MD5 = hashlib.md5(b"content").hexdigest()


def test_a_right_checksum_is_accepted_and_a_wrong_one_changes_nothing(dav: Dav) -> None:
    assert dav("PUT", "/a", b"content", oc_checksum=f"SHA1:{SHA1}").status == 201
    assert dav("PUT", "/a", b"other", oc_checksum=f"SHA1:{SHA1}").status == 400
    assert dav("PUT", "/b", b"other", oc_checksum=f"MD5:{MD5}").status == 400
    assert dav("PUT", "/b", b"content", oc_checksum=f"MD5:{MD5} ADLER32:1").status == 201
    assert dav("PUT", "/c", b"content", oc_checksum="SHA1:nonsense").status == 400
    assert dav.get("/a") == b"content"
    assert dav("GET", "/c").status == 404


def test_checksums_are_shown_when_asked_for(dav: Dav) -> None:
    dav.put("/a")
    name = "{http://owncloud.org/ns}checksums"
    assert name not in dav.propfind("/a").responses()["/a"]
    _, element = dav.propfind("/a", name).responses()["/a"][name]
    (checksum,) = element
    assert f"SHA1:{SHA1}" in checksum.text.split()


def test_a_chunked_put_of_another_length_than_announced_changes_nothing(dav: Dav) -> None:
    dav.put("/a", b"old")
    short = dav("PUT", "/a", Chunked(b"half"), x_expected_entity_length="8")
    assert short.status == 400
    assert dav.get("/a") == b"old"
    whole = dav("PUT", "/a", Chunked(b"all of it"), x_expected_entity_length="9")
    assert whole.status == 204


def test_a_part_is_not_taken_for_the_whole(dav: Dav) -> None:
    dav.put("/a", b"old")
    assert dav("PUT", "/a", b"x", content_range="bytes 0-0/3").status == 400
    assert dav.get("/a") == b"old"


@pytest.mark.parametrize("value", ["yesterday", "nan", "inf", "1e300", "1_0", "9223372037"])
def test_an_x_oc_mtime_that_is_no_time_is_400(dav: Dav, value: str) -> None:
    assert dav("PUT", "/a", b"x", x_oc_mtime=value).status == 400
    assert dav("GET", "/a").status == 404


def test_put_onto_a_folder_is_405_and_below_a_file_409(dav: Dav) -> None:
    dav.mkcol("/f")
    dav.put("/a")
    assert dav("PUT", "/f", b"x").status == 405
    assert dav("PUT", "/a/b", b"x").status == 409
    assert dav("PUT", "/missing/b", b"x").status == 409


def test_a_generic_content_type_is_no_better_than_the_name(dav: Dav) -> None:
    dav.put("/a.png", content_type="application/octet-stream")
    assert dav("GET", "/a.png").headers["content-type"] == "image/png"


def test_mkcol_answers_as_rfc_4918_says(dav: Dav) -> None:
    assert dav("MKCOL", "/f/").status == 201
    assert dav("MKCOL", "/f").status == 405
    assert dav("MKCOL", "/").status == 405
    assert dav("MKCOL", "/missing/f").status == 409
    assert dav("MKCOL", "/g", b"<x/>").status == 415
    dav.put("/a")
    assert dav("MKCOL", "/a").status == 405
    assert dav("MKCOL", "/a/f").status == 409


def test_delete_answers_as_rfc_4918_says(dav: Dav) -> None:
    dav.mkcol("/f")
    dav.put("/f/a")
    assert dav("DELETE", "/f", depth="0").status == 400
    assert dav("DELETE", "/f").status == 204
    assert dav("DELETE", "/f").status == 404
    assert dav("DELETE", "/").status == 403
    assert dav("PUT", "/f/a", b"x").status == 409


@pytest.mark.parametrize("method", ["PUT", "DELETE", "MOVE", "PROPPATCH"])
def test_an_etag_that_changed_guards_every_change(dav: Dav, method: str) -> None:
    old = dav.put("/a", b"1").etag
    dav.put("/a", b"2")
    body = (
        b'<propertyupdate xmlns="DAV:"><set><prop><x xmlns="u"/></prop></set></propertyupdate>'
        if method == "PROPPATCH"
        else b""
    )
    assert dav(method, "/a", body, destination="/b", if_match=old).status == 412
    assert dav.get("/a") == b"2"


@pytest.mark.parametrize(
    ("target", "status"),
    [("/..", 400), ("/a/../b", 400), ("/a%00", 400), ("/%01", 400), ("/.davstore~x", 403)],
)
def test_names_that_cannot_be_are_4xx(dav: Dav, target: str, status: int) -> None:
    dav.mkcol("/a")
    assert dav("PUT", target, b"x").status == status
    assert dav("MKCOL", target).status == status


def test_reserved_names_are_not_to_be_seen(dav: Dav) -> None:
    for method in ("GET", "PROPFIND", "DELETE"):
        assert dav(method, "/.davstore~", depth="0").status == 404


def test_a_path_has_at_most_4096_bytes_and_a_name_255(dav: Dav) -> None:
    path = ""
    for _ in range(16):
        path += "/" + "n" * 255
        assert dav("MKCOL", path).status == 201
    assert len(path) == 4096
    assert dav("PUT", path + "/x", b"x").status == 414
    assert dav("MKCOL", "/" + "n" * 256).status == 414
