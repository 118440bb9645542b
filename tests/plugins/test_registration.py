"""A node keeps itself registered: with a real agent, and a readiness that tests can change."""

from __future__ import annotations

import http.server
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davstore import __version__
from davstore.config import Config
from davstore.plugins.registration import Registration
from davstore.server.housekeeper import LEAVE_WITHIN
from tests.components.consul import ConsulAgent
from tests.components.fake_consul import HOSTILE, FakeConsul
from tests.components.processes import wait_until

_numbers = itertools.count(1)


class Readiness(http.server.ThreadingHTTPServer):
    """What stands for the admin listener."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.is_ready = True
        self.asked: list[str] = []


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Readiness

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200 if self.server.is_ready else 503)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def readiness() -> Iterator[Readiness]:
    with Readiness() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


Begin = Callable[..., Registration]


@pytest.fixture
def begin(tmp_path: Path, readiness: Readiness) -> Iterator[Begin]:
    """Starts a registration of a node; `settings` are further ones of the section consul."""
    begun: list[Registration] = []

    def begin(url: str, name: str, state: str = "state", **settings: Any) -> Registration:
        share = settings.pop("share", {"root": str(tmp_path / "root")})
        (tmp_path / state).mkdir(exist_ok=True)
        config = Config.model_validate(
            {
                "listen": {
                    "host": settings.pop("host", "127.0.0.1"),
                    "port": settings.pop("port", 0),
                },
                "state": str(tmp_path / state),
                "shares": {"/": {"store": "memory", "read_only": True}, "/files": share},
                "consul": {"url": url, "service": name, "interval": 1, "timeout": 1, **settings},
            }
        )
        assert config.consul is not None
        assert config.admin is not None
        one = Registration(
            config, config.consul, config.admin, 8080, readiness.server_address[1], pause=0.05
        )
        begun.append(one)
        one.start()
        return one

    yield begin
    for one in begun:
        one.stop()


@pytest.fixture
def name() -> str:
    return f"service-{next(_numbers)}"


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "davstore")


def test_what_is_registered(
    consul: ConsulAgent, begin: Begin, name: str, readiness: Readiness
) -> None:
    begin(consul.http, name)
    consul.wait_statuses(name, "passing")
    (found,) = consul.instances(name).values()
    assert found["Service"]["Address"] == "127.0.0.1"
    assert found["Service"]["Port"] == 8080
    assert found["Service"]["Tags"] == [
        "webdav", "http", f"version={__version__}", "share=/", "share=/files", "local=/files",
    ]  # fmt: skip
    assert set(readiness.asked) == {"/readyz"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_it_is_at_the_agents_address(
    consul: ConsulAgent, begin: Begin, name: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(consul.http, name, host=host)
    consul.wait_statuses(name, "passing")
    assert told(caplog, "at 127.0.0.1 port 8080, checked at http://127.0.0.1:") == 1


def test_what_is_advertised_can_be_told(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(consul.http, name, advertise="[fd00::1]:81")
    wait_until(lambda: told(caplog, "at fd00::1 port 81, checked at http://127.0.0.1:"), 5, "it")
    (found,) = consul.instances(name).values()
    assert (found["Service"]["Address"], found["Service"]["Port"]) == ("fd00::1", 81)


def test_an_agent_elsewhere_cannot_use_addresses_of_this_machine(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    # The kernel connects this to loopback, but it is not told from any other address.
    begin(consul.http.replace("127.0.0.1", "0.0.0.0"), name)
    wait_until(lambda: warnings(caplog, "set listen.host or consul.advertise"), 5, "the first")
    wait_until(lambda: warnings(caplog, "as admin.host is 127.0.0.1: set it"), 5, "the second")


def test_its_status_follows_its_readiness(
    consul: ConsulAgent, begin: Begin, name: str, readiness: Readiness
) -> None:
    begin(consul.http, name)
    consul.wait_statuses(name, "passing")
    readiness.is_ready = False
    consul.wait_statuses(name, "critical", seconds=5)
    readiness.is_ready = True
    consul.wait_statuses(name, "passing", seconds=5)


def test_leaving_deregisters_and_waits_for_those_who_follow_consul(
    consul: ConsulAgent, begin: Begin, name: str
) -> None:
    one = begin(consul.http, name)
    consul.wait_statuses(name, "passing")
    before = time.monotonic()
    leaving = threading.Thread(target=one.leave)
    leaving.start()
    consul.wait_statuses(name, seconds=2)
    assert leaving.is_alive()
    leaving.join()
    # The supervisor waits no longer.
    assert 1 <= time.monotonic() - before < LEAVE_WITHIN


def test_stopping_leaves_it_registered_and_the_next_one_does_not_disturb_its_status(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = begin(consul.http, name)
    before = consul.wait_statuses(name, "passing")
    one.stop()
    index = consul.index(name)
    begin(consul.http, name)
    wait_until(lambda: told(caplog, f"as {name} (") == 2, 5, "the second registration")
    # Nothing of the entry has changed meanwhile, its status included.
    assert consul.statuses(name) == before
    assert consul.index(name) == index


def test_a_node_that_died_takes_its_own_place(consul: ConsulAgent, begin: Begin, name: str) -> None:
    begin(consul.http, name, port=8081).stop()
    begin(consul.http, name, port=8081)
    begin(consul.http, name, port=8082)
    begin(consul.http, name, port=8081, state="other")
    assert len(consul.wait_statuses(name, "passing", "passing", "passing")) == 3


def test_a_node_that_changes_its_service_leaves_the_former_one(
    consul: ConsulAgent, begin: Begin, name: str
) -> None:
    begin(consul.http, name)
    consul.wait_statuses(name, "passing")
    begin(consul.http, f"{name}-new")
    consul.wait_statuses(f"{name}-new", "passing")
    wait_until(lambda: consul.instances(name) == {}, 5, "the former one gone")


def test_it_registers_again_when_somebody_else_deregistered_it(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(consul.http, name)
    (key,) = consul.wait_statuses(name, "passing")
    for _ in range(3):
        consul.put(f"/v1/agent/service/deregister/{key}").raise_for_status()
        wait_until(lambda: consul.instances(name), 5, "the node again")
    assert warnings(caplog, "Consul had lost this node") == 1


def test_it_registers_again_when_its_check_was_removed(
    consul: ConsulAgent, begin: Begin, name: str
) -> None:
    begin(consul.http, name)
    (key,) = consul.wait_statuses(name, "passing")
    consul.put(f"/v1/agent/check/deregister/service:{key}").raise_for_status()
    consul.wait_statuses(name, "passing")


def test_who_registers_under_its_id_is_told_and_replaced(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(consul.http, name)
    (key,) = consul.wait_statuses(name, "passing")
    other = {"Name": name, "ID": key, "Address": "10.9.9.9", "Port": 1}
    consul.put("/v1/agent/service/register", other).raise_for_status()

    def address() -> bool:
        return bool(consul.instances(name)[key]["Service"]["Address"] == "127.0.0.1")

    wait_until(address, 5, "its own address again")
    assert warnings(caplog, "somebody else registered 10.9.9.9 port 1 under the id") == 1


def test_it_catches_up_with_an_agent_that_starts_later_and_starts_anew(
    tmp_path: Path, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = ConsulAgent(tmp_path / "consul")
    begin(agent.reserved_http(), name)
    wait_until(lambda: warnings(caplog, "Connection refused"), 5, "the line")
    with agent:
        consul_has_it = agent.wait_statuses(name, "passing")
        agent.kill9()
        agent.start()
        assert agent.wait_statuses(name, "passing") == consul_has_it
    assert warnings(caplog) <= 2
    assert warnings(caplog, "Consul had lost this node") == 1


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    with ConsulAgent(tmp_path_factory.mktemp("guarded"), acl=True) as running:
        yield running


def test_with_a_token_that_may_write_the_service_alone(
    guarded: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = guarded.token(f'service "{name}" {{ policy = "write" }}')
    one = begin(guarded.http, name, token=token)
    guarded.wait_statuses(name, "passing")
    one.leave()
    assert guarded.instances(name) == {}
    assert warnings(caplog) == 0


def test_without_a_token_there_is_one_line(
    guarded: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(guarded.http, name)
    wait_until(lambda: guarded.said().count("service/register") >= 3, 5, "three tries")
    assert guarded.instances(name) == {}
    assert warnings(caplog, "refuses (403): the ACL token is missing") == 1
    assert warnings(caplog) == 1


def test_leaving_an_agent_that_hangs_takes_a_second_and_a_half(begin: Begin, name: str) -> None:
    with FakeConsul(HOSTILE["hangs"]) as fake:
        one = begin(fake.http, name, timeout=60)
        wait_until(lambda: fake.heads, 5, "its first call")
        before = time.monotonic()
        one.leave()
        assert time.monotonic() - before < 2.4


def test_another_node_with_the_same_folder_share_is_told(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin(consul.http, name, state="first")
    consul.wait_statuses(name, "passing")
    begin(consul.http, name, state="second")
    wait_until(lambda: warnings(caplog, "shares./files: the node at 127.0.0.1:8080"), 5, "the line")


def test_shares_that_any_node_can_have_are_not_told(
    consul: ConsulAgent, begin: Begin, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    share = {"store": "mongo", "uri": "mongodb://127.0.0.1/x"}
    begin(consul.http, name, state="first", share=share)
    consul.wait_statuses(name, "passing")
    begin(consul.http, name, state="second", share=share)
    consul.wait_statuses(name, "passing", "passing")
    assert warnings(caplog) == 0


def told(caplog: pytest.LogCaptureFixture, text: str, level: int = logging.INFO) -> int:
    """How many lines of that level or a higher one have `text` in them."""
    return sum(text in one.getMessage() for one in caplog.records if one.levelno >= level)


def warnings(caplog: pytest.LogCaptureFixture, text: str = "") -> int:
    return told(caplog, text, logging.WARNING)
