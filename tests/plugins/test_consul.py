"""The calls of a Consul agent, against a real one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from davstore.plugins.consul import Agent, AgentError, Check, Service
from tests.components.consul import ConsulAgent
from tests.components.fake_consul import HOSTILE, FakeConsul, answering, raw
from tests.components.processes import free_port

#: Those whose status says that all went well.
ANY_BODY = ("no JSON", "other JSON", "deep JSON")

CHECK = Check("http://127.0.0.1:1/readyz", interval=1, timeout=0.5, deregister_after=90)


def service(name: str, key: str = "one") -> Service:
    return Service(name, f"{name}-{key}", "10.1.2.3", 8080, ("webdav", "http", "share=/Ä ö"))


def test_a_service_is_registered_listed_and_forgotten(consul: ConsulAgent) -> None:
    agent, wanted = Agent(consul.http), service("calls")
    assert agent.registered(wanted.id) is None
    agent.register(wanted, CHECK)
    assert agent.registered(wanted.id) == wanted
    (entry,) = agent.instances("calls")[1]
    assert entry.service == wanted
    assert agent.instances("calls", passing=True)[1] == []
    agent.deregister(wanted.id)
    agent.deregister(wanted.id)
    assert agent.registered(wanted.id) is None
    assert agent.instances("calls")[1] == []


def test_a_service_without_its_check_does_not_count_as_registered(consul: ConsulAgent) -> None:
    agent, wanted = Agent(consul.http), service("unchecked")
    agent.register(wanted, CHECK)
    consul.put(f"/v1/agent/check/deregister/service:{wanted.id}").raise_for_status()
    assert agent.registered(wanted.id) is None


def test_a_blocking_query_ends_with_the_change(consul: ConsulAgent) -> None:
    agent = Agent(consul.http)
    index, _ = agent.instances("blocking")
    before = time.monotonic()
    assert agent.instances("blocking", index=index, wait=0.3)[1] == []
    assert time.monotonic() - before >= 0.3
    Agent(consul.http).register(service("blocking"), CHECK)
    assert len(agent.instances("blocking", index=index, wait=60)[1]) == 1
    assert time.monotonic() - before < 30


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONSUL_HTTP_ADDR", "http://127.0.0.1:1"),
        ("CONSUL_HTTP_ADDR", "127.0.0.1:1"),
        ("CONSUL_HTTP_SSL", "true"),
        ("CONSUL_HTTP_TOKEN", "00000000-0000-0000-0000-000000000000"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
    ],
)
def test_the_environment_does_not_lead_it_elsewhere(
    consul: ConsulAgent, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert Agent(consul.http).advertised() == "127.0.0.1"


def test_an_agent_that_is_not_there_is_a_sentence() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(AgentError) as caught:
        Agent(url).advertised()
    assert str(caught.value) == f"Consul at {url} cannot be reached: Connection refused"


def test_a_token_does_not_go_where_an_answer_points_to() -> None:
    with FakeConsul(HOSTILE["500"]) as other:
        answer = f"HTTP/1.1 307 Go\r\nLocation: {other.http}/\r\nContent-Length: 0\r\n\r\n"
        with FakeConsul(raw(answer.encode())) as fake:
            with pytest.raises(AgentError, match="is it one"):
                Agent(fake.http, "s3cret").advertised()
        assert other.heads == []


def test_an_agent_that_ends_in_the_middle_is_a_sentence() -> None:
    with FakeConsul(HOSTILE["closes at once"]) as fake:
        with pytest.raises(AgentError) as caught:
            Agent(fake.http).advertised()
    assert str(caught.value) == f"Consul at {fake.http} closed the connection without an answer"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    with ConsulAgent(tmp_path_factory.mktemp("guarded"), acl=True) as running:
        yield running


RULES = 'service "guarded" { policy = "write" } node_prefix "" { policy = "read" }'


def test_every_call_carries_the_token(guarded: ConsulAgent) -> None:
    token = guarded.token(RULES + 'agent_prefix "" { policy = "read" }')
    agent, wanted = Agent(guarded.http, token), service("guarded")
    agent.register(wanted, CHECK)
    assert agent.registered(wanted.id) == wanted
    assert agent.advertised() == "127.0.0.1"
    assert len(agent.instances("guarded")[1]) == 1
    agent.deregister(wanted.id)
    assert agent.registered(wanted.id) is None


def test_without_a_token_it_is_refused(guarded: ConsulAgent) -> None:
    with pytest.raises(AgentError, match=r"refuses \(403\): the ACL token is missing"):
        Agent(guarded.http).register(service("guarded"), CHECK)


def test_what_an_agent_is_told_about_the_check() -> None:
    check = Check("http://h/readyz", interval=2.5, timeout=1, deregister_after=1e6)
    with FakeConsul(answering("200 OK")) as fake:
        Agent(fake.http).register(service("x"), check)
    assert fake.heads[0].startswith("PUT /v1/agent/service/register HTTP/1.1\r\n")
    assert json.loads(fake.bodies[0]) == {
        "name": "x",
        "id": "x-one",
        "address": "10.1.2.3",
        "port": 8080,
        "tags": ["webdav", "http", "share=/Ä ö"],
        "check": {
            "http": "http://h/readyz",
            "interval": "2500ms",
            "timeout": "1000ms",
            "DeregisterCriticalServiceAfter": "1000000000ms",
        },
    }


CALLS: dict[str, Callable[[Agent], object]] = {
    "register": lambda agent: agent.register(service("x"), CHECK),
    "deregister": lambda agent: agent.deregister("x"),
    "registered": lambda agent: agent.registered("x"),
    "advertised": lambda agent: agent.advertised(),
    "instances": lambda agent: agent.instances("x", index="7", wait=0.1),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_token_is_a_header_and_never_in_the_address(call: str) -> None:
    with FakeConsul(HOSTILE["500"]) as fake:
        with pytest.raises(AgentError, match="answered with an error: 500 No cluster leader"):
            CALLS[call](Agent(fake.http, "s3cret"))
    (head,) = fake.heads
    assert "\r\nX-Consul-Token: s3cret" in head
    assert head.count("s3cret") == 1


@pytest.mark.parametrize("behaviour", HOSTILE)
@pytest.mark.parametrize("call", CALLS)
def test_whatever_an_agent_does_is_one_sentence_in_time(call: str, behaviour: str) -> None:
    before = time.monotonic()
    with FakeConsul(HOSTILE[behaviour]) as fake:
        agent = Agent(fake.http, timeout=0.2)
        if (call, behaviour) in NO_ERROR:
            CALLS[call](agent)
        else:
            with pytest.raises(AgentError) as caught:
                CALLS[call](agent)
            assert fake.http in str(caught.value)
            assert len(str(caught.value)) < 300
            assert str(caught.value).isprintable()
    assert time.monotonic() - before < 5


#: An instance that is not there need not be deregistered; and the answer's body is not looked at.
NO_ERROR = {
    ("deregister", "404"),
    *((call, body) for call in ("register", "deregister") for body in ANY_BODY),
}
