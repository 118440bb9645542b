"""A tree kept in MongoDB as a store."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from bson import Binary
from pymongo.database import Database

from davstore import paths
from davstore.errors import (
    Corrupt,
    IsAFolder,
    NoSuchUpload,
    NotAFolder,
    NotFound,
    QuotaExceeded,
    StoreError,
)
from davstore.lazily import Lazily
from davstore.stores.base import (
    Attributes,
    Context,
    Effect,
    Guard,
    Kept,
    Node,
    Reader,
    Store,
    Transfer,
    Update,
    Upload,
    Usage,
)
from davstore.stores.mongo import copies, moves, nodes, probing, reclaim, uploads
from davstore.stores.mongo.database import connect, make_root
from davstore.stores.mongo.documents import date, is_folder, node_of
from davstore.stores.mongo.listing import members, shown
from davstore.stores.mongo.operations import CONTENTS, NODES, Document
from davstore.stores.mongo.reader import ContentReader, InlineReader, content_of
from davstore.stores.mongo.resolving import FolderCache, Found, LockEpoch, resolve
from davstore.stores.mongo.share import Share
from davstore.stores.mongo.slots import Tree
from davstore.stores.mongo.taking_parts import TakingParts
from davstore.stores.mongo.upkeep import Upkeep
from davstore.stores.mongo.upload import Hint, MongoUpload

_log = logging.getLogger(__name__)

#: Bytes of properties on one node, names and values together.
MOST_PROPS: Final = 1 << 20
#: Duties that are looked for at once.
_DUTIES: Final = 100
_UPLOAD_ID: Final = re.compile("[0-9a-f]{32}")


class MongoStore(TakingParts, Store):
    """Serves the tree in `database` of the MongoDB at `uri`.

    Also ResumableUploads, TakesParts, FindsById, HasUsage, NotesLocks, Sweepable, Probed,
    Closable. Files of at most `inline_max` bytes are one document, larger ones lie in GridFS in
    chunks of `chunk_size`. Any number of processes and nodes may serve one database. To be made
    after the fork; it connects when it is first asked. Then, and in every call, it raises
    Unavailable while the database does not answer, and ConfigError or FormatTooNew when it is of
    no use.
    """

    def __init__(
        self,
        uri: str,
        database: str | None = None,
        *,
        inline_max: int = 16 << 10,
        chunk_size: int = 1 << 20,
        digests: Sequence[str] = ("sha1", "sha256"),
        quota: int | None = None,
        grace: float = 3600.0,
        write_concern: str | int = "majority",
    ) -> None:
        self._connect = partial(connect, uri, database, write_concern, grace)
        self._layout = (inline_max, chunk_size, tuple(digests), quota)
        self._recent = threading.local()
        #: What this thread's last look at the tree said of locks; see `note_lock`.
        self.lock_epoch = LockEpoch()
        self._lazily = Lazily(self._open)

    @property
    def _share(self) -> Share:
        return self._lazily.get()

    def _open(self) -> Share:
        connection, runner = self._connect()
        make_root(runner)
        tree = Tree(runner.terms, FolderCache(epoch=self.lock_epoch))
        return Share(connection, runner, tree, *self._layout)

    @property
    def database(self) -> Database[Document]:
        """What the tree lies in, for what belongs to it (its locks)."""
        return self._share.connection.database

    # Required

    def stat(self, ctx: Context, path: str) -> Node:
        return shown(self._found(ctx, path), path)

    def list(
        self, ctx: Context, path: str, after: str | None = None, limit: int | None = None
    ) -> Iterator[Node]:
        return self._members(self._folder(ctx, path), path, after, limit)

    def open_folder(self, ctx: Context, path: str) -> tuple[Node, Iterator[Node]]:
        folder = self._folder(ctx, path)
        return shown(folder, path), self._members(folder, path)

    def open(self, ctx: Context, path: str) -> Reader:
        for _ in range(2):
            document = self._found(ctx, path, without=())
            if is_folder(document):
                raise IsAFolder(path)
            node = shown(document, path)
            if "data" in document:
                return InlineReader(path, node, document["data"])
            content = self._share.runner.run(content_of(document), path)
            if content is not None:
                share = self._share
                return ContentReader(share.connection, share.runner, path, node, content)
            # Replaced between the two looks, and nobody was to wait for readers.
        raise Corrupt(path)

    def upload(self, ctx: Context, path: str, attributes: Attributes = Attributes()) -> Upload:
        hint = self._must_take_file(ctx, path)
        return MongoUpload(self._share, ctx, path, attributes, hint=hint)

    def create_folder(self, ctx: Context, path: str, guard: Guard | None = None) -> Node:
        self._share.may_change(ctx, path)
        judge = self._share.judge_of(path, guard, Effect.MODIFY)
        made = self._run(nodes.make_folder(self._share.tree, path, judge), ctx, path)
        return node_of(made)

    def delete(self, ctx: Context, path: str, guard: Guard | None = None) -> None:
        self._share.in_time(ctx, path)
        if paths.is_reserved(path):
            raise NotFound(path)
        judge = self._share.judge_of(path, guard, Effect.REMOVE)
        self._run(nodes.delete_node(self._share.tree, path, judge), ctx, path)

    def move(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        guard: Guard | None = None,
    ) -> Transfer:
        self._check_transfer(ctx, source, target)
        moving = moves.move_node(
            self._share.tree,
            source,
            target,
            overwrite=overwrite,
            judge_source=self._share.judge_of(source, guard, Effect.REMOVE),
            judge_target=self._share.judge_of(target, guard, Effect.REMOVE),
        )
        return Transfer(self._run(moving, ctx, target).replaced is None)

    def copy(
        self,
        ctx: Context,
        source: str,
        target: str,
        *,
        overwrite: bool,
        recursive: bool = True,
        guard: Guard | None = None,
    ) -> Transfer:
        self._check_transfer(ctx, source, target)
        share = self._share

        def judge(node: Document, replaced: Document | None) -> None:
            has_tree = is_folder(node) or (replaced is not None and is_folder(replaced))
            effect = Effect.REMOVE if has_tree else Effect.MODIFY
            share.judge_of(target, guard, effect)(replaced)

        copying = copies.copy_node(
            share.tree,
            source,
            target,
            overwrite=overwrite,
            recursive=recursive,
            judge=judge,
            may_grow=lambda size: share.must_have_room(target, size),
        )
        return Transfer(self._run(copying, ctx, target).replaced is None)

    def update(self, ctx: Context, path: str, change: Update, guard: Guard | None = None) -> Node:
        self._share.in_time(ctx, path)
        if paths.is_reserved(path):
            raise NotFound(path)

        def changed(document: Document) -> dict[str, Any]:
            props = dict(document.get("props", ())) | dict(change.set_props)
            for name in change.remove_props:
                props.pop(name, None)
            if len("".join((*props, *props.values())).encode()) > MOST_PROPS:
                raise QuotaExceeded(path, "These are too many properties for one resource.")
            put: dict[str, Any] = {"props": [list(prop) for prop in props.items()]}
            if change.modified is not None:
                put["mt"] = date(change.modified)
            return put

        judge = self._share.judge_of(path, guard, Effect.MODIFY)
        updating = nodes.update_node(self._share.tree, path, changed, judge)
        return node_of(self._run(updating, ctx, path))

    # Optional abilities

    def resume(self, ctx: Context, upload_id: str) -> Upload:
        self._share.in_time(ctx, paths.ROOT)
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise NoSuchUpload(upload_id)
        content = Binary(bytes.fromhex(upload_id), 4)
        taking = uploads.take_up(content, self._share.runner.terms)
        document = self._run(taking, ctx, paths.ROOT)
        path = document["metadata"]["path"]
        return MongoUpload(
            self._share, ctx, path, uploads.attributes_of(document), resumed=document
        )

    def look_up(self, ctx: Context, upload_id: str) -> Kept:
        self._share.in_time(ctx, paths.ROOT)
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise NoSuchUpload(upload_id)
        looking = uploads.look_up(Binary(bytes.fromhex(upload_id), 4))
        kept: Kept = self._run(looking, ctx, paths.ROOT)
        if kept.expires is not None and kept.expires <= time.time():
            raise NoSuchUpload(upload_id)
        return kept

    def usage(self, ctx: Context) -> Usage:
        self._share.in_time(ctx, paths.ROOT)
        self._share.counting.count()
        used = self._share.runner.run(reclaim.used_bytes())
        quota = self._share.quota
        return Usage(max(0, used), None if quota is None else max(0, quota - used))

    def note_lock(self, ctx: Context, path: str) -> None:
        self._run(nodes.note_lock(self._share.tree, path), ctx, path)

    def sweep(self, now: float, budget: float = 1.0) -> int:
        done, until = 0, time.monotonic() + budget
        run, tree, moment = self._share.runner.run, self._share.tree, date(now)
        for collection in (NODES, CONTENTS):
            for document in run(reclaim.due(collection, moment, _DUTIES)):
                try:
                    if collection == NODES:
                        done += run(reclaim.reclaim_node(tree, document, moment))
                    else:
                        done += run(reclaim.reclaim_content(tree, document))
                except (KeyError, TypeError) as error:
                    _log.error("%s %s has a wrong form: %r", collection, document["_id"], error)
                    run(reclaim.put_off(collection, document))
                if time.monotonic() > until:
                    return done
        return done

    def probe(self, seconds: float) -> None:
        probing.probe(lambda: self._share.connection, seconds)

    def upkeep(self) -> Upkeep:
        """What `davstore fsck`, `gc` and `stats` do."""
        return Upkeep(self._share)

    def close(self) -> None:
        """Give the connections back."""
        if self._lazily.opened is not None:
            self._lazily.opened.connection.close()

    # Their parts

    def _must_take_file(self, ctx: Context, path: str) -> Hint:
        """What lies at `path` a moment before a file is written there; raises what forbids it."""
        self._share.may_change(ctx, path)
        if path == paths.ROOT:
            raise IsAFolder(path)
        # An upload mostly begins right after a look at its path.
        hint: Hint | None = getattr(self._recent, "hint", None)
        if hint is None or hint.found.path != path or not hint.holds(self._share.runner):
            hint = Hint(self._resolve(path), self._share.runner.runs)
        hint.found.must_have_parent()
        if hint.found.node is not None and is_folder(hint.found.node):
            raise IsAFolder(path)
        return hint

    def _run(self, algorithm: Any, ctx: Context, path: str) -> Any:
        return self._share.runner.run(algorithm, path, ctx.deadline)

    def _resolve(self, path: str, without: Sequence[str] = ("data",)) -> Found:
        return self._share.runner.run(resolve(path, self._share.tree.cache, without), path)

    def _found(self, ctx: Context, path: str, without: Sequence[str] = ("data",)) -> Document:
        """Raises NotFound, DeadlineExceeded."""
        self._share.in_time(ctx, path)
        if paths.is_reserved(path):
            raise NotFound(path)
        found = self._resolve(path, without)
        self._recent.hint = Hint(found, self._share.runner.runs)
        if found.node is None:
            raise NotFound(path)
        return found.node

    def _folder(self, ctx: Context, path: str) -> Document:
        """Raises NotFound, NotAFolder, DeadlineExceeded."""
        folder = self._found(ctx, path)
        if not is_folder(folder):
            raise NotAFolder(path)
        return folder

    def _members(
        self, folder: Document, path: str, after: str | None = None, limit: int | None = None
    ) -> Iterator[Node]:
        def now_at() -> Document | None:
            there = self._resolve(path).node
            return there if there is not None and is_folder(there) else None

        return members(self._share.connection, folder, path, after, limit, now_at=now_at)

    def _check_transfer(self, ctx: Context, source: str, target: str) -> None:
        if paths.is_reserved(source):
            raise NotFound(source)
        self._share.in_time(ctx, target)
        try:
            self._share.may_change(ctx, target)
        except StoreError:
            self._found(ctx, source)  # its absence is said first
            raise
