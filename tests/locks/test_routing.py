"""Several lock stores as one."""

from __future__ import annotations

import pytest

from davstore.errors import Unavailable
from davstore.locks.base import LockStore
from davstore.locks.memory import MemoryLocks
from davstore.locks.routing import Route, RoutedLocks
from tests.locks.contract import NOW, request


def _away() -> LockStore:
    raise Unavailable("/")


def test_the_locks_of_each_share_are_counted_where_they_lie() -> None:
    local, tree = MemoryLocks(), MemoryLocks()
    routes = [Route("/", "/", lambda: local), Route("/a/tree", "/a/tree", lambda: tree)]
    locks = RoutedLocks(routes)
    for root in ("/x", "/a/x", "/a/y", "/a/tree", "/a/tree/x", "/a/tree/x/y"):
        locks.grant(request(root, infinite=False), NOW)
    assert (local.count(NOW), tree.count(NOW)) == (3, 3)
    below = {path: locks.count(NOW, path) for path in ("/", "/a", "/a/tree", "/a/tree/x", "/b")}
    assert below == {"/": 6, "/a": 5, "/a/tree": 3, "/a/tree/x": 2, "/b": 0}
    mounts = ["/", "/a", "/a/tree"]
    by_share = {mount: locks.count_share(mount, mounts, NOW) for mount in mounts}
    assert by_share == {"/": 1, "/a": 2, "/a/tree": 3}


def test_a_share_s_locks_can_be_counted_while_another_share_is_away() -> None:
    local = MemoryLocks()
    locks = RoutedLocks([Route("/", "/", lambda: local), Route("/tree", "/tree", _away)])
    locks.grant(request("/x"), NOW)
    assert locks.count_share("/", ["/", "/tree"], NOW) == 1
    with pytest.raises(Unavailable):
        locks.count_share("/tree", ["/", "/tree"], NOW)
