"""Tests of the lock stores. The modules that hold asserts for all are rewritten as tests are."""

import pytest

pytest.register_assert_rewrite("tests.locks.contract")
