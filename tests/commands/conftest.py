"""What the tests of the commands that work on a share have in common."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a configuration of one share, /tree, that lies in ./data."""
    folder = tmp_path / "here"
    (folder / "data").mkdir(parents=True)
    (folder / "src").mkdir()
    (folder / "davstore.yaml").write_text("shares: {/tree: ./data}")
    return folder
