"""What clients that do not run here send, request by request, and what they need to see."""

from __future__ import annotations

import email.utils
import hashlib
import re

import pytest

from tests.components.davserver import DavServer
from tests.components.http import DAV, Client, hrefs, properties
from tests.e2e.conftest import Place

MS = "{urn:schemas-microsoft-com:}"
OC = "{http://owncloud.org/ns}"

_LOCK = """<?xml version="1.0" encoding="utf-8" ?>
<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>
<D:locktype><D:write/></D:locktype><D:owner><D:href>somebody</D:href></D:owner></D:lockinfo>"""

_WIN32 = (
    '<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:"'
    ' xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>'
    "<Z:Win32CreationTime>Fri, 07 Jun 2024 10:11:12 GMT</Z:Win32CreationTime>"
    "<Z:Win32LastAccessTime>Sat, 08 Jun 2024 10:11:12 GMT</Z:Win32LastAccessTime>"
    "<Z:Win32LastModifiedTime>Sun, 09 Jun 2024 10:11:12 GMT</Z:Win32LastModifiedTime>"
    "<Z:Win32FileAttributes>00000020</Z:Win32FileAttributes>"
    "</D:prop></D:set></D:propertyupdate>"
)


def _wanted(*names: str) -> str:
    """A PROPFIND body that asks for properties by Clark name."""
    asked = "".join(
        f'<p:{name[1:].partition("}")[2]} xmlns:p="{name[1:].partition("}")[0]}"/>'
        for name in names
    )
    return f'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop>{asked}</D:prop></D:propfind>'


@pytest.fixture
def explorer(server: DavServer) -> Client:
    return Client(
        server.address,
        headers={"User-Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045", "translate": "f"},
    )


def test_the_windows_explorer_uploads_a_file_and_its_times_and_attributes_are_kept(
    explorer: Client, place: Place
) -> None:
    path = f"{place.path}Report 2024.docx".replace(" ", "%20")
    assert explorer("PROPFIND", path, Depth="0").status == 404
    assert explorer("PUT", path).status == 201
    locked = explorer("LOCK", path, _LOCK, Timeout="Second-3600")
    assert locked.status == 200
    token = locked.header("Lock-Token") or ""
    assert token.startswith("<") and token[1:-1] in locked.text
    own = f"({token})"
    assert explorer("PROPPATCH", path, _WIN32, If=own).status == 207
    assert explorer("HEAD", path).status == 200
    assert explorer("PUT", path, b"the report", If=own).status == 204
    changed = explorer("PROPPATCH", path, _WIN32, If=own)
    assert "200 OK" in changed.text and " 403 " not in changed.text
    assert explorer("UNLOCK", path, Lock_Token=token).status == 204

    found = properties(explorer("PROPFIND", path, Depth="0"))
    assert found[f"{MS}Win32CreationTime"].text == "Fri, 07 Jun 2024 10:11:12 GMT"
    assert found[f"{MS}Win32LastAccessTime"].text == "Sat, 08 Jun 2024 10:11:12 GMT"
    assert found[f"{MS}Win32LastModifiedTime"].text == "Sun, 09 Jun 2024 10:11:12 GMT"
    assert found[f"{MS}Win32FileAttributes"].text == "00000020"
    assert found[f"{DAV}getlastmodified"].text == "Sun, 09 Jun 2024 10:11:12 GMT"
    assert explorer("HEAD", path).header("Last-Modified") == "Sun, 09 Jun 2024 10:11:12 GMT"
    assert (place.folder / "Report 2024.docx").read_bytes() == b"the report"


def test_the_windows_explorer_may_unlock_with_a_token_without_angle_brackets(
    explorer: Client, file: str
) -> None:
    token = (explorer("LOCK", file, _LOCK).header("Lock-Token") or "").strip("<>")
    assert explorer("UNLOCK", file, Lock_Token=token).status == 204
    assert explorer("PUT", file, b"free again").status == 204


def test_the_root_answers_options_and_propfind_as_the_windows_explorer_asks_first(
    explorer: Client,
) -> None:
    options = explorer("OPTIONS", "/")
    assert options.status == 200
    assert options.header("MS-Author-Via") == "DAV"
    assert {"1", "2"} <= {part.strip() for part in (options.header("DAV") or "").split(",")}
    for method in ("PROPFIND", "PUT", "LOCK", "PROPPATCH", "MOVE"):
        assert method in (options.header("Allow") or "")
    assert explorer("PROPFIND", "/", Depth="0").status == 207


@pytest.fixture
def finder(server: DavServer) -> Client:
    agent = "WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)"
    return Client(server.address, headers={"User-Agent": agent})


def test_the_finder_locks_uploads_in_chunks_refreshes_its_lock_and_unlocks(
    finder: Client, place: Place
) -> None:
    path = f"{place.path}photo.heic"
    assert finder("PROPFIND", f"{place.path}._photo.heic", Depth="0").status == 404
    assert finder("PUT", path).status == 201
    locked = finder("LOCK", path, _LOCK, Depth="0", Timeout="Second-600")
    assert locked.status == 200
    own = f"({locked.header('Lock-Token')})"
    pieces = [b"p" * 100_000, b"q" * 23_456]
    uploaded = finder("PUT", path, pieces, X_Expected_Entity_Length="123456", If=own)
    assert uploaded.status == 204
    refreshed = finder("LOCK", path, If=own, Timeout="Second-600")
    assert refreshed.status == 200
    left = re.search("Second-(\\d+)", refreshed.text)
    assert left and 590 <= int(left[1]) <= 600, refreshed.text
    short = finder("PUT", path, pieces[:1], X_Expected_Entity_Length="123456", If=own)
    assert short.status == 400
    unlocked = finder("UNLOCK", path, Lock_Token=locked.header("Lock-Token"))
    assert unlocked.status == 204
    assert (place.folder / "photo.heic").read_bytes() == b"".join(pieces)


def test_a_lock_that_somebody_else_has_is_a_plain_423_for_the_finder(
    finder: Client, client: Client, file: str
) -> None:
    assert client("LOCK", file, _LOCK, Depth="0").status == 200
    assert finder("LOCK", file, _LOCK, Depth="0", Timeout="Second-600").status == 423


def test_the_finder_revalidates_by_the_exact_date_and_resumes_by_it(
    finder: Client, file: str
) -> None:
    date = finder("GET", file).header("Last-Modified") or ""
    unchanged = finder("GET", file, If_Modified_Since=date)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.header("ETag") == finder("HEAD", file).header("ETag")
    earlier = email.utils.formatdate(1_000_000_000, usegmt=True)
    assert finder("GET", file, If_Modified_Since=earlier).status == 200
    assert finder("GET", file, Range="bytes=3-", If_Range=earlier).status == 200


def test_names_come_decomposed_from_the_finder_and_are_kept_and_listed_composed(
    finder: Client, place: Place
) -> None:
    decomposed, composed = "u%CC%88ber.txt", "%C3%BCber.txt"
    assert finder("PUT", place.path + decomposed, b"first").status == 201
    assert [path.name for path in place.folder.iterdir()] == ["\u00fcber.txt"]
    assert finder("GET", place.path + decomposed).body == b"first"
    assert finder("GET", place.path + composed).body == b"first"
    assert finder("PUT", place.path + composed, b"second").status == 204
    assert hrefs(finder("PROPFIND", place.path, Depth="1")) == [place.path, place.path + composed]
    assert finder("MKCOL", f"{place.path}u%CC%88").status == 201
    assert finder("MKCOL", f"{place.path}%C3%BC").status == 405


_QUOTA = f"{DAV}quota-available-bytes", f"{DAV}quota-used-bytes"


def test_quotas_are_told_to_everybody_but_the_finder(finder: Client, client: Client) -> None:
    """With them, macOS 15.4 and later wait for 90 seconds before the volume appears."""
    told = properties(client("PROPFIND", "/", _wanted(*_QUOTA), Depth="0"))
    assert int(told[_QUOTA[0]].text or "") > 0
    assert not properties(finder("PROPFIND", "/", _wanted(*_QUOTA), Depth="0"))
    assert "quota-" not in finder("PROPFIND", "/", Depth="0").text


def test_office_opens_a_document_for_writing_and_saves_it(client: Client, file: str) -> None:
    assert client("OPTIONS", file).header("MS-Author-Via") == "DAV"
    assert client("HEAD", file.rpartition("/")[0] + "/").status == 200
    assert client("HEAD", file).status == 200
    assert client("PROPFIND", file, Depth="0").status == 207
    locked = client("LOCK", file, _LOCK, Timeout="Second-3600", Depth="0")
    assert locked.status == 200
    own = f"({locked.header('Lock-Token')})"
    assert client("GET", file).body == b"content"
    etag = client("HEAD", file).header("ETag")
    saved = client("PUT", file, b"saved", If=own)
    assert saved.status == 204
    assert client("HEAD", file).header("ETag") not in (etag, None)
    times = (
        b'<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>'
        b"<Z:Win32LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</Z:Win32LastModifiedTime>"
        b"</D:prop></D:set></D:propertyupdate>"
    )
    changed = client("PROPPATCH", file, times, User_Agent="Microsoft Office Word 2014")
    assert changed.status == 207
    assert b"200 OK" in changed.body
    assert client("UNLOCK", file, Lock_Token=locked.header("Lock-Token")).status == 204
    assert client("GET", file).body == b"saved"


def test_gvfs_looks_before_it_creates_and_replaces_only_what_it_saw(
    server: DavServer, client: Client, place: Place
) -> None:
    path, target = f"{place.path}new.txt", f"{server.url.rstrip('/')}{place.path}moved.txt"
    assert client("HEAD", path).status == 404
    assert client("PUT", path, b"one", If_None_Match="*").status == 201
    assert client("PUT", path, b"two", If_None_Match="*").status == 412
    etag = client("HEAD", path).header("ETag")
    assert etag is not None
    assert client("HEAD", path, If_Match=etag).status == 200
    assert client("PUT", path, b"two", If_Match=etag).status == 204
    assert client("PUT", path, b"three", If_Match=etag).status == 412
    assert client("HEAD", path, If_Match=etag).status == 412
    client("PUT", f"{place.path}moved.txt", b"is there")
    assert client("MOVE", path, Destination=target, Overwrite="F").status == 412
    assert client("MOVE", path, Destination=target, Overwrite="T").status == 204
    assert (place.folder / "moved.txt").read_bytes() == b"two"


def test_davfs2_locks_a_new_file_with_201_and_writes_it_with_its_tag_and_token(
    client: Client, place: Place
) -> None:
    path = f"{place.path}new.txt"
    locked = client("LOCK", path, _LOCK, Depth="0", Timeout="Second-1800", If_None_Match="*")
    assert locked.status == 201
    own = f"<{path}> ({locked.header('Lock-Token')})"
    etag = client("HEAD", path).header("ETag")
    assert etag is not None
    assert client("PUT", path, b"data", If=own, If_Match=etag).status in (201, 204)
    assert client("LOCK", path, _LOCK, Depth="0", If_None_Match="*").status in (412, 423)
    assert client("UNLOCK", path, Lock_Token=locked.header("Lock-Token")).status == 204


def test_the_tag_in_a_listing_is_the_tag_of_a_get_with_its_quotes(
    client: Client, file: str
) -> None:
    listed = properties(client("PROPFIND", file, _wanted(f"{DAV}getetag"), Depth="0"))
    assert listed[f"{DAV}getetag"].text == client("GET", file).header("ETag")


def test_rclone_finds_its_digest_and_its_time_accepted(
    server: DavServer, client: Client, place: Place
) -> None:
    path = f"{place.path}file.bin"
    digest = hashlib.sha1(b"data").hexdigest()
    sent = {"OC-Checksum": f"SHA1:{digest}", "X-OC-Mtime": "1500000000"}
    put = client("PUT", path, b"data", **sent)
    assert (put.status, put.header("X-OC-Mtime")) == (201, "accepted")
    assert put.header("ETag") == client("HEAD", path).header("ETag")
    asked = _wanted(f"{OC}checksums", f"{DAV}getlastmodified")
    found = properties(client("PROPFIND", path, asked, Depth="0"))
    assert f"SHA1:{digest}" in (found[f"{OC}checksums"].findtext(f"{OC}checksum") or "")
    assert found[f"{DAV}getlastmodified"].text == "Fri, 14 Jul 2017 02:40:00 GMT"
    for method, name in (("COPY", "copy.bin"), ("MOVE", "moved.bin")):
        target = f"{server.url.rstrip('/')}{place.path}{name}"
        done = client(method, path, Destination=target, X_OC_Mtime="1400000000.5")
        assert (done.status, done.header("X-OC-Mtime")) == (201, "accepted")
        assert int((place.folder / name).stat().st_mtime) == 1_400_000_000
    assert client("MKCOL", place.path).status == 405


def test_a_browser_gets_a_page_for_a_folder_and_a_file_that_cannot_run_in_the_servers_name(
    client: Client, place: Place
) -> None:
    client("PUT", f"{place.path}page.html", b"<script>alert(1)</script>", Content_Type="text/html")
    client("PUT", f"{place.path}a%20%3Cb%3E%20%26%20c.txt", b"text")
    page = client("GET", place.path)
    assert page.status == 200
    assert (page.header("Content-Type") or "").startswith("text/html")
    assert "a &lt;b&gt; &amp; c.txt" in page.text
    assert "<b>" not in page.text
    html = client("GET", f"{place.path}page.html")
    assert html.header("X-Content-Type-Options") == "nosniff"
    policy = html.header("Content-Security-Policy") or ""
    attached = (html.header("Content-Disposition") or "").startswith("attachment")
    assert "sandbox" in policy or attached
    saved = client("GET", f"{place.path}page.html?download")
    assert (saved.header("Content-Disposition") or "").startswith("attachment")
