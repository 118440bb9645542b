"""`davstore nginx-config` between a real Consul agent and a real nginx."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from davstore.cli import main
from davstore.commands.upstream import (
    NotTaken,
    NoUsableNode,
    UpstreamFile,
    check_upstream,
    upstream_text,
)
from davstore.discovery import Node
from tests.components.consul import ConsulAgent
from tests.components.found import require
from tests.components.http import Client
from tests.components.nginx import Nginx, Watcher
from tests.components.processes import free_port, wait_until
from tests.components.upstreams import Upstream


def answering(body: bytes) -> Upstream:
    """A node that says who it is."""
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return Upstream(head.encode() + body)


def node(host: str = "10.0.0.1", port: int = 8080, **more: Any) -> Node:
    return Node(more.pop("id", f"{host}:{port}"), host, port, more.pop("scheme", "http"), **more)


class TestTheList:
    def test_has_each_address_once_in_order(self) -> None:
        nodes = [node("files-2"), node("10.0.0.1"), node("::1", 81), node("10.0.0.1", id="b")]
        lines = [line for line in upstream_text(nodes, "davstore").splitlines() if "server" in line]
        assert [line.split()[1] for line in lines] == ["10.0.0.1:8080", "[::1]:81", "files-2:8080"]

    @pytest.mark.parametrize("host", ["", "a;}", "a b", "$host", "a\n", "unix:/x", "a#"])
    def test_leaves_out_what_would_be_more_than_an_address_in_nginxs_file(self, host: str) -> None:
        with pytest.raises(NoUsableNode):
            upstream_text([node(host)], "davstore")
        assert "10.0.0.1:8080" in upstream_text([node(host), node()], "davstore")

    def test_is_of_one_scheme(self, caplog: pytest.LogCaptureFixture) -> None:
        secure = node("10.0.0.2", scheme="https")
        assert "10.0.0.2" in upstream_text([secure], "davstore")
        assert "10.0.0.2" not in upstream_text([secure, node()], "davstore")
        assert "left out" in caplog.text

    def test_tells_of_nodes_that_serve_different_shares(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        upstream_text([node(shares=("/",)), node("10.0.0.2", shares=("/", "/b"))], "davstore")
        assert "different shares" in caplog.text

    def test_is_judged_by_nginx_itself(self) -> None:
        nginx = require("nginx")
        check_upstream(upstream_text([node(), node("::1")], "davstore"), nginx)
        with pytest.raises(NotTaken, match="no-such-name"):
            check_upstream(upstream_text([node("no-such-name.invalid")], "davstore"), nginx)


class TestTheFile:
    """The reload command here leaves a line, or fails while `broken` is there."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> UpstreamFile:
        script = f"echo >>{tmp_path}/reloads; test ! -e {tmp_path}/broken"
        return UpstreamFile(tmp_path / "upstream.conf", None, ["sh", "-c", script])

    def reloads(self, file: UpstreamFile) -> int:
        log = file.path.parent / "reloads"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def test_is_written_and_nginx_reloaded_only_when_it_changes(self, file: UpstreamFile) -> None:
        assert [file.bring(text) for text in ("a", "a", "b", "b")] == [True, False, True, False]
        assert (file.path.read_text(), self.reloads(file)) == ("b", 2)
        assert file.path.stat().st_mode & 0o777 == 0o644

    def test_a_reload_that_failed_is_made_up_for_also_by_another_process(
        self, file: UpstreamFile
    ) -> None:
        broken = file.path.parent / "broken"
        broken.touch()
        for _ in range(2):
            with pytest.raises(NotTaken):
                file.bring("a")
        broken.unlink()
        again = UpstreamFile(file.path, None, ["true"])
        assert (again.bring("a"), again.bring("a")) == (True, False)

    def test_the_old_one_stays_when_nginx_refuses_the_new_one(self, tmp_path: Path) -> None:
        file = UpstreamFile(tmp_path / "upstream.conf", require("nginx"), ["false"])
        good = upstream_text([node()], "davstore")
        file.path.write_text(good)
        with pytest.raises(NotTaken, match="emerg"):
            file.bring(upstream_text([node("no-such-name.invalid")], "davstore"))
        assert file.path.read_text() == good
        assert sorted(path.name for path in tmp_path.iterdir()) == ["upstream.conf"]


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    with ConsulAgent(tmp_path_factory.mktemp("consul") / "home") as agent:
        yield agent


def register(consul: ConsulAgent, port: int, service: str) -> None:
    """A node without a check is healthy."""
    body = {"ID": f"{service}-{port}", "Name": service, "Address": "127.0.0.1", "Port": port}
    consul.put("/v1/agent/service/register", {**body, "Tags": ["webdav"]}).raise_for_status()


def deregister(consul: ConsulAgent, port: int, service: str) -> None:
    consul.put(f"/v1/agent/service/deregister/{service}-{port}").raise_for_status()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["nginx-config", *arguments])


def answered_by(nginx: Nginx) -> set[str]:
    """Who answers, over as many requests as make every node take its turn."""
    client = Client(nginx.address)
    return {client("GET", "/").text for _ in range(8)}


def test_watch_follows_consul_and_nothing_is_reloaded_twice(
    consul: ConsulAgent, tmp_path: Path
) -> None:
    service = "watched"
    with (
        answering(b"one") as one,
        answering(b"two") as two,
        Nginx(tmp_path / "nginx", [free_port()]) as nginx,
        Watcher(nginx, consul.http, service) as watcher,
    ):
        before = nginx.upstream.read_text()
        watcher.wait_until(lambda: "the last list stays" in watcher.said(), 30, "an empty list")
        assert nginx.upstream.read_text() == before

        register(consul, one.port, service)
        wait_until(lambda: answered_by(nginx) == {"one"}, 20, "the first node")
        register(consul, two.port, service)
        wait_until(lambda: answered_by(nginx) == {"one", "two"}, 20, "both nodes")
        deregister(consul, one.port, service)
        wait_until(lambda: answered_by(nginx) == {"two"}, 20, "the second node alone")
        assert watcher.reloads() == 3

        deregister(consul, two.port, service)
        watcher.wait_until(
            lambda: watcher.said().count("the last list stays") == 2, 20, "an empty list"
        )
        assert answered_by(nginx) == {"two"}
        register(consul, two.port, service)
        assert watcher.stop() == 0

        with Watcher(nginx, consul.http, service) as again:
            again.wait_until(lambda: "1 healthy nodes" in again.said(), 30, "the node")
            register(consul, one.port, service)
            wait_until(lambda: answered_by(nginx) == {"one", "two"}, 20, "both nodes again")
            # The list was right when it started.
            assert again.reloads() == 1


def test_watch_keeps_the_list_while_consul_is_away_and_ends_at_term(tmp_path: Path) -> None:
    service = "away"
    with (
        ConsulAgent(tmp_path / "consul") as agent,
        answering(b"one") as one,
        answering(b"two") as two,
        Nginx(tmp_path / "nginx", [free_port()]) as nginx,
        Watcher(nginx, agent.http, service) as watcher,
    ):
        register(agent, one.port, service)
        wait_until(lambda: answered_by(nginx) == {"one"}, 20, "the node")
        agent.kill9()
        watcher.wait_until(lambda: "not watched now" in watcher.said(), 20, "the complaint")
        assert answered_by(nginx) == {"one"}
        agent.start()
        register(agent, two.port, service)
        wait_until(lambda: answered_by(nginx) == {"two"}, 30, "the new node")
        assert watcher.stop() == 0
        assert "Traceback" not in watcher.said()


def test_an_interrupt_ends_the_watch_as_well(consul: ConsulAgent, tmp_path: Path) -> None:
    nginx = Nginx(tmp_path / "nginx", [1])
    watcher = Watcher(nginx, consul.http, "nobody").start()
    watcher.wait_until(lambda: "the last list stays" in watcher.said(), 30, "an empty list")
    process = watcher._process
    assert process is not None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    watcher.kill9()


def test_once_prints_or_writes_the_list(consul: ConsulAgent, tmp_path: Path) -> None:
    service, output = "once", tmp_path / "upstream.conf"
    options = ["--consul", consul.http, "--service-name", service]
    none = run(*options, "--output", str(output))
    assert (none.exit_code, output.exists()) == (1, False)
    assert none.stderr == "davstore: no node of the service is healthy\n"

    register(consul, 4711, service)
    printed = run(*options, "--upstream", "files")
    assert printed.exit_code == 0
    assert printed.stdout.splitlines()[1] == "upstream files {"
    assert "    server 127.0.0.1:4711 max_fails=1 fail_timeout=30s;\n" in printed.stdout
    first, second = run(*options, "--output", str(output)), run(*options, "--output", str(output))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert (first.stdout, second.stdout) == (
        f"{output}: written\n",
        f"{output}: is as it was\n",
    )


def test_what_cannot_be_done_is_told_in_a_sentence(consul: ConsulAgent, tmp_path: Path) -> None:
    register(consul, 4711, "told")
    options = ["--consul", consul.http, "--service-name", "told"]
    for status, said, arguments in (
        (1, "No such file", [*options, "--output", str(tmp_path / "none" / "file")]),
        (2, "--output FILE", [*options, "--watch"]),
        (2, "--reload", [*options, "--output", "x", "--reload", "'"]),
        (2, "upstream", [*options, "--upstream", "a;b"]),
        (2, "--consul URL", []),
        (1, "127.0.0.1", ["--consul", f"http://127.0.0.1:{free_port()}"]),
    ):
        done = run(*arguments)
        assert done.exit_code == status, done.output
        assert said in done.stderr
