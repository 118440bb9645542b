"""One cluster for all tests of this package, whole again after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components.cluster import Cluster
from tests.components.consul import ConsulAgent
from tests.components.mongod import ReplicaSet


@pytest.fixture(scope="package")
def _shared_cluster(
    tmp_path_factory: pytest.TempPathFactory,
    _shared_consul: ConsulAgent,
    _shared_replica_set: ReplicaSet,
) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("cluster")
    # nginx's workers are another user when root starts it.
    for above in (home, home.parent, home.parent.parent):
        above.chmod(0o755)
    with _shared_replica_set.database() as database:
        with Cluster(home, _shared_consul, _shared_replica_set.uri, database) as running:
            yield running


@pytest.fixture
def cluster(_shared_cluster: Cluster, replica_set: ReplicaSet) -> Iterator[Cluster]:
    yield _shared_cluster
    replica_set.heal()
    _shared_cluster.heal()
    for node in _shared_cluster.nodes:
        assert "Traceback" not in node.said(), node.tail(20000)
