"""Making a content that has arrived the file's at a path: the end of every upload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from davstore.errors import Unavailable
from davstore.stores.base import Attributes, Context, Guard
from davstore.stores.mongo import contents
from davstore.stores.mongo.documents import date, new_id
from davstore.stores.mongo.nodes import Keep, Written, confirm_content, write_file
from davstore.stores.mongo.resolving import Found

if TYPE_CHECKING:
    from davstore.stores.mongo.share import Share


def body_of(attributes: Attributes, size: int, digests: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a file with a new content; `data` or `c` is still to come."""
    body: dict[str, Any] = {"size": size, "etag": new_id().hex(), "dg": dict(digests)}
    if attributes.content_type is not None:
        body["type"] = attributes.content_type
    if attributes.modified is not None:
        body["mt"] = date(attributes.modified)
    return body


def publish(
    share: Share,
    ctx: Context,
    path: str,
    body: Mapping[str, Any],
    *,
    guard: Guard | None,
    seen: Found | None = None,
    keep: Keep = contents.keep,
) -> Written:
    """Put `body` in place, all at once; a content in GridFS that it refers to is sealed.

    `seen` is what the path led to a moment ago; `keep` as in `write_file`. Raises as
    `Upload.commit`; after Locked and PreconditionFailed surely nothing refers to the content.
    """
    runner, size = share.runner, body["size"]
    judge = share.judge_write(path, guard, size)
    with share.counting:
        writing = write_file(share.tree, path, body, judge, seen, keep=keep)
        done = runner.run(writing, path, ctx.deadline)
        if "c" in body and not runner.run(confirm_content(share.tree, done, body["c"]), path):
            raise Unavailable(path, "The upload was given up meanwhile.")
        share.counting.add(size - (done.replaced or {}).get("size", 0))
    return done
