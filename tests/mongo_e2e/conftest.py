"""Fixtures of this package."""

from __future__ import annotations

from tests.mongo_e2e.commands import commands

__all__ = ["commands"]
