"""COPY and MOVE (RFC 4918, 9.8 and 9.9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dav.client import DAV, Dav, proppatch_body
from tests.dav.conftest import MakeApp

COLOR = "{urn:x}color"


def tree(dav: Dav, root: str) -> None:
    dav.mkcol(root)
    dav.mkcol(f"{root}/sub")
    dav.put(f"{root}/a", b"a")
    dav.put(f"{root}/sub/b", b"b")
    dav("PROPPATCH", f"{root}/sub/b", proppatch_body({COLOR: "red"}))


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_tree_arrives_whole_with_its_properties(dav: Dav, method: str) -> None:
    tree(dav, "/from")
    assert dav(method, "/from/", destination="/to/").status == 201
    assert dav.get("/to/a") == b"a"
    assert dav.get("/to/sub/b") == b"b"
    assert dav.propfind("/to/sub/b", COLOR).text("/to/sub/b", COLOR) == "red"
    assert dav("GET", "/from/a").status == (404 if method == "MOVE" else 200)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_was_at_the_destination_goes_wholly(dav: Dav, method: str) -> None:
    tree(dav, "/from")
    dav.mkcol("/to")
    dav.put("/to/other")
    assert dav(method, "/from", destination="/to").status == 204
    assert dav("GET", "/to/other").status == 404
    assert dav.get("/to/sub/b") == b"b"


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_overwrite_f_refuses_with_412_and_changes_nothing(dav: Dav, method: str) -> None:
    dav.put("/a", b"a")
    dav.put("/b", b"b")
    assert dav(method, "/a", destination="/b", overwrite="F").status == 412
    assert (dav.get("/a"), dav.get("/b")) == (b"a", b"b")
    assert dav(method, "/a", destination="/b", overwrite="maybe").status == 400


def test_copy_of_depth_0_takes_the_folder_without_its_members(dav: Dav) -> None:
    tree(dav, "/from")
    dav("PROPPATCH", "/from", proppatch_body({COLOR: "blue"}))
    assert dav("COPY", "/from", destination="/to", depth="0").status == 201
    assert list(dav.propfind("/to", depth="1").responses()) == ["/to/"]
    assert dav.propfind("/to", COLOR).text("/to/", COLOR) == "blue"


@pytest.mark.parametrize(("method", "depth"), [("COPY", "1"), ("MOVE", "0"), ("MOVE", "1")])
def test_other_depths_are_400(dav: Dav, method: str, depth: str) -> None:
    tree(dav, "/from")
    assert dav(method, "/from", destination="/to", depth=depth).status == 400


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    ("source", "destination", "status"),
    [
        ("/a", "/a", 403),
        ("/f", "/f/inside", 403),
        ("/f/x", "/f", 403),
        ("/a", "/missing/b", 409),
        ("/a", "/a/b", 403),
        ("/missing", "/b", 404),
        ("/a", "/../b", 400),
        ("/a", "/.davstore~x", 403),
        ("/a", "http://[bad/b", 400),
        # What these mean is another file than /f/x, which they would replace.
        ("/a", "/f/x?y", 400),
        ("/a", "/f/x?", 400),
        ("/a", "/f/x#y", 400),
        ("/a", "/f/\tx", 400),
        ("/a", "f/x", 400),
        ("/a", "/f/x/", 409),
        ("/a", "ftp://localhost/f/x", 502),
    ],
)
def test_impossible_transfers_are_refused(
    dav: Dav, method: str, source: str, destination: str, status: int
) -> None:
    dav.put("/a", b"a")
    dav.mkcol("/f")
    dav.put("/f/x", b"x")
    assert dav(method, source, destination=destination).status == status
    assert (dav.get("/a"), dav.get("/f/x")) == (b"a", b"x")


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("time", ["soon", "99999999999"])
def test_a_time_that_is_none_leaves_everything_as_it_was(dav: Dav, method: str, time: str) -> None:
    dav.put("/a", b"a")
    assert dav(method, "/a", destination="/b", x_oc_mtime=time).status == 400
    assert dav.get("/a") == b"a"
    assert dav("GET", "/b").status == 404


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_without_a_destination_it_is_400(dav: Dav, method: str) -> None:
    dav.put("/a")
    assert dav(method, "/a").status == 400


def test_a_copy_whose_member_cannot_be_read_says_which_and_copies_the_rest(
    dav: Dav, kind: str, tmp_path: Path
) -> None:
    tree(dav, "/from")
    if kind == "memory":
        assert dav("COPY", "/from", destination="/to").status == 201
        return
    # Even root cannot read a file whose data lies outside the share.
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "share0" / "from" / "link").symlink_to(tmp_path / "outside")
    answer = dav("COPY", "/from", destination="/to")
    assert answer.status in (201, 207)
    assert dav.get("/to/a") == b"a"
    assert dav("GET", "/to/link").status == 404


def test_if_match_of_the_source_guards_a_copy(dav: Dav) -> None:
    etag = dav.put("/a").etag
    assert dav("COPY", "/a", destination="/b", if_match='"other"').status == 412
    assert dav("COPY", "/a", destination="/b", if_match=etag).status == 201


def test_shares_are_kept_apart(make_app: MakeApp) -> None:
    dav = Dav(make_app("/a", "/b"))
    dav.put("/a/x")
    assert dav("MOVE", "/a/x", destination="/b/x").status == 502
    assert dav("MOVE", "/a/x", destination="/a/y").status == 201
    assert dav("DELETE", "/a").status == 403
    assert dav.propfind("/a", DAV + "resourcetype").status == 207
