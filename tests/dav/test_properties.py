"""PROPFIND and PROPPATCH beyond the faults of wsgidav."""

from __future__ import annotations

import pytest
from lxml import etree

from tests.dav.client import DAV, Dav, proppatch_body
from tests.dav.conftest import MakeApp

COLOR, SIZE = "{urn:x}color", "{urn:x}size"


def test_allprop_shows_all_live_and_dead_properties(dav: Dav) -> None:
    dav.put("/a")
    dav("PROPPATCH", "/a", proppatch_body({COLOR: "red"}))
    found = dav.propfind("/a").responses()["/a"]
    live = {"resourcetype", "getcontentlength", "getlastmodified", "creationdate", "getetag"}
    live |= {"getcontenttype", "supportedlock", "lockdiscovery"}
    assert {DAV + name for name in live} | {COLOR} == found.keys()


def test_allprop_without_locks_says_what_it_says_with_a_lock_elsewhere(dav: Dav) -> None:
    """The quick way for files that no lock covers, and the general one."""
    dav.mkcol("/f")
    for name in ("a & b.txt", "c", "d.PDF"):
        dav.put(f"/f/{name}".replace(" ", "%20").replace("&", "%26"), name.encode())
    dav("PROPPATCH", "/f/c", proppatch_body({COLOR: "red & blue"}))

    def told() -> dict[str, dict[str, tuple[int, str]]]:
        listing = dav.propfind("/f", depth="1").responses()
        return {
            href: {
                name: (status, etree.tostring(element).decode())
                for name, (status, element) in found.items()
                if (href, name) != ("/f/locked", DAV + "lockdiscovery")
            }
            for href, found in listing.items()
        }

    dav.put("/f/locked")
    quick = told()
    dav.lock("/f/locked")
    assert told() == quick
    assert len(quick) == 5


def test_what_is_not_there_is_404_by_name(dav: Dav) -> None:
    dav.mkcol("/f")
    names = ("{urn:x}no", DAV + "getcontentlength", "noname", DAV + "displayname")
    found = dav.propfind("/f", *names, DAV + "resourcetype").responses()["/f/"]
    assert {name: status for name, (status, _) in found.items()} == {
        **dict.fromkeys(names, 404),
        DAV + "resourcetype": 200,
    }


def test_properties_are_set_and_removed_in_document_order(dav: Dav) -> None:
    dav.put("/a")
    dav("PROPPATCH", "/a", proppatch_body({COLOR: "red", SIZE: "big"}))
    dav("PROPPATCH", "/a", proppatch_body({COLOR: "blue"}, removes=(SIZE, "{urn:x}never")))
    found = dav.propfind("/a", COLOR, SIZE).responses()["/a"]
    assert (found[COLOR][1].text, found[SIZE][0]) == ("blue", 404)


def test_one_refused_property_refuses_all(dav: Dav) -> None:
    dav.put("/a")
    answer = dav("PROPPATCH", "/a", proppatch_body({COLOR: "red", DAV + "getetag": "mine"}))
    found = answer.responses()["/a"]
    assert {name: status for name, (status, _) in found.items()} == {
        COLOR: 424,
        DAV + "getetag": 403,
    }
    assert b"cannot-modify-protected-property" in answer.body
    assert dav.propfind("/a", COLOR).responses()["/a"][COLOR][0] == 404


@pytest.mark.parametrize("text", ["soon", "", "inf", "9223372037", "-62000000000"])
def test_a_time_that_is_none_is_refused(dav: Dav, text: str) -> None:
    dav.put("/a")
    answer = dav("PROPPATCH", "/a", proppatch_body({DAV + "lastmodified": text}))
    assert answer.responses()["/a"][DAV + "lastmodified"][0] == 403


def test_a_time_that_no_file_can_have_is_refused_from_explorer_too(dav: Dav) -> None:
    dav.put("/a")
    name = "{urn:schemas-microsoft-com:}Win32LastModifiedTime"
    answer = dav("PROPPATCH", "/a", proppatch_body({name: "Fri, 31 Dec 9999 23:59:59 GMT"}))
    assert answer.responses()["/a"][name][0] == 403


def test_what_include_names_and_is_not_there_is_404(dav: Dav) -> None:
    dav.put("/a")
    body = (
        '<D:propfind xmlns:D="DAV:"><D:allprop/><D:include><x:no xmlns:x="urn:x"/>'
        "<D:quota-used-bytes/><D:quota-available-bytes/></D:include></D:propfind>"
    )
    found = dav("PROPFIND", "/a", body, depth="0").responses()["/a"]
    assert found["{urn:x}no"][0] == 404
    assert found[DAV + "quota-used-bytes"][0] == 404
    assert found[DAV + "getetag"][0] == 200
    root = dav("PROPFIND", "/", body, depth="0").responses()["/"]
    # A folder's bytes are told once they are counted, and memory's room when it has an end.
    assert 200 in {root[DAV + name][0] for name in ("quota-used-bytes", "quota-available-bytes")}


@pytest.mark.parametrize("kind_of_question", ["propname", "allprop", "prop"])
def test_unknown_elements_of_a_propfind_are_ignored(dav: Dav, kind_of_question: str) -> None:
    body = f'<D:propfind xmlns:D="DAV:"><x xmlns="urn:x"/><D:{kind_of_question}/></D:propfind>'
    assert dav("PROPFIND", "/", body, depth="0").status == 207


def test_structured_values_attributes_and_languages_are_kept(dav: Dav) -> None:
    dav.put("/a")
    body = (
        '<D:propertyupdate xmlns:D="DAV:" xmlns:o="urn:x"><D:set><D:prop xml:lang="de">'
        '<o:color k="1">rot <i xmlns="urn:y">&amp; \U0001f600</i></o:color>'
        "</D:prop></D:set></D:propertyupdate>"
    )
    assert dav("PROPPATCH", "/a", body).status == 207
    _, element = dav.propfind("/a", COLOR).responses()["/a"][COLOR]
    assert element.get("k") == "1"
    assert element.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    assert element[0].tag == "{urn:y}i" and element[0].text == "& \U0001f600"


def test_properties_of_folders_and_the_root_are_kept(dav: Dav) -> None:
    dav.mkcol("/f")
    for path in ("/", "/f/"):
        assert dav("PROPPATCH", path, proppatch_body({COLOR: path})).status == 207
        assert dav.propfind(path, COLOR).text(path, COLOR) == path


def test_too_large_properties_are_507_and_nothing_changes(dav: Dav) -> None:
    dav.put("/a")
    large = {f"{{urn:x}}p{n}": "x" * 300_000 for n in range(3)}
    assert dav("PROPPATCH", "/a", proppatch_body(large)).status == 207
    more = {f"{{urn:x}}q{n}": "x" * 300_000 for n in range(3)}
    assert dav("PROPPATCH", "/a", proppatch_body(more)).status == 507
    assert dav.propfind("/a", "{urn:x}q0").responses()["/a"]["{urn:x}q0"][0] == 404


@pytest.mark.parametrize(
    "body",
    [
        "not xml",
        "<x/>",
        '<propertyupdate xmlns="DAV:"/>',
        '<propertyupdate xmlns="urn:other"><set/></propertyupdate>',
        "",
    ],
)
def test_a_proppatch_body_that_makes_no_sense_is_400(dav: Dav, body: str) -> None:
    dav.put("/a")
    assert dav("PROPPATCH", "/a", body).status == 400


@pytest.mark.parametrize(
    "body",
    [
        "not xml",
        "<x/>",
        '<propfind xmlns="DAV:"/>',
        '<propfind xmlns="urn:other"><allprop/></propfind>',
        '<propfind xmlns="DAV:"><prop/><allprop/></propfind>',
        '<propfind xmlns="DAV:"><propname/><allprop/></propfind>',
        '<propfind xmlns="DAV:"><prop><x:y xmlns:x=""/></prop></propfind>',
    ],
)
def test_a_propfind_body_that_makes_no_sense_is_400(dav: Dav, body: str) -> None:
    assert dav("PROPFIND", "/", body, depth="0").status == 400


def test_an_unknown_depth_is_400_and_a_missing_resource_404(dav: Dav) -> None:
    assert dav("PROPFIND", "/", depth="2").status == 400
    assert dav("PROPFIND", "/missing", depth="0").status == 404


def test_quota_is_shown_to_all_but_finder_whose_mount_it_delays(dav: Dav) -> None:
    dav.mkcol("/f")
    name = DAV + "quota-available-bytes"
    body = f'<propfind xmlns="DAV:"><prop><{name[6:]}/></prop></propfind>'
    finder = "WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)"
    answer = dav("PROPFIND", "/f", body, depth="0", user_agent=finder)
    assert answer.responses()["/f/"][name][0] == 404


def test_a_listing_for_explorer_stays_below_its_limit_with_3500_files(dav: Dav) -> None:
    for number in range(20):
        dav.put(f"/document-{number:05}.docx", content_type="application/x-something-long")
        win32 = "{urn:schemas-microsoft-com:}Win32FileAttributes"
        dav("PROPPATCH", f"/document-{number:05}.docx", proppatch_body({win32: "00000020"}))
    agent = "Microsoft-WebDAV-MiniRedir/10.0.19045"
    answer = dav("PROPFIND", "/", depth="1", user_agent=agent)
    assert len(answer.responses()) == 21
    assert len(answer.body) / 21 < 285
    single = dav("PROPFIND", "/document-00001.docx", depth="0", user_agent=agent)
    assert b"Win32FileAttributes" in single.body


def test_names_are_escaped_in_hrefs(dav: Dav) -> None:
    dav.put("/a%20%26%3C%3E%22'%23%3F%25%F0%9F%98%80")
    (_, href) = dav.propfind("/", depth="1").responses()
    assert href == "/a%20%26%3C%3E%22%27%23%3F%25%F0%9F%98%80"


def test_the_folder_of_the_shares_lists_them_and_cannot_be_changed(make_app: MakeApp) -> None:
    dav = Dav(make_app("/One", "/two/deep"))
    assert list(dav.propfind("/", depth="1").responses()) == ["/", "/One/", "/two/"]
    assert list(dav.propfind("/two", depth="1").responses()) == ["/two/", "/two/deep/"]
    assert dav("OPTIONS", "/").headers["ms-author-via"] == "DAV"
    assert b"One" in dav("GET", "/").body
    assert dav("PUT", "/x", b"x").status == 403
    assert dav("GET", "/x").status == 404
    dav.put("/two/deep/x")
    assert list(dav.propfind("/two/deep", depth="1").responses()) == ["/two/deep/", "/two/deep/x"]
