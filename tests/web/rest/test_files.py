"""Upload, download, delete and stat of single files, over each kind of store."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.components.davserver import DavServer
from tests.components.http import DAV, Client
from tests.dav.client import lockinfo
from tests.web.rest.face import Rest, href, multipart, problem

CONTENT = b"\x00\r\n--\r\rcontent\xff\r\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def lock(client: Client, path: str) -> str:
    answer = client("LOCK", path, lockinfo(), Content_Type="application/xml")
    assert answer.status == 200, answer
    return str(answer.header("Lock-Token"))


def names(client: Client, path: str) -> list[str]:
    """What WebDAV lists in the folder."""
    answer = client("PROPFIND", path, Depth="1")
    found = [str(each.findtext(DAV + "href")) for each in answer.xml.iter(DAV + "response")]
    return sorted(each.rstrip("/").rpartition("/")[2] for each in found[1:])


def test_what_is_uploaded_is_downloaded(rest: Rest, place: str) -> None:
    answer = rest("POST", f"upload{place}/a.txt", CONTENT, Content_Type="text/plain")
    assert answer.status == 201, answer
    document = json.loads(answer.body)
    assert document["path"] == f"{place}/a.txt"
    assert document["size"] == len(CONTENT)
    assert document["content_type"] == "text/plain"
    assert document["digests"]["sha256"] == SHA256
    assert answer.header("Location") == f"/filestorage/v1.0.0/download{place}/a.txt"
    found = rest("GET", f"download{place}/a.txt")
    assert (found.status, found.body) == (200, CONTENT)
    assert found.header("ETag") == document["etag"] == answer.header("ETag")
    again = rest("PUT", f"upload{place}/a.txt", b"other")
    assert (again.status, again.header("Location")) == (200, None)
    assert rest("GET", f"download{place}/a.txt").body == b"other"


def test_both_versions_answer(client: Client, rest: Rest, place: str) -> None:
    rest("PUT", f"upload{place}/a.txt", CONTENT)
    for version in ("v1.0.0", "v1.0.0.0"):
        assert client("GET", f"/filestorage/{version}/download{place}/a.txt").body == CONTENT
    other = client("GET", f"/filestorage/v1.0.0.1/download{place}/a.txt")
    assert (other.status, other.header("Content-Type")) == (404, "text/plain; charset=utf-8")


def test_a_file_of_rest_is_the_same_over_webdav_and_the_reverse(
    client: Client, rest: Rest, place: str
) -> None:
    path = href(f"{place}/Müller & Söhne 日本.bin")
    when = "Sun, 06 Nov 1994 08:49:37 GMT"
    rest("POST", f"upload{path}?modified=1994-11-06T08:49:37Z", CONTENT, Content_Type="a/b")
    found = client("GET", path)
    assert (found.body, found.header("Content-Type")) == (CONTENT, "a/b")
    assert found.header("Last-Modified") == when
    props = client(
        "PROPFIND",
        path,
        '<D:propfind xmlns:D="DAV:"><D:prop><c:checksums xmlns:c="http://owncloud.org/ns"/>'
        "</D:prop></D:propfind>",
        Depth="0",
    )
    assert SHA256 in props.text
    client("PUT", path + "2", CONTENT, X_OC_Mtime="784111777", Content_Type="c/d")
    other = rest("GET", f"download{path}2")
    assert (other.body, other.header("Content-Type")) == (CONTENT, "c/d")
    assert other.header("Last-Modified") == when
    document = json.loads(rest("GET", f"stat{path}2").body)
    assert document["digests"]["sha256"] == SHA256
    assert document["modified"] == "1994-11-06T08:49:37Z"
    assert document["name"] == "Müller & Söhne 日本.bin2"
    assert document["etag"] == client("HEAD", path + "2").header("ETag")


def test_a_form_streams_its_file(rest: Rest, place: str) -> None:
    answer = rest.form(f"upload{place}/a", {"sha256": SHA256, "modified": "5"}, CONTENT)
    assert answer.status == 201, answer
    assert json.loads(answer.body)["modified"] == "1970-01-01T00:00:05Z"
    assert rest("GET", f"download{place}/a").body == CONTENT


def test_any_content_comes_through_a_form_unchanged(rest: Rest, place: str) -> None:
    """Line ends and dashes at every place, and blocks whose borders fall anywhere."""
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    for number in range(25):
        words = [b"\r", b"\n", b"-", b"--", b"----of-a-form", b"x" * dice.randrange(9)]
        content = b"".join(dice.choices(words, k=dice.randrange(200)))
        if number % 5 == 0:
            content += dice.randbytes(dice.randrange(600_000)) + content
        assert rest.form(f"upload{place}/a", {}, content).status in (200, 201)
        assert rest("GET", f"download{place}/a").body == content


@pytest.mark.parametrize("is_form", [True, False], ids=["form", "raw"])
def test_a_large_upload_does_not_fill_the_memory_or_the_disk(
    server: DavServer, rest: Rest, place: str, is_form: bool
) -> None:
    block = random.Random(5).randbytes(1 << 20)
    body, kind = multipart([("size", str(48 << 20)), ("file", b"@")])
    before, after = body.split(b"@") if is_form else (b"", b"")
    before_rss = max(server.rss_of_workers().values())

    def pieces() -> list[bytes]:
        return [piece for piece in (before, *([block] * 48), after) if piece]

    answer = rest("POST", f"upload{place}/a", pieces(), Content_Type=kind if is_form else None)
    assert answer.status == 201, answer
    assert max(server.rss_of_workers().values()) - before_rss < 32 << 20
    found = rest("GET", f"download{place}/a", Range=f"bytes={(47 << 20) - 3}-{(47 << 20) + 2}")
    assert (found.status, found.body) == (206, block[-3:] + block[:3])
    whole = json.loads(rest("GET", f"stat{place}/a").body)["digests"]["sha256"]
    assert whole == hashlib.sha256(block * 48).hexdigest()


@pytest.mark.parametrize(
    ("target", "headers", "code", "field"),
    [
        ("?sha256=" + "0" * 64, {}, "digest-mismatch", "sha256"),
        ("?sha256=" + "0" * 64, {"Digest": "MD5=" + "A" * 22 + "=="}, "digest-mismatch", "sha256"),
        ("?sha256=12", {}, "parameter-invalid", "sha256"),
        ("?size=3", {}, "length-mismatch", "size"),
        ("?size=-1", {}, "parameter-invalid", "size"),
        ("?size=1.5", {}, "parameter-invalid", "size"),
        ("?size=1&size=1", {}, "parameter-repeated", "size"),
        ("?overwite=false", {}, "parameter-unknown", "overwite"),
        ("?overwrite=maybe", {}, "parameter-invalid", "overwrite"),
        ("?modified=yesterday", {}, "parameter-invalid", "modified"),
        ("?modified=nan", {}, "parameter-invalid", "modified"),
        ("?modified=9999-12-31T00:00:00Z", {}, "parameter-invalid", "modified"),
        ("?modified=%FF", {}, "parameter-invalid", "query"),
        ("", {"Repr_Digest": "sha-256=:AAAA:"}, "parameter-invalid", "Repr-Digest"),
        ("", {"Repr_Digest": "nonsense"}, "parameter-invalid", "Repr-Digest"),
        ("", {"Digest": "SHA-256=%%"}, "parameter-invalid", "Digest"),
        ("", {"OC_Checksum": "SHA1:xyz"}, "parameter-invalid", "OC-Checksum"),
        ("", {"X_OC_Mtime": "never"}, "parameter-invalid", "X-OC-Mtime"),
        ("", {"If": "(<urn:x>"}, "parameter-invalid", "If"),
        ("?size=1_7", {}, "parameter-invalid", "size"),
        ("?size=+17", {}, "parameter-invalid", "size"),
        ("?size=" + "9" * 5000, {}, "parameter-invalid", "size"),
        ("", {"Content_Range": "bytes 0-3/9"}, "parameter-invalid", "Content-Range"),
        ("", {"Content_Type": "multipart/form-data"}, "multipart-invalid", "Content-Type"),
        ("", {"Content_Type": "multipart/form-data; boundary=x"}, "multipart-invalid", "body"),
    ],
)
def test_a_refused_upload_leaves_nothing(
    rest: Rest,
    client: Client,
    place: str,
    target: str,
    headers: dict[str, str],
    code: str,
    field: str | None,
) -> None:
    problem(rest("POST", f"upload{place}/a{target}", CONTENT, **headers), 400, code, field)
    assert names(client, place) == []


def test_a_digest_may_be_announced_in_each_way(rest: Rest, place: str) -> None:
    for name, algorithm in (("sha-256", hashlib.sha256), ("md5", hashlib.md5)):
        right = base64.b64encode(algorithm(CONTENT).digest()).decode()
        wrong = base64.b64encode(algorithm(b"").digest()).decode()
        good = {"Repr_Digest": f"{name}=:{right}:, x=:AA==:"}, {"Digest": f"{name}={right}"}
        for headers in good:
            assert rest("PUT", f"upload{place}/a", CONTENT, **headers).status in (200, 201)
        bad = {"Repr_Digest": f"{name}=:{wrong}:"}, {"Digest": f"{name.upper()}={wrong}"}
        for headers in bad:
            answer = rest("PUT", f"upload{place}/b", CONTENT, **headers)
            problem(answer, 400, "digest-mismatch", next(iter(headers)).replace("_", "-"))
    answer = rest("PUT", f"upload{place}/a?sha256={SHA256}", CONTENT, Digest="SHA-256=" + "A" * 44)
    problem(answer, 400, "parameter-invalid", "Digest")


@pytest.mark.parametrize(
    ("parts", "code", "field"),
    [
        ([("sha256", SHA256)], "parameter-missing", "file"),
        ([("file", CONTENT), ("sha256", SHA256)], "multipart-invalid", "sha256"),
        ([("size", "1"), ("size", "1"), ("file", CONTENT)], "multipart-invalid", "size"),
        ([("size", "x"), ("file", CONTENT)], "parameter-invalid", "size"),
        ([("other", "x"), ("file", CONTENT)], "parameter-unknown", "other"),
        ([("size", b"\xff"), ("file", CONTENT)], "multipart-invalid", "size"),
        ([("size", "2"), ("file", CONTENT)], "length-mismatch", "size"),
    ],
)
def test_a_wrong_form_leaves_nothing(
    rest: Rest,
    client: Client,
    place: str,
    parts: list[tuple[str, str | bytes]],
    code: str,
    field: str | None,
) -> None:
    body, kind = multipart(parts)
    problem(rest("POST", f"upload{place}/a", body, Content_Type=kind), 400, code, field)
    assert names(client, place) == []


def test_a_form_that_is_cut_anywhere_leaves_nothing(rest: Rest, client: Client, place: str) -> None:
    body, kind = multipart([("size", str(len(CONTENT))), ("file", CONTENT)])
    for length in range(0, len(body) - 4, 3):
        answer = rest("POST", f"upload{place}/a", body[:length], Content_Type=kind)
        problem(answer, 400, "multipart-invalid", "body")
    big, kind = multipart([("size", "x" * 100_000), ("file", CONTENT)])
    answer = rest("POST", f"upload{place}/a", big, Content_Type=kind)
    problem(answer, 413, "too-large", "body")
    many, kind = multipart([*((f"f{n}", "x") for n in range(200)), ("file", CONTENT)])
    answer = rest("POST", f"upload{place}/a", many, Content_Type=kind)
    problem(answer, 413, "too-large", "body")
    assert names(client, place) == []


def test_overwrite_and_conditions(rest: Rest, place: str) -> None:
    path = f"{place}/a"
    assert rest("POST", f"upload{path}?overwrite=false", b"one").status == 201
    problem(rest("POST", f"upload{path}?overwrite=false", b"two"), 409, "exists")
    problem(rest("PUT", f"upload{path}", b"two", If_None_Match="*"), 412, "precondition-failed")
    problem(rest("PUT", f"upload{path}", b"two", If_Match='"x"'), 412, "precondition-failed")
    problem(rest("DELETE", f"delete{path}", If_Match='"x"'), 412, "precondition-failed")
    etag = rest("GET", f"stat{path}").header("ETag")
    assert rest("GET", f"stat{path}", If_None_Match=etag).status == 304
    assert rest("GET", f"download{path}", If_None_Match=etag).status == 304
    problem(rest("GET", f"download{path}", If_Match='"x"'), 412, "precondition-failed")
    assert rest("GET", f"download{path}").body == b"one"
    assert rest("PUT", f"upload{path}", b"two", If_Match=etag).status == 200
    problem(rest("DELETE", f"delete{path}", If_Match=etag), 412, "precondition-failed")
    assert rest("DELETE", f"delete{path}").status == 204
    problem(rest("DELETE", f"delete{path}"), 404, "not-found")


def test_a_download_is_what_webdav_sends(client: Client, rest: Rest, place: str) -> None:
    path = f"{place}/a.html"
    client("PUT", path, CONTENT)
    for headers in ({}, {"Range": "bytes=2-5"}, {"Range": "bytes=1-2,4-5"}, {"Range": "bytes=-3"}):
        for method in ("GET", "HEAD"):
            one = client(method, path, **headers)
            two = rest(method, f"download{path}", **headers)
            assert one.status == two.status
            kept = {k: v for k, v in one.headers.items() if k not in ("Date", "Content-Type")}
            assert kept.items() <= dict(two.headers.items()).items()
            if "," not in headers.get("Range", ""):
                assert (one.body, one.header("Content-Type")) == (
                    two.body,
                    two.header("Content-Type"),
                )
    saved = rest("GET", f"download{path}?as=attachment")
    assert saved.header("Content-Disposition") == (
        "attachment; filename=\"a.html\"; filename*=UTF-8''a.html"
    )
    assert rest("GET", f"download{path}?as=inline").header("Content-Disposition") is None
    problem(rest("GET", f"download{path}?as=file"), 400, "parameter-invalid", "as")
    answer = rest("GET", f"download{path}", Range="bytes=100-")
    problem(answer, 416, "range-not-satisfiable", "Range")
    assert answer.header("Content-Range") == f"bytes */{len(CONTENT)}"


def test_under_a_webdav_lock_nothing_changes(client: Client, rest: Rest, place: str) -> None:
    path = f"{place}/a"
    client("PUT", path, b"one")
    token = lock(client, path)
    for method, target, body in (
        ("POST", f"upload{path}", b"two"),
        ("DELETE", f"delete{path}", b""),
        ("DELETE", f"delete{place}", b""),
        ("POST", f"move{path}?destination={place}/b", b""),
    ):
        document = problem(rest(method, target, body), 423, "locked")
        assert document["locks"] == [path]
    problem(rest("PUT", f"upload{path}", b"two", Lock_Token="<urn:x>"), 423, "locked")
    assert client("GET", path).body == b"one"
    assert names(client, place) == ["a"]
    assert rest("POST", f"upload{path}", b"two", Lock_Token=token).status == 200
    assert rest("POST", f"upload{path}", b"three", If=f"({token})").status == 200
    url = f"http://{client.address[0]}:{client.address[1]}{path}"
    assert rest("POST", f"upload{path}", b"four", If=f"<{url}> ({token})").status == 200
    assert rest("DELETE", f"delete{path}", Lock_Token=token).status == 204
    assert client("LOCK", path, lockinfo()).status == 201  # the lock went with its file


def test_new_members_of_a_locked_folder_are_refused(client: Client, rest: Rest, place: str) -> None:
    token = lock(client, place)
    for method, target in (("POST", "upload"), ("POST", "mkdir")):
        problem(rest(method, f"{target}{place}/a"), 423, "locked")
    assert names(client, place) == []
    assert rest("POST", f"mkdir{place}/a/b?parents=true", Lock_Token=token).status == 201


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "", 404, "no-such-endpoint"),
        ("GET", "nothing/a", 404, "no-such-endpoint"),
        ("GET", "uploads", 404, "no-such-endpoint"),
        ("GET", "download/missing/a", 404, "not-found"),
        ("GET", "stat/missing", 404, "not-found"),
        ("POST", "upload/missing/a", 409, "parent-missing"),
        ("PUT", "upload/", 409, "is-a-folder"),
        ("PUT", "upload/new/", 409, "not-a-folder"),
        ("GET", "download/", 409, "is-a-folder"),
        ("DELETE", "delete/", 403, "forbidden"),
        ("GET", "download/a/../b", 400, "name-invalid"),
        ("GET", "download/a%00b", 400, "name-invalid"),
        ("GET", "download/a%0Ab", 400, "name-invalid"),
        ("GET", f"download/{'n' * 256}", 400, "name-too-long"),
        ("PUT", "upload/.davstore~x", 403, "forbidden"),
        ("GET", "stat/?x=1", 400, "parameter-unknown"),
        ("PATCH", "upload/a", 405, "method-not-allowed"),
        ("GET", "upload/a", 405, "method-not-allowed"),
        ("POST", "download/a", 405, "method-not-allowed"),
        ("DELETE", "list/a", 405, "method-not-allowed"),
    ],
)
def test_a_wrong_request_is_a_problem(
    rest: Rest, method: str, target: str, status: int, code: str
) -> None:
    answer = rest(method, target)
    field = "path" if code.startswith("name-") else "x" if "?x" in target else None
    document = problem(answer, status, code, field)
    assert str(Path.cwd()) not in document["detail"]
    if status == 405:
        assert answer.header("Allow"), answer


def test_an_escaped_slash_is_in_no_name(rest: Rest, client: Client, place: str) -> None:
    problem(rest("PUT", f"upload{place}%2Fa", CONTENT), 400, "name-invalid", "path")
    problem(rest("GET", f"stat{place}%2f"), 400, "name-invalid", "path")
    assert names(client, place) == []


def test_of_many_that_create_at_once_one_does(rest: Rest, place: str) -> None:
    def create(number: int) -> int:
        target = f"upload{place}/a?overwrite=false"
        return rest("POST", target, bytes([number]) * 100_000).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(8)))
    assert sorted(statuses) == [201] + [409] * 7
    winner = statuses.index(201)
    assert rest("GET", f"download{place}/a").body == bytes([winner]) * 100_000


def test_a_refusal_comes_before_the_body(client: Client, rest: Rest, place: str) -> None:
    client("PUT", f"{place}/a", b"one")
    lock(client, f"{place}/a")
    for target, status in ((f"upload{place}/a", 423), (f"upload{place}/none/b", 409),
                           (f"upload{place}/b?size=x", 400)):  # fmt: skip
        with socket.create_connection(client.address, timeout=10) as link:
            link.sendall(
                f"POST {rest.base}/{target} HTTP/1.1\r\nHost: localhost\r\n"
                "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert link.recv(12) == f"HTTP/1.1 {status}".encode()


def test_a_broken_off_upload_leaves_nothing(
    rest: Rest, client: Client, server: DavServer, place: str
) -> None:
    for kind in ("application/octet-stream", "multipart/form-data; boundary=x"):
        with client.connection() as connection:
            connection.putrequest("POST", f"{rest.base}/upload{place}/a")
            connection.putheader("Content-Length", "1000000")
            connection.putheader("Content-Type", kind)
            connection.endheaders(b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n123')
    client("PUT", f"{place}/b", b"")
    assert names(client, place) == ["b"]
    assert "Traceback" not in server.said()
