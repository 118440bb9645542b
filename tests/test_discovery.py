"""Finding nodes through a real Consul agent, and going on when it or a node is away."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from davstore.discovery import Discovery, DiscoveryError, Node, NoHealthyNode
from davstore.plugins.consul import Agent, Check, Service
from tests.components.consul import ConsulAgent
from tests.components.fake_consul import HOSTILE, FakeConsul, answering
from tests.components.processes import free_port, wait_until

_numbers = itertools.count(1)

TAGS = ("webdav", "http", "version=1.2", "share=/files", "share=/team room")


@pytest.fixture
def name() -> str:
    return f"discovery-{next(_numbers)}"


def add(consul: ConsulAgent, name: str, key: str, port: int = 8080, host: str = "10.0.0.1") -> None:
    """A healthy instance: one that has no check."""
    body = {"Name": name, "ID": f"{name}-{key}", "Address": host, "Port": port, "Tags": TAGS}
    consul.put("/v1/agent/service/register", body).raise_for_status()


def remove(consul: ConsulAgent, name: str, key: str) -> None:
    consul.put(f"/v1/agent/service/deregister/{name}-{key}").raise_for_status()


def add_unhealthy(consul: ConsulAgent, name: str, key: str) -> None:
    service = Service(name, f"{name}-{key}", "10.0.0.9", 80, ("webdav", "https"))
    Agent(consul.http).register(service, Check("http://127.0.0.1:1/", 60, 1, 600))


def test_healthy_nodes_only_with_all_that_is_known_of_them(consul: ConsulAgent, name: str) -> None:
    add(consul, name, "b", host="fd00::1")
    add(consul, name, "a")
    add_unhealthy(consul, name, "c")
    first, second = Discovery(consul.http, name).nodes()
    shares = ("/files", "/team room")
    assert first == Node(f"{name}-a", "10.0.0.1", 8080, "http", TAGS, shares)
    assert first.version == "1.2"
    assert first.url("/team room/ä?.txt") == "http://10.0.0.1:8080/team%20room/%C3%A4%3F.txt"
    assert second.url() == "http://[fd00::1]:8080/"
    everybody = Discovery(consul.http, name).ask(healthy=False)
    assert [(node.status, node.scheme) for node in everybody] == [
        ("passing", "http"), ("passing", "http"), ("critical", "https"),
    ]  # fmt: skip


def test_nodes_take_turns(consul: ConsulAgent, name: str) -> None:
    for key in "abc":
        add(consul, name, key, ord(key))
    storage = Discovery(consul.http, name)
    urls = [storage.url("/x") for _ in range(6)]
    assert urls[:3] == urls[3:]
    assert sorted(urls[:3]) == [f"http://10.0.0.1:{port}/x" for port in (97, 98, 99)]


def test_an_answer_is_used_for_a_while_and_no_longer(consul: ConsulAgent, name: str) -> None:
    add(consul, name, "a")
    lasting, fleeting = (
        Discovery(consul.http, name, cache=60),
        Discovery(consul.http, name, cache=0),
    )
    assert len(lasting.nodes()) == len(fleeting.nodes()) == 1
    add(consul, name, "b")
    assert len(fleeting.nodes()) == 2
    assert len(lasting.nodes()) == 1


def test_no_node(consul: ConsulAgent, name: str) -> None:
    storage = Discovery(consul.http, name)
    assert storage.nodes() == []
    with pytest.raises(NoHealthyNode, match="no node of the service"):
        storage.url()


def test_consul_that_never_answered_is_an_error_in_time() -> None:
    with FakeConsul(HOSTILE["hangs"]) as fake:
        storage = Discovery(fake.http, timeout=0.3)
        failures: list[str] = []

        def ask() -> None:
            try:
                storage.url()
            except DiscoveryError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        before = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Not one time-out after the other.
        assert time.monotonic() - before < 1.5
        assert failures == [f"Consul at {fake.http} does not answer in time"] * 8


def test_the_last_good_list_holds_while_consul_is_away(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ConsulAgent(tmp_path / "consul") as agent:
        add(agent, name, "a")
        storage = Discovery(agent.http, name, cache=0)
        known = storage.nodes()
    assert [storage.nodes() for _ in range(5)] == [known] * 5
    with pytest.raises(DiscoveryError, match="cannot be reached: Connection refused"):
        storage.ask()
    assert [one.levelno for one in caplog.records] == [logging.WARNING]
    assert "the last known nodes are used: Consul at" in caplog.text


def get_with_requests(url: str) -> str:
    answer = requests.get(url, timeout=2)
    answer.raise_for_status()
    return answer.text


def get_with_urllib(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as answer:
        return str(answer.read().decode())


def get_with_a_socket(url: str) -> str:
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.makefile("rb").read().decode().rpartition("\r\n\r\n")[2]


@pytest.mark.parametrize("get", [get_with_requests, get_with_urllib, get_with_a_socket])
def test_fail_over_to_the_next_node(
    consul: ConsulAgent, name: str, get: Callable[[str], str]
) -> None:
    with FakeConsul(answering("200 OK", b"hello")) as there:
        add(consul, name, "there", int(there.http.rpartition(":")[2]), "127.0.0.1")
        for key in "abc":
            add(consul, name, key, free_port(), "127.0.0.1")
        storage = Discovery(consul.http, name)
        assert [storage.with_failover(get, "/file") for _ in range(8)] == ["hello"] * 8


def test_a_node_that_could_not_be_reached_is_asked_last_for_a_while(
    consul: ConsulAgent, name: str
) -> None:
    for key in "abc":
        add(consul, name, key, ord(key))
    storage, asked = Discovery(consul.http, name), list[str]()

    def call(url: str) -> str:
        asked.append(url)
        if url.endswith(":97/"):
            raise ConnectionRefusedError
        return url

    for _ in range(9):
        storage.with_failover(call)
    assert asked.count("http://10.0.0.1:97/") == 1


def test_an_answer_is_no_reason_to_go_on(consul: ConsulAgent, name: str) -> None:
    with FakeConsul(answering("404 Not Found")) as first, FakeConsul(answering("404 No")) as second:
        for key, fake in (("a", first), ("b", second)):
            add(consul, name, key, int(fake.http.rpartition(":")[2]), "127.0.0.1")
        storage = Discovery(consul.http, name)
        with pytest.raises(requests.HTTPError):
            storage.with_failover(get_with_requests)
        with pytest.raises(urllib.error.HTTPError) as caught:
            storage.with_failover(get_with_urllib)
        caught.value.close()
        assert len(first.heads) + len(second.heads) == 2


def test_when_no_node_can_be_reached_it_is_the_last_error(consul: ConsulAgent, name: str) -> None:
    for key in "ab":
        add(consul, name, key, free_port(), "127.0.0.1")
    with pytest.raises(requests.ConnectionError):
        Discovery(consul.http, name).with_failover(get_with_requests)


class Watched:
    """What `watch` yields, gathered by another thread."""

    def __init__(self, storage: Discovery, wait: float = 30) -> None:
        self.stop = threading.Event()
        self.lists: list[list[str]] = []
        self._thread = threading.Thread(target=self._gather, args=[storage, wait], daemon=True)
        self._thread.start()

    def _gather(self, storage: Discovery, wait: float) -> None:
        for nodes in storage.watch(wait=wait, stop=self.stop):
            self.lists.append([node.id.rpartition("-")[2] for node in nodes])

    def expect(self, *lists: str, seconds: float = 10) -> None:
        wanted = [list(keys) for keys in lists]
        wait_until(lambda: len(self.lists) >= len(wanted), seconds, f"{wanted}: {self.lists}")
        assert self.lists == wanted

    def end(self, seconds: float) -> None:
        self.stop.set()
        self._thread.join(seconds)
        assert not self._thread.is_alive()


def test_watch_yields_each_change_once_and_at_once(consul: ConsulAgent, name: str) -> None:
    watched = Watched(Discovery(consul.http, name), wait=1)
    watched.expect("")
    add(consul, name, "a")
    watched.expect("", "a")
    add_unhealthy(consul, name, "x")
    add(consul, name, "b")
    watched.expect("", "a", "ab")
    remove(consul, name, "a")
    watched.expect("", "a", "ab", "b")
    remove(consul, name, "b")
    watched.expect("", "a", "ab", "b", "")
    watched.end(seconds=5)


def test_watch_outlives_an_agent_that_is_away_and_starts_anew(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = ConsulAgent(tmp_path / "consul")
    # A question with a former life's index is only answered at the end of the wait.
    watched = Watched(Discovery(agent.reserved_http(), name), wait=1)
    wait_until(lambda: "nodes are not watched now" in caplog.text, 5, "the line")
    with agent:
        add(agent, name, "a")
        wait_until(lambda: watched.lists[-1:] == [["a"]], 10, "the node")
        agent.kill9()
        agent.start()
        # It has forgotten all nodes, which is a change, and counts its changes from the start.
        wait_until(lambda: watched.lists[-1:] == [[]], 10, "no node")
        add(agent, name, "b")
        wait_until(lambda: watched.lists[-1:] == [["b"]], 10, "the new node")
    watched.stop.set()
    assert caplog.text.count("nodes are not watched now") == 1


def test_watch_does_not_ask_without_a_pause_whatever_is_answered() -> None:
    body = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nContent-Length: 2\r\n\r\n[]"
    with FakeConsul(lambda connection: connection.sendall(body)) as fake:
        watched = Watched(Discovery(fake.http))
        watched.expect("")
        before = time.monotonic()
        wait_until(lambda: len(fake.heads) >= 4, 10, "four questions")
        assert time.monotonic() - before > 0.4
        watched.end(seconds=5)
