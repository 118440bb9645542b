"""Who may use the REST face: hosts, pages of other origins, users, read-only shares, proxies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.web.rest.face import Rest, problem

APP = "https://app.example.org"


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """Open on loopback, behind a trusted proxy, with pages of one origin allowed."""
    home = tmp_path_factory.mktemp("open")
    settings = {
        "rest": {"origins": [APP]},
        "proxy": {"trusted": ["127.0.0.1"], "prefix": "/drive"},
    }
    with DavServer(home, home / "root", settings=settings) as running:
        yield running


@pytest.fixture
def open_rest(open_server: DavServer) -> Rest:
    return Rest(Client(open_server.address))


def test_another_host_name_is_refused(open_rest: Rest) -> None:
    problem(open_rest("GET", "list", Host="evil.example.org"), 421, "host-unknown", "Host")
    answer = open_rest("GET", "list", Host="evil.example.org", X_Forwarded_Host="localhost")
    problem(answer, 421, "host-unknown", "Host")
    assert open_rest("GET", "list", Host="localhost:1").status == 200


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://localhost:1", ""])
def test_a_page_of_another_origin_changes_nothing(open_rest: Rest, origin: str) -> None:
    for method, target in (("POST", "upload/a"), ("PUT", "upload/a"), ("DELETE", "delete/a"),
                           ("POST", "mkdir/a"), ("POST", "search")):  # fmt: skip
        answer = open_rest(method, target, b"content", Origin=origin)
        problem(answer, 403, "cross-origin", "Origin")
        assert answer.header("Access-Control-Allow-Origin") is None
    answer = open_rest("OPTIONS", "upload/a", Origin=origin, Access_Control_Request_Method="PUT")
    problem(answer, 403, "cross-origin", "Origin")
    assert json.loads(open_rest("GET", "list").body)["entries"] == []
    shown = open_rest("GET", "list", Origin=origin)
    assert (shown.status, shown.header("Access-Control-Allow-Origin")) == (200, None)


def test_the_own_page_may_change_what_it_wants(open_rest: Rest, open_server: DavServer) -> None:
    origin = f"http://127.0.0.1:{open_server.port}"
    assert open_rest("PUT", "upload/own", b"", Origin=origin).status == 201
    forwarded = {"X_Forwarded_Host": "127.0.0.1:81", "X_Forwarded_For": "192.0.2.1"}
    answer = open_rest("DELETE", "delete/own", Origin="http://127.0.0.1:81", **forwarded)
    assert answer.status == 204


def test_a_page_of_an_allowed_origin_is_let_in(open_rest: Rest) -> None:
    asked = open_rest(
        "OPTIONS",
        "upload/page",
        Origin=APP,
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="content-type,upload-offset",
    )
    assert asked.status == 204
    assert asked.header("Access-Control-Allow-Origin") == APP
    assert "PUT" in str(asked.header("Access-Control-Allow-Methods"))
    assert asked.header("Access-Control-Allow-Headers") == "content-type,upload-offset"
    answer = open_rest("PUT", "upload/page", b"", Origin=APP)
    assert (answer.status, answer.header("Access-Control-Allow-Origin")) == (201, APP)
    assert answer.header("Vary") == "Origin"
    assert "ETag" in str(answer.header("Access-Control-Expose-Headers"))
    missing = open_rest("GET", "stat/none", Origin=APP)
    problem(missing, 404, "not-found")
    assert missing.header("Access-Control-Allow-Origin") == APP
    assert open_rest("DELETE", "delete/page", Origin=APP).status == 204


def test_links_have_the_prefix_that_the_proxy_cuts_off(open_rest: Rest) -> None:
    answer = open_rest("PUT", "upload/linked", b"")
    assert answer.header("Location") == "/drive/filestorage/v1.0.0/download/linked"
    assert open_rest("DELETE", "delete/linked").status == 204


def test_users_are_asked_for_as_for_webdav(tmp_path: Path) -> None:
    server = DavServer(tmp_path, tmp_path / "root")
    server.add_user("alice", "secret")
    with server:
        nobody = Rest(Client(server.address))
        for method, target in (("GET", "list"), ("PUT", "upload/a"), ("GET", "nothing")):
            answer = nobody(method, target)
            problem(answer, 401, "unauthenticated")
            assert str(answer.header("WWW-Authenticate")).startswith("Basic ")
        stranger = Rest(Client(server.address, "alice", "wrong"))
        problem(stranger("GET", "list"), 401, "unauthenticated")
        alice = Rest(Client(server.address, "alice", "secret"))
        assert alice("PUT", "upload/a", b"content").status == 201
        assert " - alice [" in server.wait_until(lambda: _line(server, "PUT"), 5, "its line")


def _line(server: DavServer, method: str) -> str | None:
    lines = [line for line in server.said().splitlines() if f'"{method} ' in line]
    return next((line for line in lines if " 201 " in line), None)


def test_a_read_only_share_is_read(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_bytes(b"content")
    with DavServer(tmp_path / "home", tmp_path / "root", share={"read_only": True}) as server:
        rest = Rest(Client(server.address))
        assert rest("GET", "download/a").body == b"content"
        assert rest("POST", "search").status == 200
        for method, target in (
            ("PUT", "upload/b"), ("POST", "upload/a"), ("DELETE", "delete/a"), ("POST", "mkdir/b"),
            ("POST", "move/a?destination=/b"), ("POST", "copy/a?destination=/b"),
        ):  # fmt: skip
            problem(rest(method, target), 403, "read-only")
    assert [path.name for path in (tmp_path / "root").iterdir()
            if not path.name.startswith(".")] == ["a"]  # fmt: skip


def test_between_two_shares_nothing_is_moved(tmp_path: Path) -> None:
    shares = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shares[f"/{name}"] = {"root": str(tmp_path / name)}
    settings = {"shares": shares, "rest": {"prefix": "/api"}}
    with DavServer(tmp_path / "home", tmp_path / "root", settings=settings) as server:
        rest = Rest(Client(server.address), "/api/v1.0.0.0")
        assert rest("PUT", "upload/one/a", b"content").status == 201
        for verb in ("move", "copy"):
            problem(rest.post(f"{verb}/one/a", {"destination": "/two/a"}), 409, "other-share")
        names = [entry["name"] for entry in json.loads(rest("GET", "list").body)["entries"]]
        assert names == ["one", "two"]
        assert rest("POST", "mkdir/two/b").status == 201
        assert rest("PUT", "upload/two/b/a", b"content").status == 201
        assert found(rest, "search?below=/&name=a") == ["/one/a", "/two/b/a"]
        assert found(rest, "search?below=/&limit=1") == [
            "/one", "/one/a", "/two", "/two/b", "/two/b/a",
        ]  # fmt: skip
        problem(rest("PUT", "upload/three", b""), 403, "read-only")
        client = Client(server.address)
        assert client("PROPFIND", "/filestorage/v1.0.0/list", Depth="0").status == 404


def found(rest: Rest, target: str) -> list[str]:
    """The paths of all pages of a search."""
    seen, more = [], ""
    while True:
        page = json.loads(rest("POST", target + more).body)
        seen += [entry["path"] for entry in page["entries"]]
        if page["next"] is None:
            return seen
        more = f"&cursor={page['next']}"


def test_where_it_is_not_wanted_there_is_webdav_only(tmp_path: Path) -> None:
    settings = {"rest": {"enabled": False}}
    with DavServer(tmp_path / "home", tmp_path / "root", settings=settings) as server:
        client = Client(server.address)
        assert client("MKCOL", "/filestorage").status == 201
        assert client("MKCOL", "/filestorage/v1.0.0").status == 201
        assert client("POST", "/filestorage/v1.0.0/upload/a").status == 405


def test_a_method_that_nobody_knows_is_a_problem(open_rest: Rest) -> None:
    for method in ("BREW", "PROPFIND", "TRACE", "LOCK"):
        problem(open_rest(method, "list"), 405, "method-not-allowed")
    options = open_rest("OPTIONS", "list")
    assert (options.status, set(str(options.header("Allow")).split(", "))) == (
        200, {"GET", "HEAD", "OPTIONS"},
    )  # fmt: skip
