"""`davstore nodes`, and what `davstore check-config` says of other nodes: a real agent."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from davstore.config import Config
from davstore.plugins.identity import service_id
from tests.components.consul import ConsulAgent
from tests.components.fake_consul import HOSTILE, FakeConsul
from tests.components.processes import free_port

_numbers = itertools.count(1)


class Done(NamedTuple):
    status: int
    out: str
    err: str


def davstore(here: Path, *args: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "davstore", *args],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def name() -> str:
    return f"nodes-{next(_numbers)}"


def add(consul: ConsulAgent, name: str, key: str, *tags: str, status: str = "passing") -> None:
    check = {"Name": "of the test", "TTL": "10m", "Status": status}
    body = {"Name": name, "ID": key, "Address": "10.0.0.1", "Port": 80, "Tags": tags}
    consul.put("/v1/agent/service/register", body | {"Check": check}).raise_for_status()


def test_a_table_of_the_healthy_ones(tmp_path: Path, consul: ConsulAgent, name: str) -> None:
    add(consul, name, f"{name}-a", "webdav", "https", "version=1.2", "share=/files", "share=/x")
    add(consul, name, f"{name}-b", status="critical")
    done = davstore(tmp_path, "nodes", "--consul", consul.http, "--service-name", name)
    assert done == (
        0,
        "URL                   STATUS   VERSION  SHARES     ID\n"
        f"https://10.0.0.1:80/  passing  1.2      /files /x  {name}-a\n",
        "",
    )


def test_json_of_all(tmp_path: Path, consul: ConsulAgent, name: str) -> None:
    add(consul, name, f"{name}-a", "webdav", "share=/")
    add(consul, name, f"{name}-b", status="critical")
    configured(tmp_path, consul.http, name)
    done = davstore(tmp_path, "nodes", "--all", "--json")
    assert (done.status, done.err) == (0, "")
    first, second = json.loads(done.out)
    assert first == {
        "id": f"{name}-a",
        "url": "http://10.0.0.1:80/",
        "host": "10.0.0.1",
        "port": 80,
        "scheme": "http",
        "status": "passing",
        "shares": ["/"],
        "tags": ["webdav", "share=/"],
    }
    assert second["status"] == "critical"


@pytest.mark.parametrize("options", [[], ["--all"], ["--json"]])
def test_none_healthy(tmp_path: Path, consul: ConsulAgent, name: str, options: list[str]) -> None:
    add(consul, name, f"{name}-b", status="critical")
    configured(tmp_path, consul.http, name)
    done = davstore(tmp_path, "nodes", *options)
    assert (done.status, done.err) == (1, "")
    assert ("critical" in done.out) is ("--all" in options)
    assert (done.out == "[]\n") is ("--json" in options)


def test_consul_that_cannot_be_asked(tmp_path: Path) -> None:
    with FakeConsul(HOSTILE["403"]) as fake:
        done = davstore(tmp_path, "nodes", "--consul", fake.http)
    assert done[:2] == (2, "")
    assert done.err.startswith(f"davstore: Consul at {fake.http} refuses (403)")


def test_no_consul_to_ask(tmp_path: Path) -> None:
    done = davstore(tmp_path, "nodes")
    assert done[:2] == (2, "")
    assert "give --consul URL" in done.err


def configured(
    here: Path, url: str, name: str, share: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes davstore.yaml."""
    (here / "root").mkdir(exist_ok=True)
    settings = {
        "state": str(here / "state"),
        "shares": {"/files": share or {"root": str(here / "root")}},
        "consul": {"url": url, "service": name},
    }
    (here / "davstore.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return settings


def test_a_folder_share_that_another_node_has_is_wrong(
    tmp_path: Path, consul: ConsulAgent, name: str
) -> None:
    configured(tmp_path, consul.http, name)
    assert davstore(tmp_path, "check-config")[::2] == (0, "")
    add(consul, name, f"{name}-other", "share=/files", "local=/files")
    done = davstore(tmp_path, "check-config")
    assert done[:2] == (2, "")
    assert done.err == (
        "davstore: shares./files: the node at 10.0.0.1:80 has a share of its own there as well,"
        f" in the service {name!r}: clients see the files of the one or the other. Mount it at"
        " another path, name another consul.service, or keep the share in MongoDB\n"
    )


def test_the_node_that_is_checked_is_not_another_one(
    tmp_path: Path, consul: ConsulAgent, name: str
) -> None:
    settings = configured(tmp_path, consul.http, name)
    (tmp_path / "state").mkdir()
    add(consul, name, service_id(Config.model_validate(settings)), "local=/files")
    assert davstore(tmp_path, "check-config")[::2] == (0, "")


@pytest.mark.parametrize(
    "share",
    [{"store": "mongo", "uri": "mongodb://127.0.0.1/x"}, {"root": "root", "read_only": True}],
)
def test_shares_that_many_nodes_can_have_are_right(
    tmp_path: Path, consul: ConsulAgent, name: str, share: Mapping[str, Any]
) -> None:
    configured(tmp_path, consul.http, name, share)
    add(consul, name, f"{name}-other", "share=/files", "local=/files")
    assert davstore(tmp_path, "check-config")[::2] == (0, "")


def test_settings_are_right_though_consul_is_away(tmp_path: Path, name: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    configured(tmp_path, url, name)
    done = davstore(tmp_path, "check-config")
    assert done.status == 0
    assert done.err == (
        "davstore: not known whether other nodes have the same shares:"
        f" Consul at {url} cannot be reached: Connection refused\n"
    )
