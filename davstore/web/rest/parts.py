"""Large files in chunks, as the original design has it: on the stores' uploads in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import flask
from pydantic import Field

from davstore.auth.base import Action
from davstore.dav.guard import RequestGuard
from davstore.dav.methods.put import client_mtime, known_type
from davstore.dav.request import Realm, Request
from davstore.errors import (
    IsAFolder,
    PartDiffers,
    PartsMissing,
    StoreError,
    WrongPart,
)
from davstore.stores.base import Attributes, Effect
from davstore.web.rest import answers, asked, digests, openapi, original, problems, shapes
from davstore.web.rest.answers import Answer
from davstore.web.rest.asked import Parameters, Whole
from davstore.web.rest.files import Sha256
from davstore.web.rest.incoming import incoming
from davstore.web.rest.openapi import Content, Success, json_of, operation
from davstore.web.rest.original import Name, Size, TreePath
from davstore.web.rest.problems import Problem, invalid

blueprint = flask.Blueprint("parts", __name__)
blueprint.register_error_handler(StoreError, original.blame)

#: Seconds that an unfinished upload is kept after the last chunk, and a finished one its name.
LEASE = 86400.0
#: So many numbers of missing chunks are told at once.
_MOST_TOLD = 1000

Count = Annotated[Whole, Field(ge=1, le=2**31 - 1, description="How many chunks there are.")]


class Chunk(Parameters):
    path: TreePath
    upload: Name
    chunk: Annotated[Whole, Field(ge=0, le=2**31 - 1, description="Its number, from 0.")]
    chunks: Count
    size: Size | None = None
    """Bytes of this chunk; refused when there are more or fewer."""
    sha256: Sha256 | None = None
    """Of this chunk, in hex; refused when it is another."""


class Finished(Parameters):
    path: TreePath
    upload: Name
    chunks: Count | None = None
    size: Size | None = None
    """Bytes of the whole file; refused when there are more or fewer."""
    sha256: Sha256 | None = None
    """Of the whole file, in hex; refused when it is another."""


class Which(Parameters):
    path: TreePath
    upload: Name


class Asked(Which):
    chunks: Count | None = None


class Taken(shapes.Document):
    """A chunk that is there."""

    path: shapes.UrlPath
    upload: str
    chunk: int
    size: int
    """Bytes of this chunk."""
    sha256: str


class Progress(shapes.Document):
    """How far an upload has come."""

    path: shapes.UrlPath
    upload: str
    finished: bool
    """Whether it has become the file; then its chunks are not told any more."""
    chunks: int | None
    """How many there will be, null when nobody has said so."""
    chunk_size: int | None
    """Bytes of every chunk but the last, null when that is not known yet."""
    received: list[int]
    """The numbers of the chunks that are there."""
    missing: list[int]
    """The first thousand numbers that are not there, when `chunks` is known."""
    size: int
    """Bytes of all chunks that are there."""


def rules_of(realm: Realm, settings: Any) -> dict[str, int]:
    """What `help` tells of chunks; nothing where there is no share for them.

    Raises Unavailable while the share does not answer.
    """
    share = original.share_of(realm, settings)
    if share is None:
        return {}
    rules = original.takes_parts(share).part_rules()
    return {
        "small": rules.small,
        "chunk_multiple": rules.unit,
        "chunk_most": rules.largest,
        "chunks_most": rules.most,
        "lease_seconds": int(LEASE),
    }


_REFUSED = (
    *openapi.OF_TARGETS,
    "parent-missing",
    "is-a-folder",
    "other-share",
    "no-such-share",
    "no-such-upload",
    "upload-in-use",
    "part-invalid",
    "length-mismatch",
    "digest-mismatch",
)


@blueprint.route("/mongodb/uploadlargechunk", methods=["POST", "PUT"])
@operation(
    Success(200, "The chunk is there.", json_of(Taken)),
    parameters=Chunk,
    content=Content("The chunk; or a form.", is_form=True),
    headers=(*openapi.CONDITIONS, *openapi.DIGESTS, openapi.OC_MTIME),
    problems=(*_REFUSED, "part-differs", "upload-finished"),
)
def upload_large_chunk() -> Answer:
    """Take one chunk of a large file: in any order, repeated, through any node.

    Every chunk but the last has the same size, a multiple of what `help` tells. `size` and
    `sha256` are this chunk's. One that is there already is compared, not kept again. Type and
    time of the file are those that the first request says.
    """
    parameters = asked.query_fields()
    content = incoming(asked.environ())
    wanted = asked.checked(Chunk, asked.merged(parameters, content.fields))
    request = original.in_share(wanted.path)
    asked.require(request, Action.WRITE)
    _judge_early(request)
    if content.length is not None and wanted.size not in (None, content.length):
        raise Problem(400, "length-mismatch", f"The body has {content.length} bytes.", field="size")
    expected = digests.announced(request.environ, {"sha256": wanted.sha256})
    if expected.keys() - {"sha256"}:
        raise invalid("Digest", "Of a chunk only its SHA-256 can be checked.")
    store = original.takes_parts(request.share)
    attributes = Attributes(known_type(content.content_type), client_mtime(request))
    key = store.begin_parts(request.ctx, request.path, wanted.upload, LEASE, attributes)
    try:
        part = store.put_part(
            request.ctx,
            key,
            wanted.chunk,
            wanted.chunks,
            content.blocks(),
            length=content.length if wanted.size is None else wanted.size,
            sha256=expected.get("sha256"),
        )
    except (WrongPart, PartDiffers) as error:
        raise problems.of_store(error, _to_blame(error, wanted)) from None
    document = {"path": request.path, "upload": wanted.upload, "chunk": wanted.chunk}
    return answers.as_json({**document, "size": part.length, "sha256": part.sha256})


def _to_blame(error: WrongPart | PartDiffers, wanted: Chunk) -> str:
    if isinstance(error, WrongPart):
        length = "body" if wanted.size is None else "size"
        return {"number": "chunk", "count": "chunks"}.get(error.about, length)
    return "chunk" if wanted.sha256 is None else "sha256"


def _judge_early(request: Request) -> RequestGuard:
    """The request's guard, which has nothing against a file there; finishing asks again."""
    guard = asked.guard(request)
    node = request.stat()
    if node is not None and node.is_folder:
        raise IsAFolder(request.path)
    guard.judge(request.path, node, Effect.CREATE if node is None else Effect.MODIFY)
    return guard


@blueprint.route("/mongodb/uploadlargefinished", methods=["POST", "PUT"])
@operation(
    Success(200, "The file has the content now.", json_of(original.Stored), openapi.VALIDATORS),
    Success(201, "The file was made.", json_of(original.Stored), openapi.MADE),
    parameters=Finished,
    in_body=True,
    headers=(*openapi.CONDITIONS, *openapi.DIGESTS),
    problems=(*_REFUSED, "parts-missing"),
)
def upload_large_finished() -> Answer:
    """Make a file of all chunks, at once, once their count, length and digest are right.

    `size` and `sha256` are the whole file's. Until then nobody sees anything of it. Asking again,
    when the answer was lost, answers the file. Refused, the upload goes on.
    """
    wanted = asked.query_and_body(Finished)
    request = original.in_share(wanted.path)
    asked.require(request, Action.WRITE)
    store = original.takes_parts(request.share)
    found = store.find_parts(request.ctx, request.path, wanted.upload)
    guard = asked.guard(request) if found.finished else _judge_early(request)
    count = found.count if wanted.chunks is None else wanted.chunks
    if count is None and not found.finished:
        raise Problem(409, "parts-missing", "No chunk of this upload has come yet.", field="chunk")
    try:
        done = store.finish_parts(
            request.ctx,
            found.id,
            count or 1,
            expected_length=wanted.size,
            expected_digests=digests.announced(request.environ, {"sha256": wanted.sha256}),
            guard=guard,
        )
    except PartsMissing as error:
        raise _missing(error) from None
    except WrongPart as error:
        raise problems.of_store(error, "chunks" if error.about == "count" else "chunk") from None
    return original.stored(request, done)


def _missing(error: PartsMissing) -> Problem:
    some = ", ".join(map(str, error.missing[:10])) + ", ..." * (len(error.missing) > 10)
    sentence = f"These chunks are missing, counted from 0: {some}. Send them, and finish again."
    more: Mapping[str, Any] = {"missing": list(error.missing[:_MOST_TOLD])}
    return Problem(409, "parts-missing", sentence, field="chunk", more=more)


@blueprint.route("/mongodb/uploadlargefinished", methods=["GET"])
@operation(
    Success(200, "How far the upload has come.", json_of(Progress)),
    parameters=Asked,
    problems=(*openapi.OF_TARGETS, "is-a-folder", "other-share", "no-such-share", "no-such-upload"),
)
def upload_large_progress() -> Answer:
    """What an unfinished upload has, and what it still lacks."""
    wanted = asked.query(Asked)
    request = original.in_share(wanted.path)
    asked.require(request, Action.READ)
    store = original.takes_parts(request.share)
    found = store.find_parts(request.ctx, request.path, wanted.upload)
    count = found.count if wanted.chunks is None else wanted.chunks
    missing = [] if count is None or found.finished else found.missing(min(count, 2 * 10**4))
    return answers.as_json(
        {
            "path": request.path,
            "upload": wanted.upload,
            "finished": found.finished,
            "chunks": count,
            "chunk_size": found.part_size,
            "received": sorted(found.parts),
            "missing": missing[:_MOST_TOLD],
            "size": sum(part.length for part in found.parts.values()),
        }
    )


@blueprint.route("/mongodb/uploadlargefinished", methods=["DELETE"])
@operation(
    Success(204, "Nothing becomes of it."),
    parameters=Which,
    problems=(
        *openapi.OF_TARGETS,
        "is-a-folder",
        "other-share",
        "no-such-share",
        "no-such-upload",
        "upload-in-use",
        "upload-finished",
    ),
)
def upload_large_give_up() -> Answer:
    """Give an unfinished upload up: its chunks are removed, and its id is free at once.

    Refused while another request sends a chunk of it, or finishes it.
    """
    wanted = asked.query(Which)
    request = original.in_share(wanted.path)
    asked.require(request, Action.WRITE)
    store = original.takes_parts(request.share)
    found = store.find_parts(request.ctx, request.path, wanted.upload)
    store.give_up_parts(request.ctx, found.id)
    return Answer(status=204)
