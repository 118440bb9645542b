"""The algorithms under random schedules: two and three clients, collectors, deaths, expiry."""

from __future__ import annotations

import os

import pytest

from tests.stores.mongo.scenarios import HISTORIES, SCENARIOS, run_history, run_schedule

SCHEDULES = int(os.environ.get("DAVSTORE_SCHEDULES", "3000"))
SEED = int(os.environ.get("DAVSTORE_SEED", "1"))
#: Seconds: a soak has more of them.
pytestmark = pytest.mark.timeout(120 + SCHEDULES // 20)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_schedule_loses_anything_or_leaves_the_tree_inconsistent(name: str) -> None:
    print(f"seeds {SEED} to {SEED + SCHEDULES - 1}")
    for seed in range(SEED, SEED + SCHEDULES):
        run_schedule(SCENARIOS[name], seed)


@pytest.mark.parametrize("name", HISTORIES)
def test_every_answer_fits_one_order_of_the_calls(name: str) -> None:
    print(f"seeds {SEED} to {SEED + SCHEDULES - 1}")
    for seed in range(SEED, SEED + SCHEDULES):
        run_history(HISTORIES[name], seed)
