"""Where others reach this node, when nobody says it and when somebody does."""

from __future__ import annotations

import socket

import pytest

from davstore.plugins.address import advertised, is_any
from davstore.plugins.consul import AgentError

#: A network for documentation (RFC 5737), which no machine has an address of.
ELSEWHERE = "198.51.100.7"


def outward() -> str | None:
    """This machine's address on its default route, found in another way than the code's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 1))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def refuses() -> str:
    raise AgentError("refuses")


def never() -> str:
    raise AssertionError("the agent need not be asked")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("10.1.2.3:8443", ("10.1.2.3", 8443)),
        ("storage.example", ("storage.example", None)),
        ("[fd00::1]:80", ("fd00::1", 80)),
        ("fd00::1", ("fd00::1", None)),
    ],
)
def test_what_is_told_goes_before_all(told: str, found: tuple[str, int | None]) -> None:
    assert advertised(told, "0.0.0.0", "http://127.0.0.1:8500", never) == found


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.5", "storage.example", "fd00::1"])
def test_one_address_to_listen_on_is_it(host: str) -> None:
    assert advertised(None, host, "http://127.0.0.1:8500", never) == (host, None)


def test_with_a_local_agent_it_is_the_agents_address_when_that_is_this_machines() -> None:
    found = advertised(None, "0.0.0.0", "http://127.0.0.1:8500", lambda: "127.0.0.1")
    assert found == ("127.0.0.1", None)


@pytest.mark.parametrize("ask", [lambda: ELSEWHERE, refuses, lambda: "nonsense", lambda: "::1"])
@pytest.mark.parametrize("agent", ["http://127.0.0.1:8500", "http://localhost:8500"])
def test_with_a_local_agent_of_elsewhere_it_is_the_default_routes(agent: str, ask: object) -> None:
    assert callable(ask)
    assert advertised(None, "0.0.0.0", agent, ask) == (outward() or "127.0.0.1", None)


def test_with_an_agent_elsewhere_it_is_the_address_on_the_way_there() -> None:
    ask = never if outward() else refuses
    found, _ = advertised(None, "0.0.0.0", f"http://{ELSEWHERE}:8500", ask)
    assert found == (outward() or "127.0.0.1")


def test_an_agent_whose_name_nobody_knows_is_no_error() -> None:
    found, _ = advertised(None, "0.0.0.0", "http://nobody.invalid:8500", refuses)
    assert found == (outward() or "127.0.0.1")


def test_on_all_addresses_of_both_kinds() -> None:
    assert advertised(None, "::", "http://127.0.0.1:8500", lambda: "::1") == ("::1", None)


@pytest.mark.parametrize(
    ("host", "any_"),
    [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False), ("name", False)],
)
def test_what_is_all_addresses(host: str, any_: bool) -> None:
    assert is_any(host) is any_
