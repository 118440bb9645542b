"""What clients ask for, as algorithms: the same calls in schedules, at crashes and at mutations.

What the store does around the algorithms (bytes in chunks, persistent uploads) is done here the
same way, with one chunk for each piece.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from davstore.errors import DeadlineExceeded, Locked, NoSuchUpload, Unavailable
from davstore.stores.base import Attributes
from davstore.stores.mongo import contents, uploads
from davstore.stores.mongo.copies import copy_node
from davstore.stores.mongo.documents import Id, new_id
from davstore.stores.mongo.moves import move_node
from davstore.stores.mongo.nodes import (
    Judge,
    confirm_content,
    delete_node,
    make_folder,
    no_judge,
    update_node,
    write_file,
)
from davstore.stores.mongo.operations import CHUNKS, NODES, Algorithm, Begin, Find, Insert
from davstore.stores.mongo.resolving import resolve
from davstore.stores.mongo.slots import Tree

Call = Callable[[Tree], Algorithm[Any]]

#: Bytes of a chunk: each token is written in pieces of this length.
CHUNK: Final = 4


def small(token: str) -> dict[str, Any]:
    # A copy has the type, but a tag of its own.
    return {"data": token.encode(), "size": len(token), "etag": token, "type": token}


def put(path: str, token: str) -> Call:
    """A small file, whose content and tag are `token`."""
    return lambda tree: write_file(tree, path, small(token))


def put_large(path: str, token: str) -> Call:
    """A file in GridFS."""

    def write(tree: Tree) -> Algorithm[Any]:
        content = new_id()
        yield from contents.begin(content, CHUNK, tree.terms.lease, tree.terms)
        yield from _send(tree, content, token, 0)
        return (yield from _put_in_place(tree, path, content, token))

    return write


def keep_and_suspend(path: str, token: str, content: Id, lease: float = 0.0) -> Call:
    """An upload that is made persistent after its first piece; another process shall go on."""

    def write(tree: Tree) -> Algorithm[None]:
        more = uploads.described(path, Attributes())
        yield from contents.begin(content, CHUNK, tree.terms.lease, tree.terms, **more)
        yield from _send(tree, content, token[:CHUNK], 0)
        if not (yield from uploads.keep(content, CHUNK, max(lease, tree.terms.lease), tree.terms)):
            raise NoSuchUpload(content.hex())
        yield from uploads.let_go(content, CHUNK)

    return write


def resume(path: str, token: str, content: Id, judge: Judge = no_judge) -> Call:
    """Go on after the first piece, to the end; who is refused then may go on again."""

    def write(tree: Tree) -> Algorithm[Any]:
        yield Begin()
        taken = yield from uploads.take_up(content, tree.terms)
        nonce = taken["metadata"]["holder"]["nonce"]
        lease = taken["metadata"]["lease"]
        yield from _send(tree, content, token[CHUNK:], 1, nonce, lease)
        try:
            return (yield from _put_in_place(tree, path, content, token, nonce, lease, judge))
        except Locked:
            yield Begin()
            own = uploads.own(nonce)
            yield from contents.unseal(content, lease, tree.terms, own)
            yield Begin()
            yield from uploads.let_go(content, len(token), nonce)
            raise

    return write


def _send(
    tree: Tree,
    content: Id,
    token: str,
    number: int,
    nonce: str | None = None,
    lease: float = 0.0,
) -> Algorithm[None]:
    """A sign of life comes right before chunks, as in the store."""
    for at in range(0, len(token), CHUNK):
        yield Begin()
        own, lasts = uploads.own(nonce), max(lease, tree.terms.lease)
        if not (yield from contents.renew(content, lasts, tree.terms, own)):
            raise NoSuchUpload(content.hex())
        data = token[at : at + CHUNK].encode()
        yield Insert(
            CHUNKS,
            {"_id": new_id(), "files_id": content, "n": number + at // CHUNK, "data": data},
        )


def _put_in_place(
    tree: Tree,
    path: str,
    content: Id,
    token: str,
    nonce: str | None = None,
    lease: float = 0.0,
    judge: Judge = no_judge,
) -> Algorithm[Any]:
    """Each `Begin` is where the store runs another algorithm."""
    yield Begin()
    if not (yield from uploads.seal(content, len(token), lease, tree.terms, nonce)):
        raise NoSuchUpload(content.hex())
    body = {"c": content, "size": len(token), "etag": token, "type": token}
    keep = partial(uploads.keep_sealed, lease, nonce)
    written = yield from write_file(tree, path, body, judge, keep=keep)
    # What is written is confirmed, also when the request's own time is over.
    with contextlib.suppress(DeadlineExceeded):
        yield Begin()
    if not (yield from confirm_content(tree, written, content)):
        raise Unavailable(path, "The upload was given up meanwhile.")
    return written


def mkcol(path: str) -> Call:
    return lambda tree: make_folder(tree, path)


def delete(path: str) -> Call:
    return lambda tree: delete_node(tree, path)


def move(source: str, target: str, *, overwrite: bool = True) -> Call:
    return lambda tree: move_node(tree, source, target, overwrite=overwrite)


def copy(source: str, target: str, *, overwrite: bool = True) -> Call:
    return lambda tree: copy_node(tree, source, target, overwrite=overwrite, recursive=True)


def proppatch(path: str, value: str) -> Call:
    """Add `value` to the properties that are there."""
    return lambda tree: update_node(
        tree, path, lambda node: {"props": [*node.get("props", ()), [value, value]]}
    )


def stat(path: str) -> Call:
    """The document at the path, or None."""

    def read(tree: Tree) -> Algorithm[Any]:
        return (yield from resolve(path, tree.cache)).node

    return read


def listing(path: str) -> Call:
    """The names in a folder, as the store lists them; None when there is no such folder."""

    def read(tree: Tree) -> Algorithm[list[str] | None]:
        node = (yield from resolve(path, tree.cache)).node
        if node is None:
            return None
        order = (("p", 1), ("n", 1), ("g", -1))
        found = yield Find(NODES, {"p": node["_id"]}, sort=order, without=("data", "ops", "old"))
        tops: dict[str, Any] = {}
        for document in found:
            tops.setdefault(document["n"], document)
        return [name for name, top in tops.items() if "del" not in top]

    return read


def always_there(path: str, times: int = 5) -> Call:
    """Look again and again; whenever it is not there, or not listed, that is a failure.

    A listing is of one folder: when another one has taken its place meanwhile, it says nothing.
    """
    folder, _, name = path.rpartition("/")

    def read(tree: Tree) -> Algorithm[None]:
        for _ in range(times):
            assert (yield from stat(path)(tree)) is not None, f"{path} is not there"
            before = yield from stat(folder or "/")(tree)
            names = yield from listing(folder or "/")(tree)
            after = yield from stat(folder or "/")(tree)
            is_same = before is not None and after is not None and before["_id"] == after["_id"]
            assert not is_same or name in names, f"{path} is not listed: {names}"

    return read


def after_each_other(calls: Sequence[Call]) -> Call:
    def run(tree: Tree) -> Algorithm[Any]:
        result = None
        for call in calls:
            result = yield from call(tree)
        return result

    return run
