"""Our providers in a WsgiDAV application of somebody else, with wsgidav's own request server."""

from __future__ import annotations

from typing import Any

import pytest
from wsgidav.error_printer import ErrorPrinter
from wsgidav.request_resolver import RequestResolver
from wsgidav.wsgidav_app import WsgiDAVApp

from davstore.dav.lock_manager import LockManager
from tests.dav.client import DAV, Dav, propfind_body, proppatch_body
from tests.dav.conftest import MakeApp

COLOR = "{urn:x}color"


@pytest.fixture
def stock(make_app: MakeApp) -> Dav:
    ours = make_app()
    provider = ours.provider_map["/"]
    app: Any = WsgiDAVApp(
        {
            "provider_mapping": {"/": provider},
            "middleware_stack": [ErrorPrinter, RequestResolver],
            "http_authenticator": {"accept_basic": False},
            "logging": {"enable": False},
            "lock_storage": False,
            "property_manager": False,
        }
    )
    provider.set_lock_manager(LockManager(ours.config["davstore.realm"].locks))
    return Dav(app)


def test_files_are_written_read_and_listed(stock: Dav) -> None:
    assert stock("MKCOL", "/f").status == 201
    assert stock("PUT", "/f/a.txt", b"0123456789").status in (201, 204)
    assert stock("GET", "/f/a.txt").body == b"0123456789"
    assert stock("GET", "/f/a.txt", range="bytes=2-3").body == b"23"
    listing = stock("PROPFIND", "/f", propfind_body(DAV + "getcontentlength"), depth="1")
    assert listing.text("/f/a.txt", DAV + "getcontentlength") == "10"


def test_trees_are_copied_moved_and_deleted(stock: Dav) -> None:
    stock("MKCOL", "/f")
    stock("PUT", "/f/a", b"a")
    for method, destination in (("COPY", "/g"), ("MOVE", "/h")):
        assert stock(method, "/f", destination=f"http://localhost{destination}").status < 300
    assert (stock("GET", "/g/a").body, stock("GET", "/h/a").body) == (b"a", b"a")
    assert stock("DELETE", "/g").status == 204
    assert stock("GET", "/g/a").status == 404


def test_dead_properties_are_kept(stock: Dav) -> None:
    stock("PUT", "/a", b"a")
    assert stock("PROPPATCH", "/a", proppatch_body({COLOR: "red"})).status == 207
    answer = stock("PROPFIND", "/a", propfind_body(COLOR), depth="0")
    assert answer.text("/a", COLOR) == "red"


def test_locks_are_taken_refreshed_and_released(stock: Dav) -> None:
    stock("PUT", "/a", b"a")
    token = stock.lock("/a", timeout="Second-60")
    assert stock("PUT", "/a", b"b").status == 423
    assert stock("PUT", "/a", b"b", if_=f"(<{token}>)").status == 204
    assert stock("LOCK", "/a", timeout="Second-600", if_=f"(<{token}>)").status == 200
    assert stock("UNLOCK", "/a", lock_token=f"<{token}>").status == 204
    assert stock("PUT", "/a", b"c").status == 204
