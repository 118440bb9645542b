"""The face in this process: what it hands to the server, and what it makes of every failure."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from davstore import errors, handoff
from davstore.app import Application, build_app
from davstore.config import Config
from davstore.errors import StoreError
from davstore.server.body import ClientGone
from davstore.stores.base import Transfer
from davstore.web.rest import problems
from tests.dav.client import Answer, BrokenOff, Dav

BASE = "/filestorage/v1.0.0"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    (tmp_path / "root").mkdir()
    (tmp_path / "state").mkdir()
    shares = {"/": {"root": str(tmp_path / "root")}}
    made = build_app(Config.model_validate({"shares": shares, "state": str(tmp_path / "state")}))
    yield made
    made.close()


@pytest.fixture
def ask(app: Application) -> Dav:
    client = Dav(app.dav)
    client.app = app  # type: ignore[assignment]
    return client


@pytest.fixture
def store(app: Application) -> Any:
    return app.dav.provider_map["/"].share.store


def code_of(answer: Answer) -> str:
    assert answer.headers["content-type"] == problems.MEDIA_TYPE, answer
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    return str(document["code"])


def every_error() -> list[type[StoreError]]:
    found = vars(errors).values()
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, StoreError)]


@pytest.mark.parametrize("error", every_error())
def test_every_error_of_a_store_has_a_code(
    ask: Dav, store: Any, monkeypatch: pytest.MonkeyPatch, error: type[StoreError]
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise error("/a")

    monkeypatch.setattr(store, "open", fail)
    answer = ask("GET", f"{BASE}/download/a")
    status, title = problems.CATALOGUE[code_of(answer)]
    document = json.loads(answer.body)
    assert (answer.status, document["title"]) == (status, title)
    assert document["detail"] == error("/a").detail
    assert ("retry-after" in answer.headers) == (answer.status == 503)


def test_a_fault_of_our_own_is_told_in_the_log_only(
    ask: Dav, store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(store, "open", fail)
    with caplog.at_level(logging.ERROR):
        answer = ask("GET", f"{BASE}/download/a")
    assert (answer.status, code_of(answer)) == (500, "internal")
    assert b"secret" not in answer.body
    assert "/secret/path" in caplog.text


def test_settings_that_turn_out_wrong_are_an_outage(
    ask: Dav, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise errors.ConfigError(["no such database"])

    monkeypatch.setattr(store, "open", fail)
    answer = ask("GET", f"{BASE}/download/a")
    assert (answer.status, code_of(answer)) == (503, "unavailable")
    assert b"database" not in answer.body


def test_a_client_that_is_gone_is_the_servers_matter(ask: Dav, store: Any) -> None:
    with pytest.raises(ClientGone):
        ask("PUT", f"{BASE}/upload/a", BrokenOff(b"content"))
    assert ask("GET", f"{BASE}/stat/a").status == 404


def test_a_file_is_handed_to_the_server_rather_than_copied(app: Application, ask: Dav) -> None:
    ask("PUT", f"{BASE}/upload/a", b"0123456789")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"{BASE}/download/a",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "localhost",
        "HTTP_RANGE": "bytes=2-5",
        handoff.SPAN_OFFERED_KEY: True,
    }
    body: Any = app(environ, lambda status, headers, exc_info=None: None)  # type: ignore[misc]
    span = environ[handoff.SPAN_KEY]
    assert (span.offset, span.length) == (2, 4)
    body.close()


def test_a_tree_that_is_copied_in_part_is_no_success(
    ask: Dav, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("POST", f"{BASE}/mkdir/a")
    failures = [errors.Corrupt("/a/b"), errors.Forbidden("/a/c")]
    monkeypatch.setattr(store, "copy", lambda *args, **more: Transfer(True, failures))
    answer = ask("POST", f"{BASE}/copy/a?destination=/b")
    assert (answer.status, code_of(answer)) == (409, "copied-in-part")
    named = [(each["path"], each["code"]) for each in json.loads(answer.body)["failures"]]
    assert named == [("/a/b", "damaged"), ("/a/c", "forbidden")]


def test_a_stream_that_fails_is_not_ended(
    ask: Dav, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("PUT", f"{BASE}/upload/a", b"")
    real = store.list

    def fail(*args: Any) -> Any:
        yield from real(*args)
        raise errors.Unavailable("/")

    monkeypatch.setattr(store, "list", fail)
    with pytest.raises(errors.Unavailable):
        ask("GET", f"{BASE}/list", accept="application/x-ndjson")
    assert code_of(ask("GET", f"{BASE}/list")) == "unavailable"


def test_a_long_search_ends_its_pages_early(
    ask: Dav, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davstore.web.rest.search._MOST_EXAMINED", 3)
    for number in range(8):
        ask("PUT", f"{BASE}/upload/{number}", b"")
    lengths, found = [], []
    cursor = None
    while True:
        wanted = {"name": "[0-5]"} | ({"cursor": cursor} if cursor else {})
        answer = ask("POST", f"{BASE}/search", json.dumps(wanted), content_type="application/json")
        page = json.loads(answer.body)
        found += [entry["name"] for entry in page["entries"]]
        lengths.append(len(page["entries"]))
        cursor = page["next"]
        if cursor is None:
            break
    assert found == list("012345")
    assert lengths == [3, 3, 0]


def test_a_filtered_page_ends_early_too(ask: Dav, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davstore.web.rest.folders._MOST_EXAMINED", 4)
    for number in range(8):
        ask("PUT", f"{BASE}/upload/{number}", b"")
    pages = []
    cursor = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = json.loads(ask("GET", f"{BASE}/list?match=7{more}").body)
        pages.append([entry["name"] for entry in page["entries"]])
        cursor = page["next"]
    assert pages == [[], [], ["7"]]
