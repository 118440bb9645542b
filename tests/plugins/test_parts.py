"""What the plugins stand on: who a node is, what it says of itself, how often it complains."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from davstore import __version__
from davstore.config import Config
from davstore.plugins.base import Plugins
from davstore.plugins.build import build_plugins
from davstore.plugins.identity import known_service_id, service_id
from davstore.plugins.occasionally import Occasionally
from davstore.plugins.tags import local_shares_of, scheme_of, shares_of, tags, version_of


def configured(state: Path, port: int = 8080, **settings: Any) -> Config:
    shares = {"/": {"store": "memory"}}
    return Config.model_validate(
        {"state": str(state), "listen": {"port": port}, "shares": shares, **settings}
    )


def test_an_id_is_kept_and_differs_by_state_folder_and_port(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = configured(tmp_path / "one")
    assert known_service_id(first) is None
    assert service_id(first) == service_id(first) == known_service_id(first)
    others = [configured(tmp_path / "two"), configured(tmp_path / "one", 8081)]
    assert len({service_id(first), *map(service_id, others)}) == 3
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["node-id"]


def test_any_free_port_is_no_part_of_the_id(tmp_path: Path) -> None:
    found = service_id(configured(tmp_path, 0))
    assert service_id(configured(tmp_path, 8080)) == f"{found}-8080"


def test_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        for number in range(20):
            (tmp_path / str(number)).mkdir()
            config = configured(tmp_path / str(number))
            assert len(set(pool.map(service_id, [config] * 8, chunksize=1))) == 1


@pytest.mark.parametrize("content", ["", "../../x", "0123456789abcde", "0123456789abcdef\n", "ä"])
def test_a_file_that_holds_no_id_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "node-id").write_text(content, encoding="utf-8")
    assert known_service_id(configured(tmp_path)) is None
    with pytest.raises(OSError, match="holds no id of a node; remove it"):
        service_id(configured(tmp_path))


@pytest.mark.parametrize(
    ("share", "is_local"),
    [
        ({"root": "/srv"}, True),
        ({"root": "/srv", "read_only": True}, False),
        ({"store": "memory"}, True),
        ({"store": "mongo", "uri": "mongodb://a/b"}, False),
        ({"store": "mongo", "uri": "embedded:/srv/db"}, True),
    ],
)
def test_which_shares_belong_to_one_node(share: Mapping[str, Any], is_local: bool) -> None:
    config = Config.model_validate({"shares": {"/a b": share}})
    assert tuple(local_shares_of(tags(config))) == (("/a b",) if is_local else ())
    assert tuple(shares_of(tags(config))) == ("/a b",)


def test_tags_say_version_and_scheme(tmp_path: Path) -> None:
    plain = tags(configured(tmp_path))
    assert (scheme_of(plain), version_of(plain)) == ("http", __version__)
    tls = {"certificate": "/a", "key": "/b"}
    assert scheme_of(tags(configured(tmp_path, tls=tls))) == "https"
    assert (scheme_of(()), version_of(())) == ("http", None)


def test_one_line_a_minute_at_most(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 1000.0
    trouble = Occasionally(logging.getLogger("davstore.test"), lambda: now)
    for second in range(130):
        now = 1000.0 + second
        trouble.warn("at %d", second)
        if second % 7 == 0:
            trouble.over("over")
    assert [line for line in caplog.messages if line != "over"] == ["at 0", "at 60", "at 120"]
    assert caplog.messages.count("over") == 3


class Broken:
    name = "broken"

    def start(self) -> None:
        raise RuntimeError("start")

    leave = stop = start


class Noting:
    name = "noting"

    def __init__(self) -> None:
        self.done: list[str] = []

    def start(self) -> None:
        self.done.append("start")

    def leave(self) -> None:
        self.done.append("leave")

    def stop(self) -> None:
        self.done.append("stop")


def test_a_plugin_that_fails_disturbs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    first, last = Noting(), Noting()
    plugins = Plugins([first, Broken(), last])
    plugins.start()
    plugins.leave()
    plugins.stop()
    assert first.done == last.done == ["start", "leave", "stop"]
    assert len(caplog.messages) == 3


def test_without_consul_there_is_no_plugin(tmp_path: Path) -> None:
    assert build_plugins(configured(tmp_path), 1, None).names == []
