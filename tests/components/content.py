"""Generated content: seeded trees with difficult names, and streams larger than memory."""

from __future__ import annotations

import hashlib
import os
import random
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from davstore.paths import RESERVED_PREFIX

#: Parts of names that a server or client has stumbled over before.
DIFFICULT = (
    "plain",
    "with space",
    "  two spaces",
    "hash#tag",
    "100%",
    "%41%2F%zz",
    "what?",
    "semi;colon",
    "a+b",
    "R&D",
    "it's",
    'say "so"',
    "<tag>",
    "Übergröße",
    "naïve café",
    "日本語ファイル",
    "한국어",
    "😀 emoji 👩‍👩‍👧",
    "[brackets]",
    "{braces}",
    "comma,equals=at@",
    "tilde~`^",
    "back\\slash",
    "pipe|star*colon:",
    "$HOME",
    "dot.",
    "-dash",
    "end ",
)


def files(seed: int, count: int) -> dict[str, bytes]:
    """`count` small files by relative path, in a few levels of folders, reproducible."""
    dice = random.Random(seed)
    folders = [""]
    for _ in range(max(3, count // 50)):
        above = dice.choice(folders)
        if above.count("/") < 4:
            name = f"{dice.choice(DIFFICULT)} {len(folders)}"
            folders.append(unicodedata.normalize("NFC", f"{above}{name}/"))
    made: dict[str, bytes] = {}
    for number in range(count):
        name = unicodedata.normalize("NFC", f"{number:04d} {dice.choice(DIFFICULT)}")
        made[dice.choice(folders) + name] = dice.randbytes(dice.choice((0, 1, 100, 1000, 3000)))
    return made


def lay_out(top: Path, tree: dict[str, bytes]) -> None:
    """Write the files below `top`, each with a modification time of its own."""
    for number, (name, data) in enumerate(tree.items()):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        when = 1_500_000_000 + number
        os.utime(path, (when, when))


def read_tree(top: Path) -> dict[str, bytes]:
    """All files below `top`, by relative path, with their content; but for what goes meanwhile."""
    found = {}
    for path in top.rglob("*"):
        if path.is_file():
            with suppress(FileNotFoundError):
                found[str(path.relative_to(top))] = path.read_bytes()
    return found


def names_on_disk(top: Path) -> list[str]:
    """Every entry below `top`, hidden ones too, in order."""
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def litter(root: Path) -> list[str]:
    """What lies in davstore's reserved folders below `root`: left-overs, once all is quiet."""
    reserved = [path for path in root.rglob(RESERVED_PREFIX + "*") if path.is_dir()]
    return [name for folder in reserved for name in names_on_disk(folder)]


class Stream:
    """`length` bytes that are never all in memory, and their SHA-1.

    Blocks differ (each carries its number), so one that is lost or doubled shows.
    """

    BLOCK = 1 << 20

    def __init__(self, length: int, seed: int = 1) -> None:
        self.length = length
        self._filler = random.Random(seed).randbytes(self.BLOCK - 8)

    def blocks(self) -> Iterator[bytes]:
        left = self.length
        number = 0
        while left > 0:
            block = number.to_bytes(8, "big") + self._filler
            yield block[:left]
            left -= self.BLOCK
            number += 1

    def digest(self) -> str:
        digest = hashlib.sha1()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()
