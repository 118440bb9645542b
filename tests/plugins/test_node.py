"""davstore as real processes, and what Consul shows of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components.consul import ConsulAgent
from tests.components.davserver import DavServer
from tests.components.fake_consul import HOSTILE, FakeConsul
from tests.components.http import Client
from tests.components.processes import free_port, wait_until


def node(home: Path, url: str, name: str, consul: Mapping[str, Any] = {}) -> DavServer:
    settings = {
        "listen": {"port": free_port()},
        "workers": 1,
        "consul": {"url": url, "service": name, "interval": 1, **consul},
    }
    return DavServer(home, home / "root", settings=settings)


def test_term_deregisters(tmp_path: Path, consul: ConsulAgent) -> None:
    with node(tmp_path, consul.http, "term") as server:
        (found,) = consul.wait_statuses("term", "passing")
        assert consul.instances("term")[found]["Service"]["Port"] == server.port
        assert server.stop() == 0
        assert consul.instances("term") == {}


def test_a_node_that_is_deregistered_still_answers_for_a_second(
    tmp_path: Path, consul: ConsulAgent
) -> None:
    with node(tmp_path, consul.http, "heeded") as server:
        consul.wait_statuses("heeded", "passing")
        os.kill(server.pid, signal.SIGTERM)
        consul.wait_statuses("heeded")
        deregistered = last = time.monotonic()
        client = Client(server.address)
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                assert client("PUT", "/file", b"content").status in (201, 204)
                last = time.monotonic()
        # Each answer was a whole one, and there was none later than the supervisor allows.
        assert 0.8 < last - deregistered < 3
        assert server._process is not None
        assert server._process.wait(20) == 0
        assert "has not said in time" not in server.said()


def test_a_killed_node_is_critical_within_the_interval_and_comes_back_in_its_place(
    tmp_path: Path, consul: ConsulAgent
) -> None:
    with node(tmp_path, consul.http, "killed") as server:
        before = consul.wait_statuses("killed", "passing")
        server.kill9()
        killed = time.monotonic()
        assert consul.wait_statuses("killed", "critical", seconds=5).keys() == before.keys()
        # The interval of a second, and what the agent needs to ask and to pass it on.
        assert time.monotonic() - killed < 3
        server.start()
        assert consul.wait_statuses("killed", "passing") == before


def test_a_reload_keeps_it_registered_and_says_what_is_new(
    tmp_path: Path, consul: ConsulAgent
) -> None:
    with node(tmp_path, consul.http, "reload") as server:
        (key,) = consul.wait_statuses("reload", "passing")
        (tmp_path / "more").mkdir()
        server.settings["shares"]["/more"] = {"root": str(tmp_path / "more")}
        server.config.write_text(yaml.safe_dump(server.settings), encoding="utf-8")
        os.kill(server.pid, signal.SIGHUP)
        seen: set[str] = set()

        def has_it() -> bool:
            seen.update(consul.statuses("reload").values() or ["gone"])
            return "share=/more" in consul.instances("reload")[key]["Service"]["Tags"]

        wait_until(has_it, 15, "the new share in the catalogue")
        assert seen == {"passing"}
        # The former housekeeper does not fight for the entry.
        assert "somebody else" not in server.said()


@pytest.fixture(scope="module")
def besieged(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[DavServer, FakeConsul]]]:
    """A node beside each kind of broken agent, all at the same time: each takes some seconds."""
    with contextlib.ExitStack() as stack:
        running = {}
        for kind in ("hangs", "403", "500", "no JSON", "closes in the middle", "endless"):
            fake = stack.enter_context(FakeConsul(HOSTILE[kind]))
            home = tmp_path_factory.mktemp("besieged")
            server = node(home, fake.http, "besieged", {"timeout": 1})
            running[kind] = (stack.enter_context(server), fake)
        yield running


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("hangs", "does not answer in time"),
        ("403", "refuses (403): the ACL token is missing, wrong, or may not do this"),
        ("500", "answered with an error: 500 No cluster leader"),
        ("no JSON", "answered what no Consul agent answers; is it one?"),
        ("closes in the middle", "broke off its answer"),
        ("endless", "answered what no Consul agent answers; is it one?"),
    ],
)
def test_files_are_served_all_the_while_and_there_is_one_line(
    besieged: dict[str, tuple[DavServer, FakeConsul]], kind: str, sentence: str
) -> None:
    server, fake = besieged[kind]
    client = Client(server.address)
    slowest, served = 0.0, 0

    def asked_three_times() -> bool:
        nonlocal slowest, served
        before = time.monotonic()
        assert client("PUT", "/file", b"content").status in (201, 204)
        assert client("GET", "/file").body == b"content"
        slowest = max(slowest, time.monotonic() - before)
        served += 1
        return len(fake.heads) >= 3 and served >= 20

    wait_until(asked_three_times, 20, "three calls of the agent")
    # Far below the agent's time-out of a second.
    assert slowest < 0.8
    about = [line for line in server.said().splitlines() if "Consul" in line]
    assert len(about) == 1, about
    assert f"Consul at {fake.http} {sentence}" in about[0]
    assert "Traceback" not in server.said()


def test_a_hanging_agent_holds_up_the_end_by_two_seconds_at_most(
    besieged: dict[str, tuple[DavServer, FakeConsul]],
) -> None:
    server, _ = besieged["hangs"]
    before = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - before < 5
