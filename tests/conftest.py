"""What all tests share: how a failure shows what the servers said, and the databases."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.components.consul import ConsulAgent
from tests.components.mongod import Mongod, ReplicaSet
from tests.components.processes import RUNNING


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes longer than ten seconds")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"{server.name}, {server.url}", server.tail()) for server in RUNNING]
    return report


@pytest.fixture(scope="session")
def _shared_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with Mongod(tmp_path_factory.mktemp("mongod")) as running:
        yield running


@pytest.fixture
def mongod(_shared_mongod: Mongod) -> Iterator[Mongod]:
    """A standalone mongod that all tests share. What a test kills or stops is started again."""
    yield _shared_mongod
    if not _shared_mongod.is_running:
        _shared_mongod.kill9()
        _shared_mongod.start()


@pytest.fixture
def mongo_database(mongod: Mongod) -> Iterator[str]:
    """The name of a fresh database of `mongod`."""
    with mongod.database() as name:
        yield name


@pytest.fixture(scope="session")
def _shared_replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    running = ReplicaSet(tmp_path_factory.mktemp("replica-set")).start()
    yield running
    # Nobody reads its data again, and three clean ends would take seconds.
    running.kill9()


@pytest.fixture
def replica_set(_shared_replica_set: ReplicaSet) -> Iterator[ReplicaSet]:
    """A replica set of three that all tests share, whole again after each test."""
    yield _shared_replica_set
    _shared_replica_set.heal()


@pytest.fixture
def replica_database(replica_set: ReplicaSet) -> Iterator[str]:
    """The name of a fresh database of `replica_set`."""
    with replica_set.database() as name:
        yield name


@pytest.fixture(scope="session")
def _shared_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    running = ConsulAgent(tmp_path_factory.mktemp("consul")).start()
    yield running
    running.kill9()


@pytest.fixture
def consul(_shared_consul: ConsulAgent) -> ConsulAgent:
    """A Consul agent that all tests share; each uses service names of its own."""
    return _shared_consul
