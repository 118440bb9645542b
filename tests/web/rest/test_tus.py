"""Resumable uploads (tus 1.0) over each kind of store, with a real client and by hand."""

from __future__ import annotations

import email.utils
import hashlib
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tusclient.client import TusClient

from tests.components.cutting import Cuts, CuttingProxy, places
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.processes import wait_until
from tests.components.watching import MIB, MemoryWatch
from tests.web.rest.face import BASE, Rest, problem
from tests.web.rest.test_files import lock, names
from tests.web.rest.tus import PIECE, Tus, checksum, described

#: More than what is made safe at once, and no multiple of anything.
SIZE = 9 * MIB + 4321


@pytest.fixture
def tus(client: Client) -> Tus:
    return Tus(client)


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(5).randbytes(SIZE)


@pytest.fixture
def litter(server: DavServer) -> Iterator[Callable[[], list[str]]]:
    """What uploads have left in the folder that clients do not see; of the folder store."""

    def look() -> list[str]:
        if server.root is None:
            return []
        reserved = server.root / ".davstore~"
        return sorted(path.name for path in reserved.iterdir()) if reserved.exists() else []

    before = set(look())
    yield lambda: [name for name in look() if name not in before]


def refused_head(tus: Tus, upload: str) -> int:
    answer = tus("HEAD", upload)
    assert answer.body == b"" and answer.header("Tus-Resumable") == "1.0.0"
    return answer.status


# A real client


@pytest.mark.parametrize(
    ("chunk", "checked"), [(MIB + 1, True), (4 * MIB, False), (2**40, False), (2**40, True)]
)
def test_a_real_client_uploads_a_file(
    server: DavServer, client: Client, place: str, content: bytes, chunk: int, checked: bool
) -> None:
    url = f"http://127.0.0.1:{server.port}{BASE}/tus{place}"
    uploader = TusClient(url).uploader(
        file_stream=io.BytesIO(content),
        chunk_size=chunk,
        upload_checksum=checked,
        metadata={"filename": "ä b.pdf", "filetype": "application/pdf"},
    )
    uploader.upload()
    answer = client("GET", f"{place}/%C3%A4%20b.pdf")
    assert answer.body == content
    assert answer.header("Content-Type") == "application/pdf"
    found = json.loads(client("GET", f"{BASE}/stat{place}/%C3%A4%20b.pdf").body)
    assert found["digests"]["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("checked", [False, True], ids=["plain", "checked"])
def test_a_real_client_goes_on_after_its_connections_broke(
    server: DavServer, client: Client, place: str, content: bytes, seed: int, checked: bool
) -> None:
    """A piece without a checksum is not sent again but for what was on its way."""
    cuts = Cuts(places(seed, 6, SIZE))
    piece = 2 * MIB if checked else 2**40
    with CuttingProxy(server.address, cuts) as proxy:
        uploader = TusClient(f"{proxy.url}{BASE}/tus{place}/a").uploader(
            file_stream=io.BytesIO(content),
            chunk_size=piece,
            upload_checksum=checked,
            retries=200,
            retry_delay=0.05,
        )
        uploader.upload()
    assert cuts.left == 0
    assert client("GET", f"{place}/a").body == content
    # What the proxy, the kernel and the client have in their buffers when it is cut.
    assert cuts.up < SIZE + 6 * (2 * MIB if checked else 6 * MIB)


def test_memory_does_not_grow_with_the_upload(server: DavServer, tus: Tus, place: str) -> None:
    """In MongoDB as with PUT: two batches are on their way, and one comes in."""
    most = 16 * MIB if server.root is not None else 32 * MIB
    block = os.urandom(MIB)
    size = 64 * MIB
    # Not to measure what the first use of everything takes.
    warm = tus.begin(f"{place}/warm", 2 * MIB)
    assert tus.patch(warm, 0, block * 2, Upload_Checksum=checksum(block * 2)).status == 204
    digest = checksum(block * 64, "sha256")
    for name, fields in (("plain", {}), ("checked", {"Upload_Checksum": digest})):
        upload = tus.begin(f"{place}/{name}", size)
        with MemoryWatch(server.rss) as watch:
            assert tus.patch(upload, 0, block * 64, **fields).status == 204
        print(f"{name}: {watch.growth / MIB:.1f} MiB more")
        assert watch.growth < most
        assert tus.offset(upload) == size


# Piece by piece


def test_an_upload_piece_by_piece(tus: Tus, client: Client, place: str, content: bytes) -> None:
    upload = tus.begin(f"{place}/a", SIZE, Upload_Metadata=described(filetype="text/x", x="y"))
    offset = 0
    for end in (0, 1, MIB, MIB, 5 * MIB + 7, SIZE - 1):
        answer = tus.patch(upload, offset, content[offset:end])
        assert (answer.status, answer.header("Upload-Offset")) == (204, str(end))
        offset = end
        head = tus("HEAD", upload)
        assert head.header("Upload-Length") == str(SIZE)
        assert head.header("Upload-Metadata") == described(filetype="text/x", x="y")
        expires = email.utils.parsedate_to_datetime(str(head.header("Upload-Expires")))
        assert abs(expires.timestamp() - time.time() - 7 * 86400) < 60
        assert tus.offset(upload) == end
        assert names(client, place) == []
    answer = tus.patch(upload, offset, content[offset:])
    assert (answer.status, answer.header("Upload-Offset")) == (204, str(SIZE))
    found = client("GET", f"{place}/a")
    assert found.body == content and found.header("Content-Type") == "text/x"
    assert found.header("ETag") == answer.header("ETag")


def test_what_came_of_a_piece_that_breaks_off_is_kept(
    tus: Tus, client: Client, place: str, content: bytes
) -> None:
    upload = tus.begin(f"{place}/a", SIZE)
    with tus.half(upload, 0, SIZE, content[: 5 * MIB + 99]):
        pass
    tus.wait_offset(upload, 5 * MIB + 99)
    assert tus.patch(upload, 5 * MIB + 99, content[5 * MIB + 99 :]).status == 204
    assert client("GET", f"{place}/a").body == content


def test_of_a_checked_piece_all_is_kept_or_nothing(
    tus: Tus, client: Client, place: str, content: bytes
) -> None:
    upload = tus.begin(f"{place}/a", SIZE)
    assert tus.patch(upload, 0, content[:1001], Upload_Checksum=checksum(content[:1001])).status
    piece = content[1001:]
    wrong = bytes([piece[0] ^ 1]) + piece[1:]
    for algorithm in ("sha1", "sha256", "md5"):
        answer = tus.patch(upload, 1001, wrong, Upload_Checksum=checksum(piece, algorithm))
        problem(answer, 460, "checksum-mismatch", "Upload-Checksum")
        assert tus.offset(upload) == 1001
        assert names(client, place) == []
    with tus.half(upload, 1001, len(piece), wrong[: 6 * MIB], Upload_Checksum=checksum(piece)):
        pass
    tus.wait_offset(upload, 1001)
    last = piece[:-MIB]
    answer = tus.patch(upload, 1001, last, Upload_Checksum=checksum(last, "sha256"))
    assert answer.header("Upload-Offset") == str(SIZE - MIB)
    last = piece[-MIB:]
    assert tus.patch(upload, SIZE - MIB, last, Upload_Checksum=checksum(last, "md5")).status == 204
    assert client("GET", f"{place}/a").body == content


def test_two_pieces_at_once(tus: Tus, client: Client, place: str, content: bytes) -> None:
    upload = tus.begin(f"{place}/a", SIZE)
    with tus.half(upload, 0, SIZE, content[: 5 * MIB]) as link:
        wait_until(lambda: tus.offset(upload) >= 4 * MIB, 10, "the first step to be safe")
        problem(tus.patch(upload, 0, content), 409, "upload-in-use")
        problem(tus.patch(upload, tus.offset(upload), b""), 409, "upload-in-use")
        problem(tus("DELETE", upload), 409, "upload-in-use")
        link.sendall(content[5 * MIB :])
        assert link.recv(1000).startswith(b"HTTP/1.1 204")
    assert client("GET", f"{place}/a").body == content


def test_the_finished_upload_is_known(tus: Tus, client: Client, place: str) -> None:
    """Was the answer to the last piece lost, the client learns that all is well."""
    upload = tus.begin(f"{place}/a", 4)
    assert tus.patch(upload, 0, b"1234").status == 204
    assert tus.offset(upload) == 4
    problem(tus.patch(upload, 4, b""), 409, "upload-finished")
    problem(tus.patch(upload, 0, b"1234"), 409, "upload-finished")
    problem(tus("DELETE", upload), 409, "upload-finished")
    assert client("GET", f"{place}/a").body == b"1234"


def test_an_upload_is_given_up(
    tus: Tus, client: Client, place: str, content: bytes, litter: Callable[[], list[str]]
) -> None:
    upload = tus.begin(f"{place}/a", SIZE)
    tus.patch(upload, 0, content[:-1])
    assert tus("DELETE", upload).status == 204
    assert refused_head(tus, upload) == 404
    problem(tus.patch(upload, SIZE - 1, b"x"), 404, "no-such-upload")
    problem(tus("DELETE", upload), 404, "no-such-upload")
    assert names(client, place) == [] and litter() == []


@pytest.mark.parametrize("body", [b"", b"12", b"1234"])
def test_the_first_piece_comes_with_the_creation(
    tus: Tus, client: Client, place: str, body: bytes
) -> None:
    fields = {"Upload_Checksum": checksum(body)} if body else {}
    answer = tus(
        "POST", f"{BASE}/tus{place}/a", body, Upload_Length="4", Content_Type=PIECE, **fields
    )
    assert (answer.status, answer.header("Upload-Offset")) == (201, str(len(body)))
    upload = str(answer.header("Location"))
    assert tus.offset(upload) == len(body)
    if len(body) < 4:
        assert tus.patch(upload, len(body), b"1234"[len(body) :]).status == 204
    assert client("GET", f"{place}/a").body == b"1234"


def test_a_first_piece_that_is_refused_leaves_nothing(
    tus: Tus, client: Client, place: str, litter: Callable[[], list[str]]
) -> None:
    target = f"{BASE}/tus{place}/a"
    fields = {"Upload_Length": "4", "Content_Type": PIECE}
    answer = tus("POST", target, b"12", Upload_Checksum=checksum(b"21"), **fields)
    problem(answer, 460, "checksum-mismatch", "Upload-Checksum")
    problem(tus("POST", target, b"12345", **fields), 413, "too-large", "body")
    fields["Content_Type"] = "text/plain"
    problem(tus("POST", target, b"12", **fields), 415, "media-type-unsupported", "Content-Type")
    assert names(client, place) == [] and litter() == []


def test_an_empty_file_is_there_at_once(tus: Tus, client: Client, place: str) -> None:
    upload = tus.begin(f"{place}/a", 0)
    assert client("GET", f"{place}/a").body == b""
    assert tus.offset(upload) == 0


def test_methods_can_be_said_in_a_field(tus: Tus, client: Client, place: str) -> None:
    upload = tus.begin(f"{place}/a", 4)
    sent = {"Upload_Offset": "0", "Content_Type": PIECE, "X_HTTP_Method_Override": "PATCH"}
    assert tus("POST", upload, b"12", **sent).status == 204
    assert tus("POST", upload, X_HTTP_Method_Override="HEAD").header("Upload-Offset") == "2"
    assert tus("POST", upload, X_HTTP_Method_Override="DELETE").status == 204
    for method in (None, "PUT"):
        answer = tus("POST", upload, X_HTTP_Method_Override=method)
        problem(answer, 400, "parameter-invalid", "X-HTTP-Method-Override")


def test_what_the_server_can_do_is_told(server: DavServer, client: Client, tus: Tus) -> None:
    for target in ("tus/", "tus/a/b", "tus-uploads/x"):
        answer = client("OPTIONS", f"{BASE}/{target}")
        assert (answer.status, answer.header("Tus-Version")) == (204, "1.0.0")
        extensions = "creation,creation-with-upload,termination,checksum,expiration"
        assert answer.header("Tus-Extension") == extensions
        assert answer.header("Tus-Checksum-Algorithm") == "sha1,sha256,md5"
    most = client("OPTIONS", f"{BASE}/tus/").header("Tus-Max-Size")
    assert (most is not None) is (server.root is not None)  # of a disk the space is known
    if most is not None:
        problem(tus.create("/a", 10 * int(most)), 413, "too-large", "Upload-Length")


# Conditions and locks


def test_a_lock_forbids_the_last_byte_until_it_is_gone(
    tus: Tus, client: Client, place: str
) -> None:
    client("PUT", f"{place}/a", b"old")
    upload = tus.begin(f"{place}/a", 4)
    token = lock(client, f"{place}/a")
    problem(tus.create(f"{place}/a", 4), 423, "locked")
    assert problem(tus.patch(upload, 0, b"1234"), 423, "locked")["locks"] == [f"{place}/a"]
    # Who asks now must not believe that all is done.
    assert tus.offset(upload) == 3
    assert client("GET", f"{place}/a").body == b"old"
    problem(tus.patch(upload, 3, b"4"), 423, "locked")
    assert tus.patch(upload, 3, b"4", Lock_Token=token).status == 204
    assert client("GET", f"{place}/a").body == b"1234"


def test_conditions_of_the_creation_count_at_the_end(tus: Tus, client: Client, place: str) -> None:
    upload = tus.begin(f"{place}/a", 4, If_None_Match="*")
    etag = str(client("PUT", f"{place}/a", b"other").header("ETag"))
    problem(tus.patch(upload, 0, b"1234"), 412, "precondition-failed")
    problem(tus.create(f"{place}/a", 4, If_None_Match="*"), 412, "precondition-failed")
    assert client("GET", f"{place}/a").body == b"other"
    assert tus.offset(upload) == 3
    assert tus.patch(upload, 3, b"4", If_Match=etag).status == 204
    assert client("GET", f"{place}/a").body == b"1234"


def test_the_digest_of_the_whole_is_checked_at_the_end(
    tus: Tus, client: Client, place: str, litter: Callable[[], list[str]]
) -> None:
    digest = f"SHA256:{hashlib.sha256(b'1234').hexdigest()}"
    for body, status in ((b"1243", 400), (b"1234", 204)):
        upload = tus.begin(f"{place}/a", 4, OC_Checksum=digest, X_OC_Mtime="1000000000")
        answer = tus.patch(upload, 0, body)
        assert answer.status == status
        if status == 400:
            problem(answer, 400, "digest-mismatch")
            assert refused_head(tus, upload) == 404
            assert names(client, place) == [] and litter() == []
    assert answer.header("Last-Modified") == "Sun, 09 Sep 2001 01:46:40 GMT"


# Wrong requests


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"Tus_Resumable": None}, 412, "tus-version", "Tus-Resumable"),
        ({"Tus_Resumable": "0.2.2"}, 412, "tus-version", "Tus-Resumable"),
        ({"Upload_Length": None}, 400, "parameter-missing", "Upload-Length"),
        ({"Upload_Length": "-1"}, 400, "parameter-invalid", "Upload-Length"),
        ({"Upload_Length": "+1"}, 400, "parameter-invalid", "Upload-Length"),
        ({"Upload_Length": "1.0"}, 400, "parameter-invalid", "Upload-Length"),
        ({"Upload_Length": "9" * 30}, 400, "parameter-invalid", "Upload-Length"),
        ({"Upload_Defer_Length": "1"}, 400, "parameter-invalid", "Upload-Defer-Length"),
        ({"Upload_Concat": "partial"}, 400, "parameter-invalid", "Upload-Concat"),
        ({"Upload_Metadata": "a b c"}, 400, "parameter-invalid", "Upload-Metadata"),
        ({"Upload_Metadata": "a !"}, 400, "parameter-invalid", "Upload-Metadata"),
        ({"Upload_Metadata": "a YQ==,a YQ=="}, 400, "parameter-invalid", "Upload-Metadata"),
        ({"Upload_Metadata": "filename /w=="}, 400, "parameter-invalid", "Upload-Metadata"),
        ({"Upload_Metadata": "a " + "YWFh" * 1100}, 400, "parameter-invalid", "Upload-Metadata"),
        ({"Upload_Checksum": "sha1 YQ=="}, 400, "parameter-invalid", "Upload-Checksum"),
        ({"OC_Checksum": "SHA1:x"}, 400, "parameter-invalid", "OC-Checksum"),
        ({"X_OC_Mtime": "soon"}, 400, "parameter-invalid", "X-OC-Mtime"),
        ({"If": "nonsense"}, 400, "parameter-invalid", "If"),
        ({"If_Match": '"x"'}, 412, "precondition-failed", None),
    ],
)
def test_wrong_fields_of_a_creation(
    tus: Tus,
    client: Client,
    place: str,
    litter: Callable[[], list[str]],
    fields: dict[str, str | None],
    status: int,
    code: str,
    field: str | None,
) -> None:
    answer = tus.create(f"{place}/a", 4, **fields)
    problem(answer, status, code, field)
    assert answer.header("Tus-Resumable") == "1.0.0"
    assert answer.header("Tus-Version") == ("1.0.0" if code == "tus-version" else None)
    assert names(client, place) == [] and litter() == []


def test_wrong_targets_of_a_creation(tus: Tus, client: Client, place: str) -> None:
    client("MKCOL", f"{place}/folder")
    client("PUT", f"{place}/file", b"1")
    meta = "Upload-Metadata"
    problem(tus.create(f"{place}/folder", 4), 400, "parameter-missing", meta)
    problem(tus.create(f"{place}/folder/", 4), 400, "parameter-missing", meta)
    for name, code in (
        ("a/b", "parameter-invalid"),
        ("..", "name-invalid"),
        ("\0", "name-invalid"),
    ):
        answer = tus.create(f"{place}/folder", 4, Upload_Metadata=described(filename=name))
        problem(answer, 400, code, meta)
    answer = tus.create(f"{place}/", 4, Upload_Metadata=described(filename="folder"))
    problem(answer, 409, "is-a-folder")
    problem(tus.create(f"{place}/missing/a", 4), 409, "parent-missing")
    problem(tus.create(f"{place}/file/a", 4), 409, "not-a-folder")
    problem(tus.create(f"{place}/.davstore~x", 4), 403, "forbidden")
    problem(tus.create(f"{place}/a?overwrite=true", 4), 400, "parameter-unknown", "overwrite")
    upload = tus.begin(f"{place}/folder", 1, Upload_Metadata=described(filename="a"))
    assert tus.patch(upload, 0, b"1").status == 204
    assert names(client, f"{place}/folder") == ["a"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"Tus_Resumable": None}, 412, "tus-version", "Tus-Resumable"),
        ({"Upload_Offset": None}, 400, "parameter-missing", "Upload-Offset"),
        ({"Upload_Offset": "x"}, 400, "parameter-invalid", "Upload-Offset"),
        ({"Upload_Offset": "1"}, 409, "offset-mismatch", "Upload-Offset"),
        ({"Upload_Offset": "3"}, 409, "offset-mismatch", "Upload-Offset"),
        ({"Upload_Offset": "5"}, 409, "offset-mismatch", "Upload-Offset"),  # and goes beyond
        ({"Content_Type": None}, 415, "media-type-unsupported", "Content-Type"),
        ({"Content_Type": "text/plain"}, 415, "media-type-unsupported", "Content-Type"),
        ({"Upload_Checksum": "sha1"}, 400, "parameter-invalid", "Upload-Checksum"),
        ({"Upload_Checksum": "crc32 YQ=="}, 400, "parameter-invalid", "Upload-Checksum"),
        ({"Upload_Checksum": "md5 !"}, 400, "parameter-invalid", "Upload-Checksum"),
    ],
)
def test_wrong_fields_of_a_piece(
    tus: Tus,
    client: Client,
    place: str,
    fields: dict[str, str | None],
    status: int,
    code: str,
    field: str,
) -> None:
    upload = tus.begin(f"{place}/a", 6)
    tus.patch(upload, 0, b"12")
    answer = tus.patch(upload, 2, b"3456"[: 4 if code != "offset-mismatch" else 3], **fields)
    problem(answer, status, code, field)
    assert answer.header("Upload-Offset") == ("2" if code == "offset-mismatch" else None)
    assert tus.offset(upload) == 2
    assert names(client, place) == []


def test_a_piece_that_is_too_long(tus: Tus, client: Client, place: str, content: bytes) -> None:
    upload = tus.begin(f"{place}/a", 6 * MIB)
    tus.patch(upload, 0, content[:2])
    problem(tus.patch(upload, 2, content[: 6 * MIB]), 413, "too-large", "body")
    chunks = iter([content[2 : 5 * MIB], content[5 * MIB :]])  # chunked: no length announced
    answer = tus.client(
        "PATCH", upload, chunks, Tus_Resumable="1.0.0", Upload_Offset="2", Content_Type=PIECE
    )
    problem(answer, 413, "too-large", "body")
    assert tus.offset(upload) == 2
    assert tus.patch(upload, 2, content[2 : 6 * MIB]).status == 204
    assert client("GET", f"{place}/a").body == content[: 6 * MIB]


@pytest.mark.parametrize(
    "upload", ["x", "Lw", "Lw.", "Lw.x", "%2e%2e.u", "Lw.u" + "0" * 24, "%C3%A4.b"]
)
def test_addresses_of_no_upload(tus: Tus, rest: Rest, upload: str) -> None:
    address = f"{BASE}/tus-uploads/{upload}"
    assert refused_head(tus, address) == 404
    problem(tus.patch(address, 0, b""), 404, "no-such-upload")
    problem(tus("DELETE", address), 404, "no-such-upload")
    refused = tus("GET", address)
    problem(refused, 405, "method-not-allowed")
    assert refused.header("Tus-Resumable") == "1.0.0"


def test_the_folder_of_the_target_goes_meanwhile(tus: Tus, client: Client, place: str) -> None:
    client("MKCOL", f"{place}/folder")
    upload = tus.begin(f"{place}/folder/a", 4)
    client("DELETE", f"{place}/folder")
    problem(tus.patch(upload, 0, b"1234"), 409, "parent-missing")
    assert refused_head(tus, upload) == 404
    assert names(client, place) == []


def test_both_versions_answer(tus: Tus, client: Client, place: str) -> None:
    answer = tus("POST", f"{BASE}.0/tus{place}/a", Upload_Length="1")
    upload = str(answer.header("Location"))
    assert upload.startswith(f"{BASE}.0/tus-uploads/")
    assert tus.patch(upload.replace(f"{BASE}.0/", f"{BASE}/"), 0, b"1").status == 204
    assert Path(place).name in names(client, "/")
