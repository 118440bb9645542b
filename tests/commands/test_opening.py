"""Which share a command means, and what is said when it cannot be worked on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.test_import_export import read_shown
from tests.components.content import lay_out, read_tree
from tests.test_cli import davstore


def test_the_longest_mount_wins(here: Path) -> None:
    (here / "davstore.yaml").write_text("shares: {/: ./root, /tree: ./data}")
    (here / "root").mkdir()
    lay_out(here / "src", {"a": b"1"})
    assert davstore(here, "import", "src", "tree/x/").status == 0
    assert davstore(here, "import", "src", "/treehouse").status == 0
    assert read_tree(here / "data") == {"x/a": b"1"}
    assert read_tree(here / "root") == {"treehouse/a": b"1"}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("import", "src", "/other"), "no share is mounted at or above /other; there is /ro,"),
        (("import", "none", "/tree"), "none: No such file or directory"),
        (("import", "src/file", "/tree"), "src/file: Not a directory"),
        (("import", "src", "/tree/file"), "/tree/file: This is a file, not a folder."),
        (("import", "src", "/tree/file/x"), "/tree/file/x: "),
        (("import", "src", "/tree/.davstore~x"), "/tree/.davstore~x: "),
        (("import", "src", "/tree/../x"), "is no path of a share"),
        (("import", "src", "/ro"), "the share /ro is read-only."),
        (("import", "data", "/tree/x"), "lie in, one another"),
        (("import", ".", "/tree/x"), "lie in, one another"),
        (("export", "/tree", "data/x"), "lie in, one another"),
        (("export", "/tree/none", "out"), "/tree/none: There is nothing at this path."),
        (("export", "/tree/file", "out"), "/tree/file: This is a file, not a folder."),
        (("export", "/tree", "src/file"), "src/file cannot be made: File exists"),
        (("import", "src", "/tree", "--config", "none.yaml"), "none.yaml"),
        (("import", "src", "/tree", "--jobs", "0"), "--jobs"),
    ],
)
def test_what_cannot_be_begun_is_said_in_one_sentence(
    here: Path, args: tuple[str, ...], sentence: str
) -> None:
    (here / "davstore.yaml").write_text(
        "shares: {/tree: ./data, /ro: {root: ./ro, read_only: true}}"
    )
    (here / "ro").mkdir()
    lay_out(here, {"src/file": b"1", "data/file": b"2"})
    done = davstore(here, *args)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert not (here / "out").exists()
    assert read_shown(here / "data") == {"file": b"2"}


def test_a_share_in_memory_is_refused(here: Path) -> None:
    (here / "davstore.yaml").write_text("shares: {/m: {store: memory}}")
    done = davstore(here, "import", "src", "/m")
    assert done.status == 2
    assert "lies in the memory of the server" in done.err
