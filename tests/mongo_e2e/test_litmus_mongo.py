"""litmus 0.13 over a share in MongoDB, every suite, read strictly, with all workers."""

from __future__ import annotations

from pathlib import Path

from tests.components import litmus
from tests.components.davserver import DavServer
from tests.components.mongod import Mongod, ReplicaSet


def _is_perfect(server: DavServer, folder: Path) -> None:
    report = litmus.run(server.url, folder)
    print(report.table())
    assert report.is_perfect, f"{report.table()}\n{report.output[-4000:]}"
    assert sum(suite.passed for suite in report.suites) >= 100
    assert "Traceback" not in server.said(), server.tail(20000)


def test_litmus_finds_nothing_over_a_standalone_mongod(
    tmp_path: Path, mongod: Mongod, mongo_database: str
) -> None:
    with DavServer.over_mongo(tmp_path / "home", mongod.uri, mongo_database) as server:
        _is_perfect(server, tmp_path)


def test_litmus_finds_nothing_over_a_replica_set_of_three(
    tmp_path: Path, replica_set: ReplicaSet, replica_database: str
) -> None:
    with DavServer.over_mongo(tmp_path / "home", replica_set.uri, replica_database) as server:
        _is_perfect(server, tmp_path)
