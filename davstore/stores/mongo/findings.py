"""What fsck can find wrong, and what a well-formed document looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import Binary

from davstore.stores.mongo.contents import DEAD, DYING, LIVE, NEW
from davstore.stores.mongo.documents import FILE, FOLDER, ROOT
from davstore.stores.mongo.operations import Document

#: Every kind of finding, as a sentence.
KINDS: Final = {
    "no-root": "The root is missing.",
    "malformed": "This document is not of a form that davstore writes.",
    "no-parent": "The folder that it lies in does not exist.",
    "not-in-a-folder": "It lies in a file.",
    "cycle": "It lies within itself.",
    "shadowed": "It is alive but hidden by another node of its name.",
    "no-body": "A file has neither an inline content nor a reference to one.",
    "two-bodies": "A file has both an inline content and a reference to one.",
    "wrong-size": "Its size is not that of its content.",
    "no-content": "The content that it refers to does not exist, or is being removed.",
    "chunks": "Chunks of its content are missing or have a wrong length.",
    "damaged": "The bytes of its content are not those that were written.",
    "leaked": "Nobody refers to this content and nobody is to look at it.",
    "stray-chunks": "These chunks belong to no content.",
    "no-duty": "It has something to be done in the background, and nobody is to do it.",
    "stale-mark": "A move of it that never ended has left its mark.",
    "overdue": "A background duty was not done for a day.",
    "counter": "The count of used bytes is wrong.",
}

#: What a stray is: no path leads to it.
STRAYS: Final = frozenset({"no-parent", "not-in-a-folder", "cycle", "shadowed"})
#: What repairing can put right. The others are damage that a person has to judge.
REPAIRABLE: Final = STRAYS | {
    "no-root", "leaked", "stray-chunks", "no-duty", "stale-mark", "counter",
}  # fmt: skip

_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` says what is wrong (see KINDS), `subject` is the id of the node or content.

    `path` is where the file or folder lies, "" where no path leads there.
    """

    kind: str
    subject: str
    path: str = ""
    detail: str = ""

    @property
    def meaning(self) -> str:
        return KINDS[self.kind]

    @property
    def is_repairable(self) -> bool:
        return self.kind in REPAIRABLE


def shown(key: Any) -> str:
    """An id as findings name it."""
    return key.hex() if isinstance(key, bytes) else str(key)


def is_own_id(key: Any) -> bool:
    """Whether davstore could have given this id."""
    return isinstance(key, Binary) and len(key) == _ID_BYTES


_OF_NODES: Final[Mapping[str, type]] = {
    "p": Binary,
    "n": str,
    "g": int,
    "t": str,
    "v": str,
    "ct": datetime,
    "mt": datetime,
}
_OF_FILES: Final[Mapping[str, type]] = {"size": int, "etag": str}
_PERHAPS: Final[Mapping[str, type]] = {
    **_OF_FILES,
    "ops": list,
    "type": str,
    "dg": dict,
    "props": list,
    "data": bytes,
    "c": Binary,
    "old": list,
    "mk": dict,
    "over": Binary,
    "del": datetime,
    "slot": datetime,
    "gc": datetime,
}
_OF_CONTENTS: Final[Mapping[str, type]] = {"length": int, "chunkSize": int, "metadata": dict}
_STATES: Final = (NEW, LIVE, DYING, DEAD)


def flaw_of_node(node: Document) -> str:
    """What of a document of `nodes` is not as davstore writes it; "" when nothing."""
    if not is_own_id(node["_id"]):
        return "its id is not one of davstore's"
    flaw = _flaw(node, _OF_NODES, _PERHAPS)
    if flaw:
        return flaw
    if node["t"] not in (FILE, FOLDER):
        return "t is neither file nor folder"
    if node["_id"] == ROOT:
        return "" if node["t"] == FOLDER and "del" not in node else "the root is no folder"
    if node["t"] == FILE and "del" not in node:
        flaw = _flaw(node, _OF_FILES, {})
    return flaw or _flaw_within(node)


def _flaw_within(node: Document) -> str:
    for entry in node.get("old", ()):
        if not isinstance(entry, dict) or _flaw(entry, {"c": Binary, "t": datetime}, {}):
            return "old holds something else than contents and dates"
    if "mk" in node and _flaw(node["mk"], {"op": str, "exp": datetime}, {}):
        return "mk is no mark"
    if not all(isinstance(digest, str) for digest in node.get("dg", {}).values()):
        return "dg holds something else than digests"
    for prop in node.get("props", ()):
        if not isinstance(prop, list) or [type(part) for part in prop] != [str, str]:
            return "props holds something else than names and values"
    return "size is negative" if node.get("size", 0) < 0 else ""


def flaw_of_content(content: Document) -> str:
    """The same for a document of `fs.files`."""
    if not is_own_id(content["_id"]):
        return "its id is not one of davstore's"
    flaw = _flaw(content, _OF_CONTENTS, {})
    if flaw:
        return flaw
    if content["length"] < 0 or content["chunkSize"] <= 0:
        return "length or chunkSize is negative"
    metadata = content["metadata"]
    if metadata.get("state") not in _STATES:
        return "metadata.state is none of davstore's"
    return _flaw(metadata, {}, {"gc": datetime, "held": datetime})


def _flaw(document: Document, needed: Mapping[str, type], allowed: Mapping[str, type]) -> str:
    for name, kind in needed.items():
        if name not in document:
            return f"{name} is missing"
        if not isinstance(document[name], kind):
            return f"{name} has a wrong type"
    for name, kind in allowed.items():
        if name in document and not isinstance(document[name], kind):
            return f"{name} has a wrong type"
    return ""
