"""From a path to documents (RFC 4918 has no say here; see docs/mongodb.md, "Resolving").

The folders that were met are remembered by (parent id, name), so that the whole chain and the
leaf are asked for with one query, which also proves the memory right: wherever it is wrong, the
walk goes on from there. A chain that took more than one query to find is read once more as a
whole, or a path could be found that never existed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from davstore import paths
from davstore.errors import NotAFolder, ParentMissing, Unavailable
from davstore.stores.mongo.documents import ROOT, Id, is_folder, is_live
from davstore.stores.mongo.operations import NODES, Algorithm, Document, Find, Where

_MOST_TRIES: Final = 50
_Slot = tuple[Id, str]


class LockEpoch(threading.local):
    """How many locks had been granted when this thread last looked at the tree; None: unknown."""

    value: int | None = None


class FolderCache:
    """(parent id, name) -> folder id, the ones used last. Always only a guess.

    `epoch` is told what each look says of locks.
    """

    def __init__(self, size: int = 10_000, epoch: LockEpoch | None = None) -> None:
        self._size = size
        self._epoch = epoch
        self._known: OrderedDict[_Slot, Id] = OrderedDict()
        self._mutex = threading.Lock()

    def guess(self, names: Sequence[str]) -> list[Id]:
        """The ids of the folders `names` lead through from the root, as far as they are known."""
        found: list[Id] = []
        at = ROOT
        with self._mutex:
            for name in names:
                known = self._known.get((at, name))
                if known is None:
                    break
                self._known.move_to_end((at, name))
                found.append(known)
                at = known
        return found

    def learn(self, root: Document | None, chain: Iterable[Document]) -> None:
        if self._epoch is not None:
            self._epoch.value = None if root is None else root.get("lks", 0)
        with self._mutex:
            for folder in chain:
                self._known[folder["p"], folder["n"]] = folder["_id"]
            while len(self._known) > self._size:
                self._known.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a path led to.

    `root` is the root's document, `chain` the folders walked through below it. `parent` is None
    when not all of them are there; then `is_blocked` says whether a file stands in the way. `top`
    is the document of the highest generation in the slot of the leaf, a tombstone too.
    """

    path: str
    root: Document | None
    chain: tuple[Document, ...]
    parent: Id | None
    is_blocked: bool
    top: Document | None

    @property
    def node(self) -> Document | None:
        """The live document at the path."""
        return self.top if is_live(self.top) else None

    @property
    def folder(self) -> Document | None:
        """The document of the folder that holds the leaf, or of the last one that is there."""
        return self.chain[-1] if self.chain else self.root

    def must_have_parent(self) -> Id:
        """Raises ParentMissing, NotAFolder."""
        if self.parent is not None:
            return self.parent
        raise NotAFolder(self.path) if self.is_blocked else ParentMissing(self.path)


def resolve(path: str, cache: FolderCache, without: Sequence[str] = ("data",)) -> Algorithm[Found]:
    """Where `path` leads. `without` names fields that nobody needs.

    Raises Unavailable when the tree above changes faster than it can be read.
    """
    if path == paths.ROOT:
        roots = yield Find(NODES, {"_id": ROOT}, without=without)
        root = roots[0] if roots else None
        cache.learn(root, ())
        return Found(path, root, (), None, False, root)
    walk = _Walk(path, cache)
    for _ in range(_MOST_TRIES + len(walk.names)):
        documents = yield Find(NODES, either=walk.clauses(), without=without)
        found = walk.take(documents)
        if found is not None:
            cache.learn(found.root, found.chain)
            return found
    raise Unavailable(path, "This path changes too fast to be found.")


class _Walk:
    """First asks for the slots of a guessed chain, then for what is missing of it, level by level.

    Only what one query shows as a whole is believed.
    """

    def __init__(self, path: str, cache: FolderCache) -> None:
        self.names = paths.names(path)
        self._path = path
        self._ids = [ROOT, *cache.guess(self.names[:-1])]
        #: From this level on the answers are missing; 0: all are asked for at once.
        self._from = 0
        self._tops: dict[_Slot, Document] = {}
        self._root: Document | None = None

    def clauses(self) -> list[Where]:
        slots = list(zip(self._ids, self.names, strict=False))
        asked: list[Where] = [{"p": folder, "n": name} for folder, name in slots[self._from :]]
        # Along with the whole: what is said there holds at the same moment.
        return asked if self._from else [*asked, {"_id": ROOT}]

    def take(self, documents: list[Document]) -> Found | None:
        """What the answers show; None when another query is needed."""
        is_whole = self._from == 0
        if is_whole:
            self._root = next((each for each in documents if each["_id"] == ROOT), None)
        answers = _tops(documents)
        self._tops = answers if is_whole else {**self._tops, **answers}
        asked = len(self._ids)
        found, chain, is_known = self._walk(asked)
        self._ids = [ROOT, *(folder["_id"] for folder in chain)]
        if is_known and is_whole:
            return found
        # All of it is known now, but from several queries: ask once more for the whole.
        self._from = 0 if is_known else len(self._ids) - 1
        return None

    def _walk(self, asked: int) -> tuple[Found | None, list[Document], bool]:
        """From the root through the answers: where it ends, the folders, whether all was asked."""
        chain: list[Document] = []
        at = ROOT
        for depth, name in enumerate(self.names[:-1]):
            if depth >= asked or self._ids[depth] != at:
                return None, chain, False
            top = self._tops.get((at, name))
            if top is None or not is_live(top) or not is_folder(top):
                is_blocked = top is not None and is_live(top)
                return self._found(chain, None, is_blocked, None), chain, True
            chain.append(top)
            at = top["_id"]
        if self._ids[len(self.names) - 1 : asked] != [at]:
            return None, chain, False
        top = self._tops.get((at, self.names[-1]))
        return self._found(chain, at, False, top), chain, True

    def _found(
        self, chain: list[Document], parent: Id | None, is_blocked: bool, top: Document | None
    ) -> Found:
        return Found(self._path, self._root, tuple(chain), parent, is_blocked, top)


def _tops(documents: Iterable[Document]) -> dict[_Slot, Document]:
    tops: dict[_Slot, Document] = {}
    for document in documents:
        if "g" not in document or "t" not in document:
            continue  # written by somebody else; fsck tells
        key = document["p"], document["n"]
        known = tops.get(key)
        if known is None or known["g"] < document["g"]:
            tops[key] = document
    return tops
