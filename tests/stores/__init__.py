"""Tests of the stores. The modules that hold asserts for every store are rewritten as tests are."""

import pytest

pytest.register_assert_rewrite(
    "tests.stores.contract",
    "tests.stores.harness",
    "tests.stores.machine",
    "tests.stores.promises",
    "tests.stores.steps",
)
