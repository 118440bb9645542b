"""The endpoints of the original design, by their names: whole files, and whether all is well.

They work on one MongoDB share: the one that `rest.share` names, else the first. A `path` is one
of its tree. Chunks of large files are taken in `parts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import flask
from pydantic import AfterValidator, Field, StringConstraints

from davstore import paths
from davstore.auth.base import Action
from davstore.config.rest import Rest
from davstore.dav.conditions import quote_etag
from davstore.dav.methods.get import get_file
from davstore.dav.request import Realm, Request, Share
from davstore.dav.response import Response
from davstore.errors import (
    DigestMismatch,
    InvalidName,
    IsAFolder,
    LengthMismatch,
    NoSuchUpload,
    NotAFolder,
    NotFound,
    ParentMissing,
    StoreError,
    Unavailable,
    UploadFinished,
    UploadInUse,
)
from davstore.stores.base import Committed, Context, FindsById, Probed, TakesParts
from davstore.web.rest import answers, asked, files, openapi, problems, shapes
from davstore.web.rest.answers import Answer
from davstore.web.rest.asked import NoParameters, Parameters, Whole
from davstore.web.rest.files import Sha256
from davstore.web.rest.incoming import Incoming, incoming
from davstore.web.rest.openapi import Content, Success, json_of, operation
from davstore.web.rest.problems import Problem

blueprint = flask.Blueprint("original", __name__)

#: Seconds within which a share has to say that it works.
_PATIENCE = 2.0
#: So often is a file looked for by its id while it is moved or written.
_LOOKS = 5


def _text(value: str) -> str:
    """JSON can hold halves of characters, which nothing can keep."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds what is no character") from None
    return value


TreePath = Annotated[
    str,
    AfterValidator(_text),
    StringConstraints(min_length=1),
    Field(description="Where the file lies in the tree."),
]
Name = Annotated[
    str,
    AfterValidator(_text),
    StringConstraints(min_length=1, max_length=512),
    Field(description="The client's own id of the upload; for each path and user its own."),
]

#: Bytes.
Size = Annotated[Whole, Field(ge=0, le=2**63 - 1)]


class Stored(shapes.FileEntry):
    """A file, and the id that it keeps wherever it is moved."""

    id: str
    """What the downloads take."""
    href: str
    """Its address over WebDAV."""


class Small(Parameters):
    path: TreePath
    upload: Name | None = None
    """Taken for the sake of clients that always say it; one request needs no id."""
    size: Size | None = None
    """Bytes of the content; refused when there are more or fewer."""
    sha256: Sha256 | None = None
    """Of the content, in hex; refused when it is another."""


class Which(Parameters):
    """One of the two."""

    path: TreePath | None = None
    id: Annotated[str, Field(description="What the upload has answered.")] | None = None


# What is to blame

#: The parameter that a store's error is about.
_BLAMED: tuple[tuple[tuple[type[StoreError], ...], str], ...] = (
    ((NotFound, ParentMissing, NotAFolder, IsAFolder, InvalidName), "path"),
    ((NoSuchUpload, UploadInUse, UploadFinished), "upload"),
    ((LengthMismatch,), "size"),
    ((DigestMismatch,), "sha256"),
)


def blame(error: StoreError) -> Answer:
    """The problem that a store's error is, with the parameter of these endpoints that is wrong."""
    field = next((field for kinds, field in _BLAMED if isinstance(error, kinds)), None)
    if isinstance(error, DigestMismatch):
        sent = asked.environ()
        said = (each.name for each in openapi.DIGESTS)
        field = next((name for name in said if _key_of(name) in sent), field)
    return problems.of_store(error, field).response()


def _key_of(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


blueprint.register_error_handler(StoreError, blame)


# The share


def share_of(realm: Realm, settings: Rest) -> Share | None:
    """The share that these endpoints work on, None when there is none that they can."""
    if settings.share is not None:
        found = realm.shares.get(settings.share)
        return found if found is not None and isinstance(found.store, TakesParts) else None
    return next(
        (share for share in realm.shares.values() if isinstance(share.store, TakesParts)), None
    )


def in_share(path: str) -> Request:
    """The request with `path`, of the share's tree, as what it is about.

    Raises a problem: there is no such share (501), or the path leads out of it.
    """
    share = _share()
    text = path if path.startswith("/") else "/" + path
    request = asked.about(share.mount.rstrip("/") + text)
    if request.share is not share:
        sentence = "Another share is mounted at this path; see upload, download and list."
        raise Problem(409, "other-share", sentence, field="path")
    if request.has_slash or request.path == paths.ROOT:
        raise Problem(409, "is-a-folder", "A file's path does not end in a slash.", field="path")
    return request


def _share() -> Share:
    app = flask.current_app
    found = share_of(asked.realm(), app.extensions["davstore.rest"])
    if found is None:
        sentence = "No share of this server is kept in MongoDB, which this endpoint needs."
        raise Problem(501, "no-such-share", sentence)
    return found


def takes_parts(share: Share) -> TakesParts:
    """The store of the share that these endpoints work on."""
    assert isinstance(share.store, TakesParts)
    return share.store


def stored(request: Request, done: Committed) -> Answer:
    """The answer to an upload that has become a file."""
    document: dict[str, Any] = answers.node_document(request.path, done.node)
    document |= {"id": done.node.id, "href": request.href(request.url_path, is_folder=False)}
    headers = answers.validators(done.node)
    if done.created:
        headers.append(("Location", asked.own_url("download", request.url_path)))
    return answers.as_json(document, 201 if done.created else 200, headers)


# The endpoints


@blueprint.route("/check", methods=["GET", "POST"])
@operation(
    Success(200, "All shares answer.", {"text/plain": openapi.TEXT}),
    changes=False,
)
def check() -> Answer:
    """Answer `success` when every share takes reads and writes now."""
    asked.query(NoParameters)
    for mount, share in asked.realm().shares.items():
        try:
            if isinstance(share.store, Probed):
                share.store.probe(_PATIENCE)
            else:
                share.store.stat(Context(), paths.ROOT)
        except StoreError as error:
            raise Unavailable(mount, f"The share {mount} does not work: {error.detail}") from error
    return Answer(b"success", 200, content_type="text/plain; charset=utf-8")


@blueprint.route("/mongodb/uploadsmall", methods=["POST", "PUT"])
@operation(
    Success(200, "The file has the content now.", json_of(Stored), openapi.VALIDATORS),
    Success(201, "The file was made.", json_of(Stored), openapi.MADE),
    parameters=Small,
    content=Content("The file's content, of any type; or a form.", is_form=True),
    headers=(*openapi.CONDITIONS, *openapi.DIGESTS, openapi.OC_MTIME),
    problems=(
        *openapi.OF_TARGETS,
        "parent-missing",
        "is-a-folder",
        "other-share",
        "no-such-share",
        "length-mismatch",
        "digest-mismatch",
        "too-large",
    ),
)
def upload_small() -> Answer:
    """Make the body, or the form's `file`, the content of a small file.

    Small is what the store keeps in one document: `help` tells how many bytes that may be.
    """
    parameters = asked.query_fields()
    content = incoming(asked.environ())
    wanted = asked.checked(Small, asked.merged(parameters, content.fields))
    request = in_share(wanted.path)
    asked.require(request, Action.WRITE)
    most = takes_parts(request.share).part_rules().small
    if content.length is not None:
        _must_be_small(content.length, most)
    small = Incoming(
        content.fields, content.content_type, content.length, _limited(content.blocks(), most)
    )
    kept = files.Upload(sha256=wanted.sha256, size=wanted.size)
    return stored(request, files.receive(request, small, kept))


def _limited(blocks: Iterator[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        _must_be_small(size, most)
        yield block


def _must_be_small(size: int, most: int) -> None:
    if size > most:
        sentence = (
            f"A small file has at most {most} bytes here; send a larger one in chunks, with"
            " mongodb/uploadlargechunk."
        )
        raise Problem(413, "too-large", sentence, field="body")


#: What the three downloads have in common; their answers differ in one header.
_declared = operation(
    Success(200, "The content.", openapi.ANY_CONTENT, openapi.DOWNLOADED),
    Success(206, "The part that was asked for.", openapi.ANY_CONTENT, openapi.PART),
    Success(304, "The client has it already.", {}, openapi.KNOWN),
    parameters=Which,
    headers=(*openapi.READ_CONDITIONS, openapi.RANGE, openapi.IF_RANGE),
    problems=(
        *openapi.OF_TARGETS,
        "is-a-folder",
        "other-share",
        "no-such-share",
        "range-not-satisfiable",
        "damaged",
    ),
)


@blueprint.route("/mongo/downloadsmall", methods=["GET"])
@_declared
def download_small() -> Answer:
    """The content of the file with this `path` or `id`, whatever its size."""
    return _download(as_attachment=False)


@blueprint.route("/mongo/downloadlarge", methods=["GET"])
@_declared
def download_large() -> Answer:
    """The content of the file with this `path` or `id`, or the part that was asked for."""
    return _download(as_attachment=False)


@blueprint.route("/mongo/downloadsmallasfile", methods=["GET"])
@_declared
def download_small_as_file() -> Answer:
    """The content of the file with this `path` or `id`, for a browser to save under its name."""
    return _download(as_attachment=True)


def _download(*, as_attachment: bool) -> Answer:
    wanted = asked.query(Which)
    if (wanted.path is None) == (wanted.id is None):
        code = "parameter-missing" if wanted.path is None else "parameter-invalid"
        raise Problem(400, code, "Say either path or id of the file.", field="path")
    if wanted.path is not None:
        request = in_share(wanted.path)
        asked.require(request, Action.READ)
        return answers.of_dav(get_file(request, as_attachment=as_attachment))
    for _ in range(_LOOKS):
        request = _lead_by_id(str(wanted.id))
        found = _of_id(request, str(wanted.id), as_attachment=as_attachment)
        if found is not None:
            return answers.of_dav(found)
    raise Unavailable(paths.ROOT, "This file changes its place all the time; try again.")


def _lead_by_id(node_id: str) -> Request:
    """The request with the place of this node as what it is about."""
    store = _share().store
    assert isinstance(store, FindsById)
    try:
        path = store.path_of(Context(), node_id)
    except NotFound as error:
        raise problems.of_store(error, "id") from None
    request = in_share(path)
    asked.require(request, Action.READ)
    return request


def _of_id(request: Request, node_id: str, *, as_attachment: bool) -> Response | None:
    """The answer, when what lies there is that node still; None when it has been moved.

    An entity tag is no other node's, so what was opened is what was looked at.
    """
    node = request.stat()
    if node is None or node.id != node_id:
        return None
    response = get_file(request, as_attachment=as_attachment)
    if dict(response.headers).get("ETag") == quote_etag(node):
        return response
    close = getattr(response.body, "close", None)
    if close is not None:
        close()
    return None
