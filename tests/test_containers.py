"""Dockerfile and compose.yaml against the code: every path, port, variable and command in them.

That the image is right is shown by building and running it, see test_image.py. No engine runs
compose.yaml here: it is parsed by the Compose specification's rules, and what it says is compared
with what it speaks of.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml
from compose_spec import PyCompose
from pymongo.uri_parser import parse_uri

from davstore.cli import main
from davstore.config import Config, MongoShare, read_config
from davstore.config.sources import PREFIX
from davstore.server.housekeeper import LEAVE_WITHIN
from davstore.web.admin import AdminApp
from tests.components.found import require

TOP = Path(__file__).parents[1]
FOLDER = TOP / "config"
FILE = FOLDER / "compose.yaml"
DOCKERFILE = TOP / "Dockerfile"

NODES = ("node1", "node2", "node3")
MEMBERS = ("mongo1", "mongo2", "mongo3")

#: ${NAME:-default}, as Compose takes it from the environment.
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")

Service = dict[str, Any]


def _text() -> str:
    """The file with its variables as they are when nobody sets them."""
    text = _VARIABLE.sub(r"\1", FILE.read_text())
    assert "$" not in text, "Compose takes every other $ for a variable as well"
    return text


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


def node_config(service: Service) -> Config:
    """The settings that davstore has in this service: those of its file and its environment."""
    file = _mounted(service, "/etc/davstore/davstore.yaml")
    return read_config(file, {}, service["environment"])


def _mounts(service: Service) -> dict[str, str]:
    """What is mounted, by the path within: a name, or a path of the host."""
    parts = [mount.split(":") for mount in service.get("volumes", [])]
    return {part[1]: part[0] for part in parts}


def _mounted(service: Service, within: str) -> Path:
    return FOLDER / _mounts(service)[within]


def _address(service: Service) -> str:
    address: str = service["networks"]["front"]["ipv4_address"]
    return address


# Dockerfile


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    done = subprocess.run(
        [str(require("hadolint")), "--failure-threshold=style", str(DOCKERFILE)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_health_check_asks_the_admin_listener_for_a_page_that_it_has() -> None:
    config = read_config(FOLDER / "container.yaml", {}, {})
    check = _health_check_of_the_image()
    found = re.search(r"HTTPConnection\('127\.0\.0\.1', (\d+), .*'GET', '([^']+)'", check[-1])
    assert found is not None
    assert config.admin is not None
    assert int(found[1]) == config.admin.port
    assert found[2] in admin_pages()


def _health_check_of_the_image() -> list[str]:
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", joined, re.MULTILINE)
    command: list[str] = json.loads(line)
    return command


def admin_pages() -> list[str]:
    """What the admin listener says that it has, when it is asked for something else."""
    app = AdminApp(None, None)  # type: ignore[arg-type]
    body = b"".join(app({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, lambda *_: lambda _: None))
    return re.findall(r"/\w+", body.decode())


# compose.yaml


def test_it_is_as_the_compose_specification_says() -> None:
    # As plain data: the specification knows no merge keys (<<), every implementation does.
    plain = yaml.safe_dump(yaml.safe_load(_text()))
    assert len(PyCompose.from_yaml(plain).service_names()) == 10
    with pytest.raises(ValueError, match="healthy_"):
        PyCompose.from_yaml(plain.replace("service_healthy", "service_healthy_"))


def test_all_that_it_names_is_there(compose: dict[str, Any], services: dict[str, Service]) -> None:
    used = {name for service in services.values() for name in _mounts(service).values()}
    volumes = {name for name in used if not name.startswith(".")}
    assert volumes == set(compose["volumes"])
    for path in used - volumes:
        assert (FOLDER / path).is_file(), path
    for name, service in services.items():
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        for other, needed in service.get("depends_on", {}).items():
            condition = needed["condition"]
            assert other in services, name
            # A service whose health nobody checks would never become healthy.
            assert condition != "service_healthy" or _is_checked(services[other]), other
    assert (FOLDER / services["node1"]["build"] / "Dockerfile").is_file()


def _is_checked(service: Service) -> bool:
    return "healthcheck" in service or service["image"] == "davstore"


def test_every_service_is_checked_restarted_and_may_do_little(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name
        if name not in ("user", "mongo-init"):  # which end when they have done their work
            assert service["restart"] == "unless-stopped", name
            assert _is_checked(service), name
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]


def test_what_the_image_declares_as_volumes_is_given_to_each_container(
    services: dict[str, Service],
) -> None:
    """What is not would become a volume without a name, one more at every `up`."""
    (line,) = re.findall(r"^VOLUME (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    ours = [service for service in services.values() if service["image"] == "davstore"]
    assert len(ours) == 4
    for service in ours:
        assert set(json.loads(line)) <= {*_mounts(service), *service["tmpfs"]}


def test_the_variables_of_each_node_are_settings(services: dict[str, Service]) -> None:
    for name in NODES:
        service = services[name]
        assert all(variable.startswith(PREFIX) for variable in service["environment"])
        config = node_config(service)  # raises where a variable is none, or a value is wrong
        assert config.state == Path("/state")
        assert config.auth.users is not None
        mounts = _mounts(service)
        assert str(config.state) in mounts
        assert str(config.auth.users.parent) in mounts
        assert not config.auth.anonymous
        assert not config.auth.users.is_relative_to(config.state)
    states = {_mounts(services[name])["/state"] for name in NODES}
    assert len(states) == len(NODES), "no two nodes share a state folder"


def test_the_image_has_the_folder_of_the_users_for_the_user_who_writes_there() -> None:
    """A volume that is new takes the owner of the folder in the image."""
    owned = re.search(
        r"install -d -o davstore .* /state (/\w+) ?\\?$", DOCKERFILE.read_text(), re.M
    )
    assert owned is not None
    assert owned[1] == "/users"


def test_the_commands_are_davstores(services: dict[str, Service]) -> None:
    for name in (*NODES, "user"):
        service = services[name]
        program, *arguments = service.get("entrypoint", ["davstore"])
        assert program == "davstore"
        _parse([*arguments, *service.get("command", ["serve"])])
    for told in re.findall(r"run --rm user (\w+ \w+)", FILE.read_text()):
        assert _parse(["user", *told.split()]) == "add"


def _parse(arguments: list[str]) -> str | None:
    """The name of the command that is called. Raises click.UsageError."""
    command: click.Command | None = main
    rest = list(arguments)
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None
    return command.make_context(command.name, rest).info_name


def test_a_node_is_given_the_time_that_it_takes_to_stop(services: dict[str, Service]) -> None:
    for name in NODES:
        drain = node_config(services[name]).limits.drain_timeout
        grace = services[name]["stop_grace_period"]
        # To be looked over by balancers, to drain, and twice 5 s until a process is killed.
        assert int(grace.removesuffix("s")) >= LEAVE_WITHIN + drain + 2 * 5


def test_each_node_is_registered_where_others_reach_it(services: dict[str, Service]) -> None:
    addresses = set()
    for name in NODES:
        config = node_config(services[name])
        assert config.consul is not None
        assert config.admin is not None
        advertised = f"{_address(services[name])}:{config.listen.port}"
        assert config.consul.advertise == advertised
        assert config.listen.host == config.admin.host == "0.0.0.0"
        addresses.add(advertised)
        agent = urlsplit(config.consul.url)
        assert agent.hostname == "consul"
        assert agent.port == 8500  # Consul's own
        assert set(services["consul"]["networks"]) <= set(services[name]["networks"])
    assert len(addresses) == len(NODES)


def test_the_nodes_trust_nginx_and_nobody_else(services: dict[str, Service]) -> None:
    for name in NODES:
        trusted = node_config(services[name]).proxy.trusted
        assert trusted == (f"{_address(services['nginx'])}/32",)


def test_nginx_knows_the_nodes_and_answers_at_the_port_that_is_published(
    services: dict[str, Service],
) -> None:
    nginx = services["nginx"]
    upstream = _mounted(nginx, "/etc/nginx/upstream.conf").read_text()
    listed = re.findall(r"^\s*server ([\w.]+):(\d+)", upstream, re.MULTILINE)
    ports = [str(node_config(services[name]).listen.port) for name in NODES]
    assert listed == list(zip(NODES, ports, strict=True))
    assert nginx["extra_hosts"] == {name: _address(services[name]) for name in NODES}
    assert set(nginx["depends_on"]) == set(NODES)
    text = _mounted(nginx, "/etc/nginx/nginx.conf").read_text()
    assert "include upstream.conf;" in text
    (listen,) = re.findall(r"^\s*listen (\d+);", text, re.MULTILINE)
    # One port on both sides: a client's Destination names the one, nginx tells davstore the other.
    assert nginx["ports"] == [f"{listen}:{listen}"]
    assert f"http://127.0.0.1:{listen}/" in nginx["healthcheck"]["test"]


def test_the_nodes_use_the_replica_set_that_is_made(
    compose: dict[str, Any], services: dict[str, Service]
) -> None:
    share = node_config(services["node1"]).shares["/"]
    assert isinstance(share, MongoShare)
    wanted = parse_uri(share.uri, validate=False)
    hosts = [(name, 27017) for name in MEMBERS]  # MongoDB's own port
    assert wanted["nodelist"] == hosts
    name = wanted["options"]["replicaSet"]
    for member in MEMBERS:
        command = services[member]["command"]
        assert command[command.index("--replSet") + 1] == name
        assert list(services[member]["networks"]) == ["database"]
    script = services["mongo-init"]["command"][-1]
    assert re.findall(r'host: "(\w+):(\d+)"', script) == [(host, str(port)) for host, port in hosts]
    assert f'_id: "{name}"' in script
    assert compose["networks"]["database"]["internal"] is True
