"""Who is measured: davstore, and the peers that this machine has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import davstore
from bench.layout import upload
from bench.mongo_tree import Key, MongoTree
from tests.components.davserver import DavServer
from tests.components.found import MissingComponent
from tests.components.peers import PEERS, Peer
from tests.components.tree_peers import TREE_PEERS, TreePeer

RENAME = "davstore, durability: rename"
FULL = "davstore, durability: full"


class Served(Protocol):
    """One server or several, running between entering and leaving."""

    @property
    def url(self) -> str: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class Contender:
    """`make(home, root)` is the server, not yet started; its own files go below `home`.

    It serves the folder `root` itself, or what `fill(url, root)` uploads from there. `more`
    measures what is not a load for everybody, by the name of who is measured and the load's key.
    `durability` is what the page says of it.
    """

    name: str
    version: str
    make: Callable[[Path, Path], Served]
    durability: str = ""
    fill: Callable[[str, Path], None] | None = None
    more: Callable[[Served, Path], Mapping[Key, float]] | None = None


#: Those to measure, and a sentence for each that is missing.
Found = tuple[list[Contender], list[str]]


def folder_contenders(wanted: list[str] | None) -> Found:
    """davstore first. `wanted` holds words; a peer is taken when its name contains one.

    None takes all.
    """
    found = [_davstore(RENAME, "rename"), _davstore(FULL, "full")]
    missing: list[str] = []
    for kind in PEERS:
        if _is_wanted(kind.name, wanted):
            try:
                kind.program()
            except MissingComponent as absent:
                missing.append(str(absent))
            else:
                found.append(_peer(kind))
    return found, missing


def tree_contenders(wanted: list[str] | None) -> Found:
    """The same for trees; without a mongod there is nothing to compare."""
    try:
        found = [_mongo()]
    except MissingComponent as absent:
        return [], [str(absent)]
    missing: list[str] = []
    for kind in TREE_PEERS:
        if _is_wanted(kind.name, wanted):
            try:
                found.append(_tree_peer(kind))
            except MissingComponent as absent:
                missing.append(str(absent))
    return found, missing


def _is_wanted(name: str, wanted: list[str] | None) -> bool:
    return wanted is None or any(word.lower() in name.lower() for word in wanted)


def _davstore(name: str, durability: str) -> Contender:
    def make(home: Path, root: Path) -> Served:
        return DavServer(home, root, share={"durability": durability})

    return Contender(name, davstore.__version__, make)


def _peer(kind: type[Peer]) -> Contender:
    return Contender(kind.name, kind.version(), kind)


def _mongo() -> Contender:
    def make(home: Path, _root: Path) -> Served:
        return MongoTree(home)

    def more(served: Served, scratch: Path) -> Mapping[Key, float]:
        assert isinstance(served, MongoTree)
        return served.large_reads(scratch)

    durability, version = MongoTree.durability, MongoTree.version()
    return Contender(MongoTree.name, version, make, durability, fill=upload, more=more)


def _tree_peer(kind: type[TreePeer]) -> Contender:
    def make(home: Path, _root: Path) -> Served:
        return kind(home)

    return Contender(kind.name, kind.version(), make, kind.durability, fill=upload)
