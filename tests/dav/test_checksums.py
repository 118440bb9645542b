"""Checksums as the clients of ownCloud, Nextcloud and Fastmail ask for them."""

from __future__ import annotations

import hashlib

import pytest
from lxml import etree

from tests.dav.client import Dav

CHECKSUMS = "{http://owncloud.org/ns}checksums"
LAST_MODIFIED = "{DAV:}lastmodified"
CONTENT = b"some content"


def _digest(algorithm: str) -> str:
    return hashlib.new(algorithm, CONTENT).hexdigest()


def _time_with_checksum(checksum: str) -> bytes:
    return (
        '<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:" xmlns:oc="http://owncloud.org/ns">'
        "<D:set><D:prop><lastmodified xmlns='DAV:'>1400000000</lastmodified><oc:checksums>\n"
        f"<oc:checksum>{checksum}</oc:checksum>\n</oc:checksums></D:prop></D:set>"
        "</D:propertyupdate>"
    ).encode()


def test_the_right_checksum_may_be_set_along_with_a_time(dav: Dav) -> None:
    dav.put("/a", CONTENT)
    answer = dav("PROPPATCH", "/a", _time_with_checksum(f"SHA1:{_digest('sha1')}"))
    assert {name: status for name, (status, _) in answer.responses()["/a"].items()} == {
        LAST_MODIFIED: 200,
        CHECKSUMS: 200,
    }
    assert dav("HEAD", "/a").headers["last-modified"] == "Tue, 13 May 2014 16:53:20 GMT"
    _, element = dav.propfind("/a", CHECKSUMS).responses()["/a"][CHECKSUMS]
    assert f"SHA1:{_digest('sha1')}" in (element[0].text or "").split()


@pytest.mark.parametrize("checksum", [f"SHA1:{'0' * 40}", "SHA1:short", "ADLER32:1", ""])
def test_another_checksum_is_protected_and_the_time_is_not_set_either(
    dav: Dav, checksum: str
) -> None:
    dav.put("/a", CONTENT)
    before = dav("HEAD", "/a").headers["last-modified"]
    answer = dav("PROPPATCH", "/a", _time_with_checksum(checksum))
    assert {name: status for name, (status, _) in answer.responses()["/a"].items()} == {
        LAST_MODIFIED: 424,
        CHECKSUMS: 403,
    }
    assert dav("HEAD", "/a").headers["last-modified"] == before


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_a_checksum_is_recalculated_on_request_also_one_that_is_not_kept(
    dav: Dav, algorithm: str
) -> None:
    dav.put("/a", CONTENT)
    answer = dav("PATCH", "/a", x_recalculate_hash=algorithm)
    assert answer.status == 204
    assert answer.headers["oc-checksum"] == f"{algorithm.upper()}:{_digest(algorithm)}"


def test_a_patch_that_asks_for_anything_else_is_refused(dav: Dav) -> None:
    dav.put("/a", CONTENT)
    dav.mkcol("/f")
    refused = dav("PATCH", "/a", b"changed")
    assert refused.status == 405
    assert "PUT" in refused.headers["allow"]
    assert dav("PATCH", "/a", x_recalculate_hash="crc32").status == 400
    assert dav("PATCH", "/missing", x_recalculate_hash="sha1").status == 404
    assert dav("PATCH", "/f", x_recalculate_hash="sha1").status == 405
    assert dav.get("/a") == CONTENT


def test_rclone_finds_the_sha1_of_fastmail_when_it_asks_for_everything(dav: Dav) -> None:
    dav.put("/a", CONTENT)
    name = "{ME:}sha1hex"
    everything = dav("PROPFIND", "/a", depth="0", user_agent="rclone/v1.75.2").responses()["/a"]
    status, element = everything[name]
    assert (status, element.text) == (200, _digest("sha1"))
    assert isinstance(element, etree._Element)
    assert name not in dav("PROPFIND", "/a", depth="0").responses()["/a"]
