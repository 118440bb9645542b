"""Two clients on two servers that share one database do what one server in memory does.

DAVSTORE_STEPS sets how many steps are taken, DAVSTORE_SEED which ones.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from davstore.stores.mongo.store import MongoStore
from tests.components.davserver import DavServer
from tests.components.mongod import Mongod
from tests.mongo_e2e.fsck import findings, store_on
from tests.mongo_e2e.twins import HeldLock, Twins
from tests.stores.harness import settle

# Taken away, or the servers would take them for settings of theirs.
STEPS = int(os.environ.pop("DAVSTORE_STEPS", "2000"))
SEED = int(os.environ.pop("DAVSTORE_SEED", "44"))
_STEPS_EACH = 40

_PATHS = (
    *("/".join(names) for depth in (1, 2, 3) for names in itertools.product("ab", repeat=depth)),
    "%C3%A4",
    "a/%C3%A4",
)
_TREE = ("a/", "a/a/", "a/b/", "b/", "b/a/", "a/a/a", "a/a/b", "a/b/a", "b/a/b", "b/b", "%C3%A4")
#: Empty, inline, at the border, one chunk, two.
_SIZES = (0, 5, 16_384, 16_385, 70_000)

_LOCK = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{}/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
_UPDATE = (
    '<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x"><D:set><D:prop><x:{}>{}</x:{}></D:prop>'
    "</D:set><D:remove><D:prop><x:gone/></D:prop></D:remove></D:propertyupdate>"
)

who = st.integers(0, 1)
path = st.sampled_from(_PATHS)
target = st.sampled_from((*_PATHS, "c", "a/c", "b/a/c"))
overwrite = st.sampled_from(("T", "T", "F"))


class TwoServers(RuleBasedStateMachine):
    """Every example has a folder of its own, which is gone at its end."""

    twins: ClassVar[Twins]
    store: ClassVar[MongoStore]
    numbers: ClassVar[Iterator[int]]
    steps: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.top = f"/example-{next(self.numbers)}/"
        self.locks: list[HeldLock] = []
        self.contents = itertools.count()

    @initialize()
    def plant_a_tree(self) -> None:
        self.twins.ask(0, "MKCOL", self.top)
        self.plant()

    @rule()
    def plant(self) -> None:
        """So that most paths lead to something, most of the time."""
        for number, name in enumerate(_TREE):
            method, body = ("MKCOL", b"") if name.endswith("/") else ("PUT", name.encode())
            headers = {} if name.endswith("/") else {"If-None-Match": "*"}
            self.twins.ask(number % 2, method, self.top + name, body, headers=headers)

    def teardown(self) -> None:
        for name in self.twins.files(0, self.top):
            self.twins.ask(1, "GET", name)
        for lock in self.locks:
            self.unlock(lock)
        self.twins.ask(0, "DELETE", self.top)
        assert findings(self.store) == []

    def chosen(self, mine: int, number: int) -> HeldLock | None:
        """One of the locks that this client holds, or none."""
        held = [lock for lock in self.locks if lock.holder == mine]
        return held[number] if number < len(held) else None

    @rule(who=who, path=path, size=st.sampled_from(_SIZES), lock=st.integers(0, 2))
    def put(self, who: int, path: str, size: int, lock: int) -> None:
        content = (f"{next(self.contents)}." * (size // 2 + 1)).encode()[:size]
        self.twins.ask(who, "PUT", self.top + path, content, lock=self.chosen(who, lock))

    @rule(who=who, path=path)
    def put_what_must_be_new(self, who: int, path: str) -> None:
        self.twins.ask(who, "PUT", self.top + path, b"new", headers={"If-None-Match": "*"})

    @rule(who=who, path=path, fresh=st.booleans())
    def put_what_was_read(self, who: int, path: str, fresh: bool) -> None:
        """The tag that the other server told, or an old one."""
        tags = self.twins.etags(1 - who, self.top + path)
        headers = tuple({"If-Match": tag if tag and fresh else '"old"'} for tag in tags)
        self.twins.ask_each(who, "PUT", self.top + path, b"read before", headers)

    @rule(who=who, path=path)
    def get(self, who: int, path: str) -> None:
        self.twins.ask(who, "GET", self.top + path)

    @rule(who=who, path=path, start=st.sampled_from((0, 3, 16_000, 65_530)))
    def get_range(self, who: int, path: str, start: int) -> None:
        headers = {"Range": f"bytes={start}-{start + 999}"}
        self.twins.ask(who, "GET", self.top + path, headers=headers)

    @rule(who=who, path=path, lock=st.integers(0, 2))
    def make_folder(self, who: int, path: str, lock: int) -> None:
        self.twins.ask(who, "MKCOL", f"{self.top}{path}/", lock=self.chosen(who, lock))

    @rule(who=who, path=path, lock=st.integers(0, 2))
    def delete(self, who: int, path: str, lock: int) -> None:
        got, _ = self.twins.ask(who, "DELETE", self.top + path, lock=self.chosen(who, lock))
        if got.status == 204:
            self.forget_locks(self.top + path)

    @rule(who=who, path=path, to=target, overwrite=overwrite, lock=st.integers(0, 2))
    def move(self, who: int, path: str, to: str, overwrite: str, lock: int) -> None:
        chosen, headers = self.chosen(who, lock), {"Overwrite": overwrite}
        got, _ = self.twins.ask(
            who, "MOVE", self.top + path, to=self.top + to, lock=chosen, headers=headers
        )
        if got.status in (201, 204):
            self.forget_locks(self.top + path)

    @rule(
        who=who,
        path=path,
        to=target,
        overwrite=overwrite,
        depth=st.sampled_from(("0", "infinity")),
        lock=st.integers(0, 2),
    )
    def copy(self, who: int, path: str, to: str, overwrite: str, depth: str, lock: int) -> None:
        chosen, headers = self.chosen(who, lock), {"Overwrite": overwrite, "Depth": depth}
        self.twins.ask(who, "COPY", self.top + path, to=self.top + to, lock=chosen, headers=headers)

    @rule(who=who, path=path, name=st.sampled_from(("color", "gone")), lock=st.integers(0, 2))
    def proppatch(self, who: int, path: str, name: str, lock: int) -> None:
        body = _UPDATE.format(name, next(self.contents), name)
        self.twins.ask(who, "PROPPATCH", self.top + path, body, lock=self.chosen(who, lock))

    @rule(
        who=who,
        path=path,
        scope=st.sampled_from(("exclusive", "shared")),
        depth=st.sampled_from(("0", "infinity")),
    )
    def lock(self, who: int, path: str, scope: str, depth: str) -> None:
        headers = {"Depth": depth, "Timeout": "Second-3600"}
        answers = self.twins.ask(who, "LOCK", self.top + path, _LOCK.format(scope), headers=headers)
        tokens = [(answer.header("Lock-Token") or "").strip("<>") for answer in answers]
        if all(tokens):
            self.locks.append(HeldLock(self.top + path, (tokens[0], tokens[1]), who))

    @rule(who=who, number=st.integers(0, 2))
    def unlock_one(self, who: int, number: int) -> None:
        lock = self.chosen(who, number)
        if lock is not None:
            self.unlock(lock)
            self.locks.remove(lock)

    def unlock(self, lock: HeldLock) -> None:
        """By the server that did not grant it."""
        sides = tuple({"Lock-Token": f"<{token}>"} for token in lock.tokens)
        self.twins.ask_each(1 - lock.holder, "UNLOCK", lock.path, b"", sides)

    def forget_locks(self, path: str) -> None:
        """They end with what they were on; a later UNLOCK would be a 409 and no news."""
        below = path.rstrip("/") + "/"
        self.locks = [
            lock for lock in self.locks if lock.path != path and not lock.path.startswith(below)
        ]

    @rule(who=who, path=path, depth=st.sampled_from(("0", "1")))
    def propfind(self, who: int, path: str, depth: str) -> None:
        self.twins.ask(who, "PROPFIND", self.top + path, headers={"Depth": depth})

    @rule()
    def sweep(self) -> None:
        settle(self.store)

    @invariant()
    def the_servers_show_the_twins_tree(self) -> None:
        """One of them, in turn; it has not done the step itself every other time."""
        type(self).steps += 1
        self.twins.ask(self.steps % 2, "PROPFIND", self.top, headers={"Depth": "infinity"})


@pytest.fixture
def servers(tmp_path: Path, mongod: Mongod, mongo_database: str) -> Iterator[Twins]:
    """Nothing that was replaced is kept, so that reclaiming has to do all the time."""
    dav = {"dav": {"infinite_depth": True}, "workers": 1}
    one, two = (
        DavServer.over_mongo(
            tmp_path / name, mongod.uri, mongo_database, share={"grace": 0.001}, settings=dav
        )
        for name in ("one", "two")
    )
    with one, two, DavServer(tmp_path / "twin", None, settings=dav) as twin:
        yield Twins((one, two), twin)
        for server in (one, two):
            assert "Traceback" not in server.said(), server.tail(20000)


@pytest.mark.slow
@pytest.mark.timeout(max(600, STEPS))
def test_two_clients_on_two_servers_find_what_one_in_memory_would_show(
    servers: Twins, mongod: Mongod, mongo_database: str
) -> None:
    print(f"seed {SEED}")

    @seed(SEED)
    class Machine(TwoServers):
        pass

    Machine.twins, Machine.numbers, Machine.steps = servers, itertools.count(1), 0
    with store_on(mongod.uri, mongo_database) as store:
        Machine.store = store
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=STEPS // _STEPS_EACH + STEPS // 300 + 1,
                stateful_step_count=_STEPS_EACH,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"{Machine.steps} steps")
    assert Machine.steps >= STEPS * 0.8
