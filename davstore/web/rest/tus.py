"""Resumable uploads as tus 1.0 has them (https://tus.io/protocols/resumable-upload).

With the extensions creation, creation-with-upload, termination, checksum and expiration. An
upload is begun at the path of its target and has an address of its own from then on, which any
process and any node answers. The engine is `davstore.stores.resumable`; here is its HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator

import flask

from davstore import paths
from davstore.auth.base import Action
from davstore.dav import dates
from davstore.dav.guard import RequestGuard
from davstore.dav.methods.put import known_type
from davstore.dav.request import Request
from davstore.dav.response import Headers
from davstore.errors import IsAFolder, StoreError
from davstore.stores.base import Attributes, Committed, Effect, HasUsage, Node
from davstore.stores.resumable import (
    Digest,
    OffsetMismatch,
    PieceMismatch,
    Progress,
    Resumable,
    TooLong,
)
from davstore.web.rest import answers, asked, digests, openapi, problems
from davstore.web.rest.answers import Answer
from davstore.web.rest.asked import NoParameters
from davstore.web.rest.openapi import Content, Header, Success, operation
from davstore.web.rest.problems import Problem, invalid
from davstore.web.rest.tus_addresses import Found, address_of, find_upload, uploads_of
from davstore.web.rest.tus_fields import (
    ALGORITHMS,
    EXTENSIONS,
    PIECE_TYPE,
    VERSION,
    checksum,
    filename,
    has_body,
    metadata,
    must_be_spoken,
    number,
    piece_of_body,
)

blueprint = flask.Blueprint("tus", __name__)

#: Conditions of the creation that count for the last piece as well, unless that has its own.
_REMEMBERED = ("If-Match", "If-None-Match", "If-Unmodified-Since")

_SPEAKS = Header("Tus-Resumable", "The client's version of tus.", {"const": VERSION}, always=True)
_RESUMABLE = Header("Tus-Resumable", "The version of tus that is spoken here.")
_LENGTH = Header("Upload-Length", "Bytes of the whole.", {"type": "integer"})
_METADATA = Header("Upload-Metadata", "As it came.")
_OFFSET = Header("Upload-Offset", "How many bytes the upload has.", {"type": "integer"})
_EXPIRES = Header("Upload-Expires", "Until when the upload is kept; of an unfinished one.")
_CHECKSUM = Header("Upload-Checksum", "`sha1 BASE64` of this piece; md5 and sha256 as well.")
_SHOWN = (_RESUMABLE, _OFFSET, _EXPIRES)
_OF_PIECES = (
    "tus-version",
    "no-such-upload",
    "upload-in-use",
    "upload-finished",
    "offset-mismatch",
    "checksum-mismatch",
    "digest-mismatch",
    "media-type-unsupported",
    "too-large",
    "quota-exceeded",
    "uploads-not-kept",
    *openapi.OF_TARGETS,
    "parent-missing",
    "is-a-folder",
)


@blueprint.after_app_request
def _speak(answer: Answer) -> Answer:
    # Of the whole application: a method that no endpoint has is refused without a blueprint.
    if flask.request.path.startswith(("/tus/", "/tus-uploads/")):
        answer.headers["Tus-Resumable"] = VERSION
    return answer


@blueprint.errorhandler(OffsetMismatch)
def _tell_offset(error: OffsetMismatch) -> Answer:
    problem = problems.of_store(error, "Upload-Offset")
    problem.headers.append(("Upload-Offset", str(error.offset)))
    return problem.response()


@blueprint.errorhandler(TooLong)
def _too_long(error: TooLong) -> Answer:
    return problems.of_store(error, "body").response()


@blueprint.errorhandler(PieceMismatch)
def _damaged(error: PieceMismatch) -> Answer:
    return problems.of_store(error, "Upload-Checksum").response()


# What can be done


@blueprint.route("/tus/<target:target>", methods=["OPTIONS"], provide_automatic_options=False)
def options(target: str) -> Answer:
    """What the server can do. Tus-Max-Size is there where the space is known."""
    request = asked.about("/" + target)
    asked.require(request, Action.READ)
    headers = _abilities()
    room = _room(request, None)
    if room is not None:
        headers.append(("Tus-Max-Size", str(room)))
    return Answer(status=204, headers=headers)


@blueprint.route("/tus-uploads/<upload>", methods=["OPTIONS"], provide_automatic_options=False)
def options_of_upload(upload: str) -> Answer:  # noqa: ARG001 - Flask names it
    """The same at the address of an upload, whatever it is."""
    return Answer(status=204, headers=_abilities())


def _abilities() -> Headers:
    return [
        ("Tus-Version", VERSION),
        ("Tus-Extension", ",".join(EXTENSIONS)),
        ("Tus-Checksum-Algorithm", ",".join(ALGORITHMS)),
    ]


def _room(request: Request, replaced: Node | None) -> int | None:
    """Bytes that a file at the path may have, as far as is known now."""
    if not isinstance(request.store, HasUsage):
        return None
    available = request.store.usage(request.ctx).available
    return None if available is None else available + (replaced.size if replaced else 0)


# Beginning


@blueprint.route("/tus/<target:target>", methods=["POST"], provide_automatic_options=False)
@operation(
    Success(201, "The upload has begun.", headers=(openapi.LOCATION, *_SHOWN)),
    content=Content("The first piece, if it is to come at once.", PIECE_TYPE, is_required=False),
    headers=(
        _SPEAKS,
        Header(
            "Upload-Length", "Bytes of the whole.", {"type": "integer", "minimum": 0}, always=True
        ),
        Header("Upload-Metadata", "`filename BASE64,filetype BASE64`, and whatever is to be kept."),
        _CHECKSUM,
        *openapi.CONDITIONS,
        *openapi.DIGESTS,
        openapi.OC_MTIME,
    ),
    problems=_OF_PIECES,
)
def create(target: str) -> Answer:
    """Begin a resumable upload (tus 1.0): what it becomes is at the path when it is whole.

    The path is the file's, or that of a folder; the name is `filename` then. Conditions and
    digests that are given here count for the whole; lock tokens come with the last piece.
    """
    must_be_spoken()
    asked.query(NoParameters)
    length = number("Upload-Length")
    for field in ("Upload-Defer-Length", "Upload-Concat"):
        if asked.header(field) is not None:
            raise invalid(field, f"{field} is not supported here.")
    described = metadata(asked.header("Upload-Metadata") or "")
    request, node = _target(target, described)
    piece = piece_of_body() if has_body() else None
    digest = checksum()
    guard = asked.guard(request)
    guard.judge(request.path, node, Effect.CREATE if node is None else Effect.MODIFY)
    _must_fit(request, node, length)
    uploads = uploads_of(request)
    begun = uploads.begin(
        request.path,
        length,
        float(flask.current_app.extensions["davstore.rest"].upload_lease),
        Attributes(known_type(described.get("filetype")), asked.own_time(request)),
        digests=digests.announced(request.environ, {}),
        notes=_notes(),
    )
    headers = [("Location", address_of(request, begun.id))]
    if piece is None and length:
        return Answer(status=201, headers=headers + _progress(begun))
    done = _append_first(uploads, begun, piece, digest, guard)
    return Answer(status=201, headers=headers + _state(begun, done))


def _append_first(
    uploads: Resumable,
    begun: Progress,
    piece: Iterator[bytes] | None,
    digest: Digest | None,
    guard: RequestGuard,
) -> Progress | Committed:
    """The first piece. When it fails nobody has heard of the upload, so it goes as well."""
    try:
        return uploads.append(begun.id, 0, piece or iter(()), digest=digest, guard=guard)
    except BaseException:
        _give_up_quietly(uploads, begun.id)
        raise


def _give_up_quietly(uploads: Resumable, upload_id: str) -> None:
    """What cannot be thrown away now is swept when its lease is over."""
    try:
        uploads.give_up(upload_id)
    except StoreError:
        return


def _target(target: str, described: dict[str, str]) -> tuple[Request, Node | None]:
    """The request as one about the file that it is to become, and what is there now."""
    request = asked.about("/" + target)
    asked.require(request, Action.WRITE)
    node = request.stat()
    if request.has_slash or request.url_path == paths.ROOT or (node and node.is_folder):
        name = filename(described)
        request = asked.about_path(paths.join(request.url_path, name), "Upload-Metadata")
        asked.require(request, Action.WRITE)
        node = request.stat()
    if node is not None and node.is_folder:
        raise IsAFolder(request.path)
    return request, node


def _must_fit(request: Request, node: Node | None, length: int) -> None:
    room = _room(request, node)
    if room is not None and length > room:
        sentence = f"There is room for {room} bytes here, and the upload has {length}."
        headers = [("Tus-Max-Size", str(room))]
        raise Problem(413, "too-large", sentence, field="Upload-Length", headers=headers)


def _notes() -> dict[str, str]:
    """What of the creation is needed later: the metadata as it came, and the conditions."""
    found = {name: asked.header(name) for name in ("Upload-Metadata", *_REMEMBERED)}
    return {name: value for name, value in found.items() if value is not None}


# Going on


@blueprint.route("/tus-uploads/<upload>", methods=["HEAD"], provide_automatic_options=False)
def progress(upload: str) -> Answer:
    """How far the upload has come."""
    must_be_spoken()
    found = find_upload(upload).progress
    headers = [*_progress(found), ("Upload-Length", str(found.plan.length))]
    if "Upload-Metadata" in found.plan.notes:
        headers.append(("Upload-Metadata", found.plan.notes["Upload-Metadata"]))
    return Answer(status=200, headers=[*headers, ("Cache-Control", "no-store")])


@blueprint.route("/tus-uploads/<upload>", methods=["PATCH"], provide_automatic_options=False)
@operation(
    Success(204, "The piece is safe; with the last one the file is there.", headers=_SHOWN),
    content=Content("The piece.", PIECE_TYPE),
    headers=(
        _SPEAKS,
        Header("Upload-Offset", "Where the piece begins.", {"type": "integer"}, always=True),
        _CHECKSUM,
        *openapi.CONDITIONS,
    ),
    problems=_OF_PIECES,
)
def append(upload: str) -> Answer:
    """Send the next piece of a resumable upload (tus 1.0).

    What came of a piece that breaks off is kept, unless it has a checksum. With the last
    byte the file is published, if the conditions hold and no lock forbids it; after a refusal the
    last byte can be sent again.
    """
    must_be_spoken()
    piece = piece_of_body()
    offset = number("Upload-Offset")
    digest = checksum()
    found = find_upload(upload)
    _must_fit_in(found, offset)
    _remember_conditions(found)
    guard = asked.guard(found.request)
    done = found.uploads.append(found.progress.id, offset, piece, digest=digest, guard=guard)
    return Answer(status=204, headers=_state(found.progress, done))


def _must_fit_in(found: Found, offset: int) -> None:
    """Refuse before its body a piece that goes beyond the length, if it is where it has to be."""
    known, length = found.progress, asked.environ().get("CONTENT_LENGTH") or "0"
    if known.finished or offset + int(length) <= known.plan.length:
        return
    if offset != known.offset:
        raise OffsetMismatch(known.path, known.offset)
    raise TooLong(known.path)


def _remember_conditions(found: Found) -> None:
    """The conditions of the creation, where this request has none; before they are parsed."""
    environ = found.request.environ
    if any(asked.environ_key(name) in environ for name in _REMEMBERED):
        return
    for name in _REMEMBERED:
        if name in found.progress.plan.notes:
            environ[asked.environ_key(name)] = found.progress.plan.notes[name]


@blueprint.route("/tus-uploads/<upload>", methods=["DELETE"], provide_automatic_options=False)
@operation(
    Success(204, "It is gone.", headers=(_RESUMABLE,)),
    headers=(_SPEAKS,),
    problems=("tus-version", "no-such-upload", "upload-in-use", "upload-finished"),
)
def terminate(upload: str) -> Answer:
    """Give an unfinished resumable upload up (tus 1.0)."""
    must_be_spoken()
    found = find_upload(upload)
    found.uploads.give_up(found.progress.id)
    return Answer(status=204)


@blueprint.route("/tus-uploads/<upload>", methods=["POST"], provide_automatic_options=False)
@operation(
    Success(200, "As HEAD.", headers=(*_SHOWN, _LENGTH, _METADATA)),
    Success(204, "As PATCH or DELETE.", headers=_SHOWN),
    content=Content("The piece, of a PATCH.", PIECE_TYPE, is_required=False),
    headers=(
        Header("X-HTTP-Method-Override", "`HEAD`, `PATCH` or `DELETE`.", always=True),
        _SPEAKS,
        Header("Upload-Offset", "Where the piece begins, of a PATCH.", {"type": "integer"}),
        _CHECKSUM,
        *openapi.CONDITIONS,
    ),
    problems=_OF_PIECES,
)
def instead(upload: str) -> Answer:
    """The method that X-HTTP-Method-Override names, for who can send no other than POST."""
    method = (asked.header("X-HTTP-Method-Override") or "").strip().upper()
    known = {"PATCH": append, "DELETE": terminate, "HEAD": progress}
    if method not in known:
        sentence = "Here POST stands for the method that X-HTTP-Method-Override names: PATCH, ..."
        raise invalid("X-HTTP-Method-Override", sentence)
    return known[method](upload)


# Answers


def _progress(known: Progress) -> Headers:
    headers = [("Upload-Offset", str(known.offset))]
    if known.expires is not None:
        headers.append(("Upload-Expires", dates.http_date(int(known.expires))))
    return headers


def _state(before: Progress, done: Progress | Committed) -> Headers:
    """After a piece."""
    if isinstance(done, Committed):
        return [("Upload-Offset", str(before.plan.length)), *answers.validators(done.node)]
    return _progress(done)
