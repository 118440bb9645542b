"""Trees that are too large to be uploaded in a test: written straight into the database."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bson import Binary
from pymongo.collection import Collection

from davstore.stores.mongo.documents import FILE, FOLDER, ROOT, Id, new_id, new_op

Nodes = Collection[dict[str, Any]]

_AT_ONCE = 5000


def _node(parent: Id, name: str, kind: str) -> dict[str, Any]:
    """As the store itself writes them; a file has the content "x"."""
    op, now = new_op(), datetime.now(UTC)
    node = {"_id": new_id(), "p": parent, "n": name, "g": 0, "t": kind}
    node |= {"v": op, "ops": [op], "ct": now, "mt": now}
    if kind == FILE:
        node |= {"size": 1, "etag": new_id().hex(), "dg": {}, "data": Binary(b"x")}
    return node


def make_folder(nodes: Nodes, name: str, parent: Id = ROOT) -> Id:
    folder = _node(parent, name, FOLDER)
    nodes.insert_one(folder)
    return Id(folder["_id"], 4)


def file_name(number: int) -> str:
    return f"document number {number:06d} & more.txt"


def make_files(nodes: Nodes, parent: Id, count: int) -> None:
    files = (_node(parent, file_name(number), FILE) for number in range(count))
    while batch := list(itertools.islice(files, _AT_ONCE)):
        nodes.insert_many(batch, ordered=False)


def make_tree(nodes: Nodes, name: str, folders: int, files: int) -> Id:
    """A folder with `folders` folders of `files` files each."""
    top = make_folder(nodes, name)

    def documents() -> Iterator[dict[str, Any]]:
        for number in range(folders):
            folder = _node(top, f"folder {number}", FOLDER)
            yield folder
            for member in range(files):
                yield _node(folder["_id"], file_name(member), FILE)

    made = documents()
    while batch := list(itertools.islice(made, _AT_ONCE)):
        nodes.insert_many(batch, ordered=False)
    return top
