"""The OpenAPI document says what the endpoints do, and they do what it says."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from davstore.web.rest import describing, openapi, original, problems, service
from davstore.web.rest.openapi import Operation
from tests.components.davserver import DavServer
from tests.components.http import Client
from tests.components.mongod import Mongod
from tests.web.rest import generated
from tests.web.rest.face import BASE, Rest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "davstore"

#: So many requests are made up for each endpoint.
EXAMPLES = 25

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def app() -> flask.Flask:
    """The routes of the face, without anything behind them."""
    made = flask.Flask("davstore", static_folder=None)
    made.url_map.converters["target"] = service.TargetConverter
    for blueprint in service.BLUEPRINTS:
        made.register_blueprint(blueprint)
    return made


@pytest.fixture(scope="module")
def declared(app: flask.Flask) -> list[tuple[str, str, Operation]]:
    """The address, the method and the declaration of each endpoint."""
    found = [(rule.rule, method, each) for rule, method, each in describing.operations(app)]
    assert [(rule, method) for rule, method, each in found if each is None] == []
    return [(rule, method, each) for rule, method, each in found if each is not None]


def _trees(folder: Path) -> Iterator[ast.Module]:
    for path in sorted(folder.rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"), str(path))


def _calls(name: str) -> Iterator[ast.Call]:
    """All calls of what is called `name` in the REST face, whatever it is an attribute of."""
    for tree in _trees(PACKAGE / "web" / "rest"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                text = called.attr if isinstance(called, ast.Attribute) else ""
                if (called.id if isinstance(called, ast.Name) else text) == name:
                    yield node


# Declarations and code


def test_endpoints_declare_codes_that_there_are(
    declared: list[tuple[str, str, Operation]],
) -> None:
    for rule, method, each in declared:
        codes = openapi.problems_of(each, method, rule)
        assert set(codes) <= problems.CATALOGUE.keys(), (rule, method)


def test_problems_that_are_raised_are_in_the_catalogue_with_their_status() -> None:
    raised = {(status, code) for _, status, code in problems._OF_STORES}
    raised |= set(problems._OF_STATUSES.items())
    for call in _calls("Problem"):
        status, code = call.args[:2]
        if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
            raised.add((ast.literal_eval(status), ast.literal_eval(code)))
    assert len(raised) > 40
    assert raised == {(status, code) for code, (status, _) in problems.CATALOGUE.items()}


def test_the_manual_names_every_code() -> None:
    manual = (ROOT / "docs" / "rest.md").read_text()
    assert [code for code in problems.CATALOGUE if f"`{code}`" not in manual] == []


def test_every_code_of_an_endpoint_is_declared_by_one(
    declared: list[tuple[str, str, Operation]],
) -> None:
    """Flask itself says the first two, where there is no endpoint; of "conflict" see of_dav. The
    server says the others, before an endpoint is found."""
    said = {code for rule, method, each in declared for code in _codes(each, method, rule)}
    assert problems.CATALOGUE.keys() - said == {
        "no-such-endpoint",
        "method-not-allowed",
        "conflict",
        "expectation-unknown",
        "headers-too-large",
        "not-implemented",
        "path-too-long",
        "request-timeout",
        "version-unknown",
    }


def _codes(found: Operation, method: str, rule: str) -> tuple[str, ...]:
    return openapi.problems_of(found, method, rule)


def test_declared_parameters_are_those_that_are_checked(
    declared: list[tuple[str, str, Operation]],
) -> None:
    checked = set()
    for name in ("query", "query_and_body", "checked"):
        for call in _calls(name):
            if call.args and isinstance(call.args[0], ast.Name):
                checked.add(call.args[0].id)
    checked.discard("model")  # in `asked` itself
    assert {each.parameters.__name__ for _, _, each in declared} == checked


def test_every_declared_parameter_is_read(declared: list[tuple[str, str, Operation]]) -> None:
    """By the module of its model, which calls the parameters `wanted`, or is their own."""
    for model in {each.parameters for _, _, each in declared}:
        tree = ast.parse(Path(inspect.getfile(model)).read_text(encoding="utf-8"))
        read = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if node.value.id in ("wanted", "self") and isinstance(node.ctx, ast.Load)
        }
        # A small file comes in one request: the id that the client may say has nothing to tell.
        unread = {"upload"} if model is original.Small else set()
        assert set(model.model_fields) - read == unread, model


def test_every_parameter_is_explained(app: flask.Flask) -> None:
    unexplained = []
    for path, item in describing.describe(app, False)["paths"].items():
        for method, each in item.items():
            told = {one["name"]: one for one in each["parameters"]}
            for media in each.get("requestBody", {}).get("content", {}).values():
                told |= media["schema"].get("properties", {})
            unexplained += [
                (method, path, n) for n, one in told.items() if not one.get("description")
            ]
    assert unexplained == []


def test_every_declared_header_is_read(declared: list[tuple[str, str, Operation]]) -> None:
    texts = {
        node.value.removeprefix("HTTP_")
        for folder in (PACKAGE / "web" / "rest", PACKAGE / "dav")
        for tree in _trees(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    names = {header.name for _, _, each in declared for header in each.headers}
    # Those of `digests` are looked up by the name itself.
    assert {
        name for name in names if name.upper().replace("-", "_") not in texts and name not in texts
    } == set()


def test_the_document_is_openapi_3_1(app: flask.Flask) -> None:
    for anonymous in (False, True):
        document = describing.describe(app, anonymous)
        document["servers"] = [{"url": BASE}]
        assert document["openapi"].startswith("3.1.")
        assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


# help


@pytest.mark.parametrize("version", ["v1.0.0", "v1.0.0.0"])
def test_help_answers_a_program(client: Client, version: str) -> None:
    base = f"/filestorage/{version}"
    plain = client("GET", f"{base}/help")
    named = client("GET", f"{base}/help", Accept="application/openapi+json")
    assert (plain.status, plain.header("Content-Type")) == (200, "application/json")
    assert (named.status, named.header("Content-Type")) == (200, "application/openapi+json")
    assert plain.header("Vary") == "Accept"
    document = json.loads(plain.body)
    assert document == json.loads(named.body)
    assert document["servers"][0] == {"url": base} and len(document["servers"]) == 2
    assert document["security"] == [{"basic": []}, {}]  # nobody needs to say who he is here
    assert "/upload/{target}" in document["paths"]


def test_help_tells_the_sizes_of_chunks(server: DavServer, rest: Rest) -> None:
    limits = json.loads(rest("GET", "help").body)["x-limits"]
    assert limits["page_entries"] <= limits["page_entries_most"]
    is_mongo = "mongo" in str(server.settings["shares"])
    told = {name: limits[name] for name in ("chunk_multiple", "small") if name in limits}
    assert told == ({"chunk_multiple": 1 << 20, "small": 16 << 10} if is_mongo else {})


def test_help_shows_a_person_a_page(rest: Rest) -> None:
    document = json.loads(rest("GET", "help").body)
    answer = rest("GET", "help", Accept=HTML)
    page = answer.text
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    policy = answer.header("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in page and " src=" not in page and " style=" not in page
    links = set(re.findall(r'href="([^"]*)"', page))
    anchors = set(re.findall(r'id="([^"]*)"', page))
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    for item in document["paths"].values():
        assert {each["operationId"] for each in item.values()} <= anchors
    assert problems.CATALOGUE.keys() <= anchors
    assert len(anchors) == len(re.findall(r' id="', page)), "an anchor is there twice"


def test_help_takes_no_parameters(rest: Rest) -> None:
    answer = rest("GET", "help?page=2")
    assert (answer.status, json.loads(answer.body)["field"]) == (400, "page")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    """Behind a proxy that cuts a prefix off."""
    settings = {
        "proxy": {"trusted": ["127.0.0.1"], "prefix": "/drive"},
        "rest": {"prefix": "/api"},
    }
    home = tmp_path_factory.mktemp("proxied")
    with DavServer(home, None, settings=settings) as running:
        yield running


def test_help_names_addresses_as_the_client_uses_them(proxied: DavServer) -> None:
    client = Client(proxied.address)
    document = json.loads(client("GET", "/api/v1.0.0.0/help").body)
    used, other = "/drive/api/v1.0.0.0", "/drive/api/v1.0.0"
    assert document["servers"] == [{"url": used}, {"url": other}]
    assert f"<code>{used}</code>" in client("GET", "/api/v1.0.0.0/help", Accept=HTML).text
    refused = client("GET", "/api/v1.0.0/stat/nothing")
    assert refused.header("Link") == f'<{other}/help#not-found>; rel="help"'


# schemathesis


_CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["4xx"]
"""

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
)


@pytest.fixture(scope="module", params=["folder", "mongo"])
def guarded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _shared_mongod: Mongod,
) -> Iterator[DavServer]:
    """A server over either store that wants to know who asks."""
    home = tmp_path_factory.mktemp("guarded")
    with _shared_mongod.database() as database:
        if request.param == "folder":
            made = DavServer(home, home / "root")
        else:
            made = DavServer.over_mongo(home, _shared_mongod.uri, database)
        made.add_user("anna", "secret")
        with made as running:
            yield running
            assert "Traceback" not in running.said(), running.tail(20000)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing(guarded: DavServer, tmp_path: Path) -> None:
    is_mongo = "mongo" in str(guarded.settings["shares"])
    client = Client(guarded.address, "anna", "secret")
    assert client("PUT", f"/{generated.FILE}", b"content").status == 201
    assert client("MKCOL", f"/{generated.FOLDER}").status == 201
    for name in generated.SPARE:
        assert client("PUT", f"/{name}", b"spare").status == 201
    for name in generated.UPLOADS if is_mongo else ():
        which = f"path={generated.CHUNKED}&upload={name}&chunk=1&chunks=2"
        answer = client("PUT", f"{BASE}/mongodb/uploadlargechunk?{which}", b"x")
        assert answer.status == 200
    before = len(guarded.said())
    url = f"http://127.0.0.1:{guarded.port}{BASE}"
    argv = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/help"]
    argv += ["--url", url, "--auth", "anna:secret", "--checks", ",".join(_CHECKS)]
    argv += [
        "--generation-deterministic",
        "--max-examples",
        str(EXAMPLES if is_mongo else EXAMPLES // 2),
    ]
    argv += ["--suppress-health-check", "all", "--no-color", "--warnings", "off"]
    # What is true of parameters alone is the same over both.
    argv += ["--phases", "examples,coverage,fuzzing" if is_mongo else "fuzzing"]
    if not is_mongo:
        argv += ["--exclude-path-regex", "^/mongo"]  # 501 without such a share
    done = _run(argv, tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    document = json.loads(client("GET", f"{BASE}/help").body)
    _assert_all_were_reached(document, guarded.said()[before:], is_mongo)


def _run(argv: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    (home / "schemathesis.toml").write_text(_CONFIG, encoding="utf-8")
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.web.rest.generated",
        "COLUMNS": "120",
    }
    env.pop("PYTEST_CURRENT_TEST", None)
    return subprocess.run(
        argv, cwd=home, env=env, capture_output=True, text=True, timeout=280, check=False
    )


def _assert_all_were_reached(document: dict[str, Any], log: str, is_mongo: bool) -> None:
    """Every endpoint was asked something that it did, and something that it refused.

    Those of tus need ids that nobody can make up.
    """
    line = re.compile(rf'"([A-Z]+) {re.escape(BASE)}/([a-z/]+)\S* HTTP\S*" ([24])')
    seen = {(method, verb.strip("/"), kind) for method, verb, kind in line.findall(log)}
    missing = []
    for path, item in document["paths"].items():
        if path.startswith("/tus") or (path.startswith("/mongo") and not is_mongo):
            continue
        verb = path.removesuffix("/{target}").strip("/")
        for method in item:
            # What follows the verb is a name of small letters at times.
            kinds = {
                kind
                for said, where, kind in seen
                if said == method.upper() and (where + "/").startswith(verb + "/")
            }
            takes = item[method]["parameters"] or "requestBody" in item[method]
            if kinds != ({"2", "4"} if takes else {"2"} | kinds):
                missing.append((method, path, kinds))
    assert missing == []
