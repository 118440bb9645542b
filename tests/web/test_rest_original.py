"""The original endpoints, as a script uses them that was written by the design's names."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from bson import Binary
from pymongo import MongoClient

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.stores.harness import until

#: The store's chunk size here, so that large files need not be so large.
UNIT = 64 << 10
SMALL = 16 << 10

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def database(_shared_mongod: Mongod) -> Iterator[str]:
    with _shared_mongod.database() as name:
        yield name


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, _shared_mongod: Mongod, database: str
) -> Iterator[DavServer]:
    """Two nodes' worth of workers over one tree; a folder beside it."""
    home = tmp_path_factory.mktemp("davstore")
    (home / "beside").mkdir()
    share = {"chunk_size": UNIT, "inline_max": SMALL}
    with DavServer.over_mongo(
        home,
        _shared_mongod.uri,
        database,
        share=share,
        settings={"workers": 2},
    ) as running:
        yield running
        assert "Traceback" not in running.said(), running.tail(20000)


@pytest.fixture
def base(server: DavServer) -> str:
    host, port = server.address
    return f"http://{host}:{port}"


@pytest.fixture
def api(base: str) -> str:
    return f"{base}/filestorage"


@pytest.fixture
def path() -> str:
    return f"/file-{next(_numbers)}.bin"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def problem(answer: requests.Response, status: int, code: str, field: str | None) -> Any:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    document = answer.json()
    assert (answer.status_code, document["code"], document.get("field")) == (status, code, field), (
        document
    )
    assert document["detail"].endswith(".")
    return document


# The script of the design


@pytest.mark.parametrize("form", [False, True], ids=["raw bodies", "forms"])
def test_the_scripts_of_the_design(base: str, api: str, path: str, form: bool) -> None:
    """Version 1.0.0 for `check`, 1.0.0.0 for the rest, as the design writes them."""
    check = requests.get(f"{api}/v1.0.0/check", timeout=30)
    assert (check.status_code, check.text) == (200, "success")
    assert check.headers["Content-Type"].startswith("text/plain")

    def send(endpoint: str, content: bytes, **parameters: Any) -> requests.Response:
        url = f"{api}/v1.0.0.0/mongodb/{endpoint}"
        if form:
            return requests.post(url, data=parameters, files={"file": content}, timeout=30)
        return requests.put(url, params=parameters, data=content, timeout=30)

    small = b"a small file"
    answer = send("uploadsmall", small, path=path, size=len(small), sha256=sha256(small))
    assert answer.status_code == 201, answer.text
    small_id = answer.json()["id"]

    large = random.Random(7).randbytes(5 * UNIT + 1234)
    chunks = cut(large, 2 * UNIT)
    for number in (2, 0, 1, 0, 2):
        answer = send(
            "uploadlargechunk",
            chunks[number],
            path=path + ".large",
            upload="the client's own id",
            chunk=number,
            chunks=len(chunks),
            sha256=sha256(chunks[number]),
        )
        assert answer.status_code == 200, answer.text
    assert requests.get(base + path + ".large", timeout=30).status_code == 404
    answer = requests.post(
        f"{api}/v1.0.0.0/mongodb/uploadlargefinished",
        data={
            "path": path + ".large",
            "upload": "the client's own id",
            "chunks": len(chunks),
            "size": len(large),
            "sha256": sha256(large),
        },
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    large_id = answer.json()["id"]

    for key, where, content in ((small_id, path, small), (large_id, path + ".large", large)):
        for name in ("downloadsmall", "downloadlarge", "downloadsmallasfile"):
            for which in ({"path": where}, {"id": key}):
                answer = requests.get(f"{api}/v1.0.0.0/mongo/{name}", params=which, timeout=30)
                assert (answer.status_code, answer.content) == (200, content), name
                saved = answer.headers.get("Content-Disposition", "")
                assert saved.startswith("attachment") == (name == "downloadsmallasfile")
        assert requests.get(base + where, timeout=30).content == content


def test_there_is_no_second_copy(
    api: str, path: str, _shared_mongod: Mongod, database: str
) -> None:
    content = random.Random(8).randbytes(7 * UNIT + 5)
    chunks = cut(content, 2 * UNIT)
    for number in (1, 3, 2, 0, 3):
        where = {"path": path, "upload": "x", "chunk": number, "chunks": 4}
        requests.post(
            f"{api}/v1.0.0/mongodb/uploadlargechunk", params=where, data=chunks[number], timeout=30
        ).raise_for_status()
    where = {"path": path, "upload": "x"}
    done = requests.post(f"{api}/v1.0.0/mongodb/uploadlargefinished", params=where, timeout=30)
    assert done.status_code == 201, done.text
    with MongoClient[dict[str, Any]](_shared_mongod.uri) as client:
        node = client[database]["nodes"].find_one(
            {"_id": Binary(bytes.fromhex(done.json()["id"]), 4)}
        )
        assert node is not None
        found = client[database]["fs.chunks"].find({"files_id": node["c"]}).sort("n")
        pieces = [chunk["data"] for chunk in found]
        everything = client[database]["fs.files"].count_documents({"metadata.path": path})
    assert b"".join(pieces) == content
    assert [len(each) for each in pieces[:-1]] == [UNIT] * 7
    assert everything == 1


def chunk(api: str, data: bytes, **parameters: Any) -> requests.Response:
    url = f"{api}/v1.0.0/mongodb/uploadlargechunk"
    return requests.post(url, params=parameters, data=data, timeout=30)


def finished(api: str, method: str = "POST", **parameters: Any) -> requests.Response:
    url = f"{api}/v1.0.0/mongodb/uploadlargefinished"
    return requests.request(method, url, params=parameters, timeout=30)


def test_what_is_missing_can_be_asked_and_is_named(api: str, path: str) -> None:
    which = {"path": path, "upload": "x"}
    problem(finished(api, **which), 404, "no-such-upload", "upload")
    problem(finished(api, "GET", **which), 404, "no-such-upload", "upload")
    chunk(api, b"a" * UNIT, **which, chunk=1, chunks=3).raise_for_status()
    assert finished(api, "GET", **which).json() == {
        **which,
        "finished": False,
        "chunks": 3,
        "chunk_size": UNIT,
        "received": [1],
        "missing": [0, 2],
        "size": UNIT,
    }
    found = problem(finished(api, **which), 409, "parts-missing", "chunk")
    assert found["missing"] == [0, 2]
    assert "0, 2" in found["detail"]
    problem(finished(api, **which, chunks=2), 409, "parts-missing", "chunk")
    for number in (0, 2):
        chunk(api, b"a" * UNIT, **which, chunk=number, chunks=3).raise_for_status()
    problem(finished(api, **which, chunks=2), 400, "part-invalid", "chunks")
    problem(finished(api, **which, size=1), 400, "length-mismatch", "size")
    problem(finished(api, **which, sha256="0" * 64), 400, "digest-mismatch", "sha256")
    assert finished(api, **which, chunks=3).status_code == 201
    assert finished(api, **which, chunks=3).status_code == 200
    assert finished(api, "GET", **which).json()["finished"]
    problem(chunk(api, b"b", **which, chunk=2, chunks=3), 409, "upload-finished", "upload")


def test_an_unfinished_upload_can_be_given_up(base: str, api: str, path: str) -> None:
    which = {"path": path, "upload": "x"}
    problem(finished(api, "DELETE", **which), 404, "no-such-upload", "upload")
    problem(finished(api, "DELETE", path=path), 400, "parameter-missing", "upload")
    chunk(api, b"a" * UNIT, **which, chunk=0, chunks=2).raise_for_status()
    answer = finished(api, "DELETE", **which)
    assert (answer.status_code, answer.content) == (204, b"")
    problem(finished(api, "DELETE", **which), 404, "no-such-upload", "upload")
    problem(finished(api, "GET", **which), 404, "no-such-upload", "upload")
    problem(finished(api, **which), 404, "no-such-upload", "upload")
    # Its id is free, for other chunks.
    chunk(api, b"b", **which, chunk=0, chunks=1).raise_for_status()
    assert finished(api, **which).status_code == 201
    problem(finished(api, "DELETE", **which), 409, "upload-finished", "upload")
    assert requests.get(base + path, timeout=30).content == b"b"


def test_a_chunk_that_was_sent_with_another_content_is_a_conflict(api: str, path: str) -> None:
    which = {"path": path, "upload": "x", "chunk": 0, "chunks": 2}
    data, other = b"a" * UNIT, b"b" * UNIT
    for _ in range(2):
        answer = chunk(api, data, **which, sha256=sha256(data))
        assert answer.json() == {
            "path": path, "upload": "x", "chunk": 0, "size": UNIT, "sha256": sha256(data),
        }  # fmt: skip
    problem(chunk(api, other, **which), 409, "part-differs", "chunk")
    problem(chunk(api, other, **which, sha256=sha256(other)), 409, "part-differs", "sha256")
    problem(chunk(api, other, **which, sha256=sha256(data)), 400, "digest-mismatch", "sha256")


UPLOAD = {"path": "/bad.bin", "upload": "x"}
CHUNK = {**UPLOAD, "chunk": "0", "chunks": "2"}


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"path": None}, 400, "parameter-missing", "path"),
        ({"path": ""}, 400, "parameter-invalid", "path"),
        ({"path": "/a\x00b"}, 400, "name-invalid", "path"),
        ({"path": "/../a"}, 400, "name-invalid", "path"),
        ({"path": "/" + "n" * 256}, 400, "name-too-long", "path"),
        ({"path": "/"}, 409, "is-a-folder", "path"),
        ({"path": "/a/"}, 409, "is-a-folder", "path"),
        ({"path": "/nowhere/a"}, 409, "parent-missing", "path"),
        ({"upload": None}, 400, "parameter-missing", "upload"),
        ({"upload": ""}, 400, "parameter-invalid", "upload"),
        ({"upload": "u" * 513}, 400, "parameter-invalid", "upload"),
        ({"chunk": None}, 400, "parameter-missing", "chunk"),
        ({"chunk": "one"}, 400, "parameter-invalid", "chunk"),
        ({"chunk": "-1"}, 400, "parameter-invalid", "chunk"),
        ({"chunk": "1.5"}, 400, "parameter-invalid", "chunk"),
        ({"chunk": "2"}, 400, "part-invalid", "chunk"),
        ({"chunk": "9" * 30}, 400, "parameter-invalid", "chunk"),
        ({"chunks": None}, 400, "parameter-missing", "chunks"),
        ({"chunks": "0"}, 400, "parameter-invalid", "chunks"),
        ({"chunks": "many"}, 400, "parameter-invalid", "chunks"),
        ({"chunks": "10001"}, 400, "part-invalid", "chunks"),
        ({"size": "x"}, 400, "parameter-invalid", "size"),
        ({"size": "-1"}, 400, "parameter-invalid", "size"),
        ({"size": "3"}, 400, "length-mismatch", "size"),
        ({"sha256": "abc"}, 400, "parameter-invalid", "sha256"),
        ({"sha256": "0" * 64}, 400, "digest-mismatch", "sha256"),
        ({"chunksize": "5"}, 400, "parameter-unknown", "chunksize"),
        ({"chunk": ["0", "0"]}, 400, "parameter-repeated", "chunk"),
    ],
)
def test_each_wrong_parameter_of_a_chunk_is_named(
    api: str, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    wanted = {name: value for name, value in {**CHUNK, **change}.items() if value is not None}
    problem(chunk(api, b"a" * UNIT, **wanted), status, code, field)
    assert finished(api, "GET", **UPLOAD).json().get("received", []) == []


def test_chunks_of_a_wrong_size_are_told_the_right_one(api: str, path: str) -> None:
    which = {"path": path, "upload": "x", "chunks": 3}
    found = problem(chunk(api, b"a" * (UNIT + 1), **which, chunk=0), 400, "part-invalid", "body")
    assert f"multiple of {UNIT} bytes" in found["detail"]
    problem(chunk(api, b"", **which, chunk=0), 400, "part-invalid", "body")
    chunk(api, b"a" * UNIT, **which, chunk=0).raise_for_status()
    for number, size in ((1, 2 * UNIT), (1, UNIT - 1), (2, UNIT + 1)):
        answer = chunk(api, b"a" * size, **which, chunk=number, size=size)
        problem(answer, 400, "part-invalid", "size")


@pytest.mark.parametrize(
    ("parameters", "status", "code", "field"),
    [
        ({}, 400, "parameter-missing", "path"),
        ({"path": "/a", "id": "0" * 32}, 400, "parameter-invalid", "path"),
        ({"id": "0" * 32}, 404, "not-found", "id"),
        ({"id": "../a"}, 404, "not-found", "id"),
        ({"path": "/nowhere"}, 404, "not-found", "path"),
        ({"path": "/\x00"}, 400, "name-invalid", "path"),
        ({"path": "/"}, 409, "is-a-folder", "path"),
        ({"name": "/a"}, 400, "parameter-unknown", "name"),
    ],
)
@pytest.mark.parametrize("name", ["downloadsmall", "downloadlarge", "downloadsmallasfile"])
def test_each_wrong_parameter_of_a_download_is_named(
    api: str, name: str, parameters: dict[str, str], status: int, code: str, field: str
) -> None:
    answer = requests.get(f"{api}/v1.0.0/mongo/{name}", params=parameters, timeout=30)
    problem(answer, status, code, field)


def small(api: str, data: Any, **parameters: Any) -> requests.Response:
    url = f"{api}/v1.0.0.0/mongodb/uploadsmall"
    return requests.post(url, params=parameters, data=data, timeout=30)


def test_a_file_that_is_not_small_is_refused_with_the_limit(base: str, api: str, path: str) -> None:
    assert small(api, b"a" * SMALL, path=path).status_code == 201
    for data in (b"b" * (SMALL + 1), iter([b"b" * SMALL, b"b"])):
        found = problem(small(api, data, path=path), 413, "too-large", "body")
        assert f"{SMALL} bytes" in found["detail"]
    url = f"{api}/v1.0.0.0/mongodb/uploadsmall"
    answer = requests.post(url, data={"path": path}, files={"file": b"b" * (SMALL + 1)}, timeout=30)
    problem(answer, 413, "too-large", "body")
    assert requests.get(base + path, timeout=30).content == b"a" * SMALL
    problem(small(api, b"a", path=path, size=2), 400, "length-mismatch", "size")
    problem(small(api, b"a", path=path, sha256="0" * 64), 400, "digest-mismatch", "sha256")
    problem(small(api, b"a"), 400, "parameter-missing", "path")
    problem(small(api, b"a", path="/nowhere/a"), 409, "parent-missing", "path")


LOCK = (
    '<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
    "<locktype><write/></locktype></lockinfo>"
)


def test_a_lock_over_webdav_stops_all_of_them(server: DavServer, api: str, path: str) -> None:
    client = Client(server.address)
    which = {"path": path, "upload": "x"}
    chunk(api, b"a" * UNIT, **which, chunk=0, chunks=1).raise_for_status()
    locked = client("LOCK", path, LOCK, Timeout="Second-600", Depth="0")
    token = str(locked.header("Lock-Token"))
    problem(small(api, b"a", path=path), 423, "locked", None)
    problem(chunk(api, b"a" * UNIT, **which, chunk=0, chunks=1), 423, "locked", None)
    problem(finished(api, **which), 423, "locked", None)
    url = f"{api}/v1.0.0/mongodb/uploadlargefinished"
    answer = requests.post(url, params=which, headers={"Lock-Token": token}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert client("UNLOCK", path, Lock_Token=token).status == 204


def test_conditions_hold_when_it_is_finished(api: str, path: str) -> None:
    which = {"path": path, "upload": "x"}
    small(api, b"there", path=path).raise_for_status()
    chunk(api, b"a" * UNIT, **which, chunk=0, chunks=1).raise_for_status()
    url = f"{api}/v1.0.0/mongodb/uploadlargefinished"
    answer = requests.post(url, params=which, headers={"If-None-Match": "*"}, timeout=30)
    problem(answer, 412, "precondition-failed", None)
    etag = requests.get(f"{api}/v1.0.0/stat{path}", timeout=30).headers["ETag"]
    answer = requests.post(url, params=which, headers={"If-Match": etag}, timeout=30)
    assert answer.status_code == 200, answer.text


def test_the_id_leads_to_the_file_wherever_it_is_moved(
    server: DavServer, api: str, path: str
) -> None:
    key = small(api, b"moved", path=path).json()["id"]
    client = Client(server.address)
    host, port = server.address
    client("MOVE", path, Destination=f"http://{host}:{port}{path}.moved")
    url = f"{api}/v1.0.0/mongo/downloadlarge"
    answer = requests.get(url, params={"id": key}, headers={"Range": "bytes=1-2"}, timeout=30)
    assert (answer.status_code, answer.content) == (206, b"ov")
    client("DELETE", path + ".moved")
    problem(requests.get(url, params={"id": key}, timeout=30), 404, "not-found", "id")


# Which share


def test_without_a_share_in_mongodb_they_say_so(tmp_path: Path) -> None:
    with DavServer(tmp_path, tmp_path / "root") as server:
        host, port = server.address
        api = f"http://{host}:{port}/filestorage"
        assert requests.get(f"{api}/v1.0.0.0/check", timeout=30).text == "success"
        problem(small(api, b"a", path="/a"), 501, "no-such-share", None)
        problem(chunk(api, b"a", **CHUNK), 501, "no-such-share", None)
        problem(finished(api, **UPLOAD), 501, "no-such-share", None)
        answer = requests.get(f"{api}/v1.0.0/mongo/downloadsmall", params={"id": "1"}, timeout=30)
        problem(answer, 501, "no-such-share", None)


def test_the_configuration_names_the_share(tmp_path: Path, _shared_mongod: Mongod) -> None:
    with _shared_mongod.database() as first, _shared_mongod.database() as second:
        mongo = {"store": "mongo", "uri": _shared_mongod.uri}
        shares = {
            "/": {"store": "folder", "root": str(tmp_path / "root")},
            "/first": {**mongo, "database": first},
            "/second": {**mongo, "database": second},
        }
        (tmp_path / "root").mkdir()
        settings = {"shares": shares, "rest": {"share": "/second"}, "workers": 1}
        with DavServer(tmp_path, tmp_path / "root", settings=settings) as server:
            host, port = server.address
            api = f"http://{host}:{port}/filestorage"
            answer = small(api, b"content", path="a.txt")
            assert answer.status_code == 201, answer.text
            document = answer.json()
            assert (document["path"], document["href"]) == ("/a.txt", "/second/a.txt")
            assert Client(server.address)("GET", "/second/a.txt").body == b"content"
            url = f"{api}/v1.0.0/mongo/downloadsmall"
            for which in ({"id": document["id"]}, {"path": "/a.txt"}):
                assert requests.get(url, params=which, timeout=30).content == b"content"


def test_users_may_do_what_they_may_elsewhere(tmp_path: Path, _shared_mongod: Mongod) -> None:
    """And one's upload is not another's."""
    with _shared_mongod.database() as database:
        server = DavServer.over_mongo(
            tmp_path, _shared_mongod.uri, database, settings={"workers": 1}
        )
        for name in ("anna", "bert"):
            server.add_user(name, "secret")
        with server:
            host, port = server.address
            api = f"http://{host}:{port}/filestorage/v1.0.0/mongodb"
            where = {**UPLOAD, "chunk": "0", "chunks": "1"}
            url = f"{api}/uploadlargechunk"
            assert requests.put(url, params=where, data=b"x", timeout=30).status_code == 401
            anna, bert = ("anna", "secret"), ("bert", "secret")
            answer = requests.put(url, params=where, data=b"x", auth=anna, timeout=30)
            assert answer.status_code == 200, answer.text
            url = f"{api}/uploadlargefinished"
            answer = requests.post(url, params=UPLOAD, auth=bert, timeout=30)
            problem(answer, 404, "no-such-upload", "upload")
            answer = requests.delete(url, params=UPLOAD, auth=bert, timeout=30)
            problem(answer, 404, "no-such-upload", "upload")
            assert requests.post(url, params=UPLOAD, auth=anna, timeout=30).status_code == 201


def test_check_says_when_the_share_does_not_answer(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Mongod(tmp_path / "mongod") as mongod, mongod.database() as database:
        with DavServer.over_mongo(
            tmp_path / "davstore", mongod.uri, database, settings={"workers": 1}
        ) as server:
            host, port = server.address
            url = f"http://{host}:{port}/filestorage/v1.0.0/check"
            assert requests.get(url, timeout=30).text == "success"
            mongod.kill9()
            answer = requests.get(url, timeout=30)
            problem(answer, 503, "unavailable", None)
            assert answer.headers["Retry-After"]
            mongod.start()
            until(lambda: requests.get(url, timeout=30).text == "success", "it to answer again")


@pytest.mark.parametrize("field", ["path", "upload"])
def test_half_a_character_is_no_text(api: str, field: str) -> None:
    url = f"{api}/v1.0.0/mongodb/uploadlargefinished"
    answer = requests.post(url, json={**UPLOAD, field: "/\ud800"}, timeout=30)
    problem(answer, 400, "parameter-invalid", field)
