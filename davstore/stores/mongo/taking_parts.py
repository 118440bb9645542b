"""The abilities of the store beside those that every store has: uploads in parts, ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from bson import Binary

from davstore import paths
from davstore.errors import NoSuchUpload, NotFound
from davstore.stores.base import (
    Attributes,
    Committed,
    Context,
    Guard,
    Part,
    PartRules,
    PartsUpload,
)
from davstore.stores.mongo import part_completion, part_uploads, parts
from davstore.stores.mongo.documents import Id
from davstore.stores.mongo.findings import flaw_of_node
from davstore.stores.mongo.inspection import climb
from davstore.stores.mongo.operations import MISSING, NODES, Algorithm, Find
from davstore.stores.mongo.share import Share

_ID: Final = re.compile("[0-9a-f]{32}")


class TakingParts:
    """Those methods of the store that TakesParts and FindsById ask for.

    A content that came in parts stays in GridFS however small it is, as that of every upload
    that outlives its process.
    """

    @property
    def _share(self) -> Share:
        raise NotImplementedError

    def _must_take_file(self, ctx: Context, path: str) -> object:
        """Raises what forbids, for now, that a file is written at `path`."""
        raise NotImplementedError

    def part_rules(self) -> PartRules:
        share = self._share
        unit = share.chunk_size
        return PartRules(unit, unit * parts.MOST_CHUNKS, parts.MOST_PARTS, share.inline_max)

    def begin_parts(
        self,
        ctx: Context,
        path: str,
        upload: str,
        lease: float,
        attributes: Attributes = Attributes(),
    ) -> str:
        self._must_take_file(ctx, path)
        return part_uploads.begin(
            self._share, ctx, path, upload, spell=lease, attributes=attributes
        )

    def find_parts(self, ctx: Context, path: str, upload: str) -> PartsUpload:
        return part_uploads.find(self._share, ctx, path, upload)

    def put_part(
        self,
        ctx: Context,
        upload_id: str,
        number: int,
        count: int,
        blocks: Iterable[bytes],
        *,
        length: int | None = None,
        sha256: str | None = None,
    ) -> Part:
        self._share.in_time(ctx, paths.ROOT)
        sender = part_uploads.Sender(self._share, ctx, _content_of(upload_id))
        return sender.put(number, count, blocks, length=length, sha256=sha256)

    def finish_parts(
        self,
        ctx: Context,
        upload_id: str,
        count: int,
        *,
        expected_length: int | None = None,
        expected_digests: Mapping[str, str] | None = None,
        guard: Guard | None = None,
    ) -> Committed:
        self._share.in_time(ctx, paths.ROOT)
        return part_uploads.Finisher(self._share, ctx, _content_of(upload_id)).finish(
            count,
            expected_length=expected_length,
            expected_digests=expected_digests or {},
            guard=guard,
        )

    def give_up_parts(self, ctx: Context, upload_id: str) -> None:
        self._share.in_time(ctx, paths.ROOT)
        runner = self._share.runner
        giving_up = part_completion.give_up(_content_of(upload_id), runner.terms)
        runner.run(giving_up, paths.ROOT, ctx.deadline)

    def path_of(self, ctx: Context, node_id: str) -> str:
        self._share.in_time(ctx, paths.ROOT)
        found = None
        if _ID.fullmatch(node_id):
            finding = _path_of(Binary(bytes.fromhex(node_id), 4))
            found = self._share.runner.run(finding, paths.ROOT, ctx.deadline)
        if found is None:
            raise NotFound(paths.ROOT, "There is nothing with this id.")
        return found


def _content_of(upload_id: str) -> Id:
    """Raises NoSuchUpload when it cannot be the id of one."""
    if not _ID.fullmatch(upload_id):
        raise NoSuchUpload(upload_id)
    return Binary(bytes.fromhex(upload_id), 4)


def _path_of(key: Id) -> Algorithm[str | None]:
    """Step by step upwards, so what is moved meanwhile may be told a path that never was: who
    goes there looks at the id again."""
    found = yield Find(NODES, {"_id": key, "del": MISSING}, without=("data", "props"))
    if not found or flaw_of_node(found[0]):
        return None
    chain = yield from climb(found[0])
    return (chain.path or None) if chain.end == "root" else None
