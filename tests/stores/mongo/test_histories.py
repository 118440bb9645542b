"""Histories and crashes that the protocol once failed; every answer fits one order of the calls."""

from __future__ import annotations

import pytest

from tests.stores.mongo.calls import copy, delete, keep_and_suspend, put_large, resume
from tests.stores.mongo.crashes import CRASHES
from tests.stores.mongo.history import act
from tests.stores.mongo.scenarios import UPLOAD, Scenario, run_history, run_schedule
from tests.stores.mongo.test_failpoints import UPLOADS, Failing, real
from tests.stores.mongo.test_failpoints import test_a_standalone_whose_answers_are_lost as lost
from tests.stores.mongo.test_schedules import SCHEDULES, SEED

__all__ = ["real"]

HISTORIES = {
    "folders that are renamed": (
        [act("mkcol", "/a"), act("put", "/a/f", "F")],
        [[act("move", "/a", "/b"), act("listing", "/")],
         [act("mkcol", "/b"), act("stat", "/b"), act("move", "/b", "/a")],
         [act("listing", "/"), act("delete", "/a"), act("listing", "/")]],
    ),
    "one name, large": (
        [act("put_large", "/f", "zero")],
        [[act("put_large", "/f", "one"), act("delete", "/f")],
         [act("put_large", "/f", "two"), act("stat", "/f")],
         [act("stat", "/f"), act("put", "/f", "3")]],
    ),
    "files that are renamed": (
        [act("put", "/a", "A"), act("put", "/b", "B")],
        [[act("move", "/a", "/c"), act("put", "/a", "1"), act("listing", "/")],
         [act("move", "/b", "/a"), act("stat", "/b"), act("stat", "/a")],
         [act("listing", "/"), act("delete", "/a"), act("move", "/c", "/b")]],
    ),
    "files that are copied": (
        [act("put_large", "/a", "A"), act("put", "/b", "B")],
        [[act("copy", "/a", "/b"), act("stat", "/b")],
         [act("put", "/b", "1"), act("delete", "/b")],
         [act("stat", "/a"), act("move", "/b", "/c"), act("listing", "/")]],
    ),
}  # fmt: skip

SCENARIOS = {
    "an upload that is resumed against the collector": Scenario(
        [put_large("/f", "zero"), keep_and_suspend("/f", "kept, large", UPLOAD)],
        [[resume("/f", "kept, large", UPLOAD)], [resume("/f", "kept, large", UPLOAD), delete("/f")],
         [put_large("/f", "one"), copy("/f", "/g")]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_every_answer_fits_one_order_of_the_calls(name: str) -> None:
    for seed in range(SEED, SEED + SCHEDULES):
        run_history(HISTORIES[name], seed)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_schedule_loses_anything_or_leaves_the_tree_inconsistent(name: str) -> None:
    for seed in range(SEED, SEED + SCHEDULES):
        run_schedule(SCENARIOS[name], seed)


@pytest.mark.parametrize("name", [name for name in CRASHES if UPLOADS.search(name)])
def test_an_upload_of_which_an_answer_is_lost(
    name: str,
    real: Failing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Updates of contents carry no `op`: a seal whose answer was lost is refused as given up."""
    lost(name, real, monkeypatch)
