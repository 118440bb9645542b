"""What of a changed configuration is taken over, and what is judged by what is bound already."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from davstore.commands.reloading import ConfigRenewal, embedded_addresses
from davstore.config import Config, MongoShare, load_config
from davstore.errors import ConfigError
from davstore.server.plan import Plan


class Place:
    """A configuration file, and the renewal of what is served by it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "davstore.yaml"
        self.root = folder / "root"
        self.root.mkdir()
        self.made: list[Config] = []

    def write(self, **settings: Any) -> None:
        given = {"shares": {"/": str(self.root)}, "listen": {"port": 0}, **settings}
        self.file.write_text(yaml.safe_dump(given))

    def load(self) -> Config:
        return load_config(self.file, {}, {})

    def renewal(self, running: Config, embedded: dict[Path, str] | None = None) -> ConfigRenewal:
        def make_plan(config: Config) -> Plan:
            self.made.append(config)
            return cast(Plan, None)

        return ConfigRenewal(self.file, {}, running, embedded or {}, make_plan)

    def renewed(self, renewal: ConfigRenewal) -> Config:
        renewal.plan(renewal.prepare())
        return self.made[-1]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_who_may_enter_is_judged_by_the_address_that_is_bound(place: Place) -> None:
    place.write(listen={"host": "0.0.0.0", "port": 0}, auth={"anonymous": True})
    renewal = place.renewal(place.load())
    # By itself this would be right, since it asks for this machine only.
    place.write(listen={"host": "127.0.0.1", "port": 0})
    assert place.load().listen.host == "127.0.0.1"
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        renewal.prepare()


def test_everything_else_is_taken_over(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.write(workers=1)
    renewal = place.renewal(place.load())
    place.write(workers=3, log={"format": "json"}, limits={"drain_timeout": "2s"})
    config = place.renewed(renewal)
    assert (config.workers, config.log.format, config.limits.drain_timeout) == (3, "json", 2.0)
    assert caplog.text == ""


@pytest.mark.parametrize("is_first", [True, False])
def test_the_admin_listener_stays_as_it_was(
    place: Place, caplog: pytest.LogCaptureFixture, is_first: bool
) -> None:
    with_it = {"consul": {"url": "http://127.0.0.1:8500"}, "admin": {"port": 7}}
    place.write(**(with_it if is_first else {}))
    running = place.load()
    place.write(**({} if is_first else with_it))
    with caplog.at_level(logging.WARNING):
        config = place.renewed(place.renewal(running))
    assert config.admin == running.admin
    # Consul asks at the admin listener: without the one there cannot be the other.
    assert config.consul is None
    assert "admin: stays as it is" in caplog.text
    assert ("consul: without the admin listener" in caplog.text) == (not is_first)


def test_consul_may_change_where_there_is_an_admin_listener(place: Place) -> None:
    place.write(consul={"url": "http://127.0.0.1:8500", "token": "secret"})
    running = place.load()
    place.write(consul={"url": "http://127.0.0.1:8501", "token": "other"})
    config = place.renewed(place.renewal(running))
    assert config.consul is not None
    assert config.consul.url == "http://127.0.0.1:8501"
    assert config.consul.token is not None
    assert config.consul.token.get_secret_value() == "other"


def _mongo(folder: Path) -> dict[str, str]:
    return {"store": "mongo", "uri": f"embedded:{folder}"}


def test_a_private_mongod_that_does_not_run_is_told(place: Place, tmp_path: Path) -> None:
    place.write()
    renewal = place.renewal(place.load())
    place.write(shares={"/": str(place.root), "/tree": _mongo(tmp_path / "mongo")})
    with pytest.raises(ConfigError, match=r"shares\./tree\.uri: .*start davstore again"):
        renewal.prepare()


def test_a_private_mongod_that_is_not_used_any_more_runs_on(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.write(shares={"/": str(place.root), "/tree": _mongo(tmp_path / "mongo")})
    asked = place.load()
    share = asked.shares["/tree"]
    assert isinstance(share, MongoShare)
    uri = "mongodb://127.0.0.1:27017/davstore"
    running = asked.model_copy(
        update={"shares": {**asked.shares, "/tree": share.model_copy(update={"uri": uri})}}
    )
    addresses = embedded_addresses(asked, running)
    assert addresses == {tmp_path / "mongo": uri}
    place.write()
    config = place.renewed(place.renewal(running, addresses))
    assert set(config.shares) == {"/"}
    assert f"The private mongod in {tmp_path / 'mongo'} runs until" in caplog.text
