"""Single files and folders: upload, download, delete, stat."""

from __future__ import annotations

from typing import Annotated, Literal

import flask
from pydantic import Field, StringConstraints

from davstore.auth.base import Action
from davstore.dav.guard import RequestGuard
from davstore.dav.methods.get import get_file
from davstore.dav.methods.put import BLOCK, known_type
from davstore.dav.request import Request
from davstore.errors import (
    DigestMismatch,
    IsAFolder,
    LengthMismatch,
    NotAFolder,
    NotFound,
    PreconditionFailed,
)
from davstore.stores.base import Attributes, Committed, Effect, Guard, Node
from davstore.web.rest import answers, asked, digests, openapi, problems, shapes
from davstore.web.rest.answers import Answer
from davstore.web.rest.asked import Flag, Moment, NoParameters, Parameters, Whole
from davstore.web.rest.incoming import Incoming, incoming
from davstore.web.rest.openapi import Content, Success, json_of, operation
from davstore.web.rest.problems import NotOverwritten, Problem, invalid

blueprint = flask.Blueprint("files", __name__)

#: What a digest in hexadecimal is.
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")]


class Upload(Parameters):
    sha256: Sha256 | None = None
    """In lower-case or upper-case hex; the content is refused when it has another."""
    size: Annotated[Whole, Field(ge=0, le=2**63 - 1)] | None = None
    """Bytes; the content is refused when it has more or fewer."""
    overwrite: Flag = True
    """Whether a file that is there may be replaced."""
    modified: Moment | None = None
    """The file's own time."""


class Download(Parameters):
    as_: Annotated[Literal["inline", "attachment"], Field(alias="as")] = "inline"
    """`attachment` has a browser save the file, under its name."""


@blueprint.route("/upload/<target:target>", methods=["POST", "PUT"])
@operation(
    Success(200, "The file has the content now.", json_of(shapes.FileEntry), openapi.VALIDATORS),
    Success(201, "The file was made.", json_of(shapes.FileEntry), openapi.MADE),
    parameters=Upload,
    content=Content("The file's content, of any type; or a form.", is_form=True),
    headers=(*openapi.CONDITIONS, *openapi.DIGESTS, openapi.OC_MTIME),
    problems=("parent-missing", "is-a-folder", "exists", "length-mismatch", "digest-mismatch"),
)
def upload(target: str) -> Answer:
    """Make the body, or the form's `file`, the content of the file: all of it or nothing."""
    request = asked.about("/" + target)
    asked.require(request, Action.WRITE)
    if request.has_slash:
        raise NotAFolder(request.path, "A file's address does not end in a slash.")
    if request.header("CONTENT_RANGE") is not None:
        raise invalid("Content-Range", "A part of a file cannot be uploaded like this.")
    parameters = asked.query_fields()
    content = incoming(request.environ)
    wanted = asked.checked(Upload, asked.merged(parameters, content.fields))
    done = receive(request, content, wanted)
    headers = answers.validators(done.node)
    if done.created:
        headers.append(("Location", asked.own_url("download", request.url_path)))
    document = answers.node_document(request.url_path, done.node)
    return answers.as_json(document, 201 if done.created else 200, headers)


def receive(request: Request, content: Incoming, wanted: Upload) -> Committed:
    """Keep `content` at the path of `request`. Nothing is there before all of it is checked."""
    conditions = asked.guard(request)
    guard: Guard = conditions if wanted.overwrite else OnlyNew(conditions)
    said = {"sha256": wanted.sha256}
    expected = digests.announced(request.environ, said)
    length = content.length if wanted.size is None else wanted.size
    if content.length is not None and content.length != length:
        raise Problem(400, "length-mismatch", f"The body has {content.length} bytes.", field="size")
    node = request.stat()
    if node is not None and node.is_folder:
        raise IsAFolder(request.path)
    if _is_worth_asking_first(request):
        guard.judge(request.path, node, Effect.CREATE if node is None else Effect.MODIFY)
    modified = asked.own_time(request) if wanted.modified is None else wanted.modified
    attributes = Attributes(known_type(content.content_type), modified)
    with request.store.upload(request.ctx, request.path, attributes) as arriving:
        for block in content.blocks():
            arriving.write(block)
        try:
            return arriving.commit(
                expected_length=length, expected_digests=expected or None, guard=guard
            )
        except LengthMismatch as error:
            raise problems.of_store(error, "size") from None
        except DigestMismatch as error:
            raise problems.of_store(error, digests.first_place(request.environ, said)) from None


class OnlyNew:
    """The request's guard, and that nothing is there yet."""

    def __init__(self, inner: RequestGuard) -> None:
        self._inner = inner

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        """See `davstore.stores.base.Guard`."""
        if node is not None and path == self._inner.path:
            raise NotOverwritten(path)
        self._inner.judge(path, node, effect)


def _is_worth_asking_first(request: Request) -> bool:
    """Whether a refusal should come before the body; the commit judges in any case."""
    length = request.environ.get("CONTENT_LENGTH")
    return not length or int(length) > BLOCK or request.header("EXPECT") is not None


@blueprint.route("/download/<target:target>", methods=["GET"])
@operation(
    Success(200, "The content.", openapi.ANY_CONTENT, openapi.DOWNLOADED),
    Success(206, "The part; of several, multipart/byteranges.", openapi.ANY_CONTENT, openapi.PART),
    Success(304, "The client has it already.", headers=openapi.KNOWN),
    parameters=Download,
    headers=(*openapi.READ_CONDITIONS, openapi.RANGE, openapi.IF_RANGE),
    problems=("is-a-folder", "range-not-satisfiable", "damaged"),
)
def download(target: str) -> Answer:
    """The file, or the part that was asked for."""
    request = asked.about("/" + target)
    asked.require(request, Action.READ)
    wanted = asked.query(Download)
    return answers.of_dav(get_file(request, as_attachment=wanted.as_ == "attachment"))


@blueprint.route("/stat/<target:target>", methods=["GET"])
@operation(
    Success(200, "What is there.", json_of(shapes.Entry), openapi.VALIDATORS),
    Success(304, "The client knows it already.", headers=openapi.KNOWN),
    headers=openapi.READ_CONDITIONS,
)
def stat(target: str) -> Answer:
    """What is known of the file or folder."""
    request = asked.about("/" + target)
    asked.require(request, Action.READ)
    asked.query(NoParameters)
    node = there(request)
    request.guard().check_if_header(node)
    conditions = request.conditions
    if conditions.fails(node):
        raise PreconditionFailed(request.path, "If-Match or If-Unmodified-Since does not hold.")
    headers = answers.validators(node)
    if conditions.is_known(node) or conditions.is_unmodified(node):
        return Answer(status=304, headers=headers)
    return answers.as_json(answers.node_document(request.url_path, node), 200, headers)


@blueprint.route("/delete/<target:target>", methods=["DELETE"])
@operation(Success(204, "It is gone."), headers=openapi.CONDITIONS)
def delete(target: str) -> Answer:
    """Take away the file, or the folder with all that is in it: in one step."""
    request = asked.about("/" + target)
    asked.require(request, Action.DELETE)
    asked.query(NoParameters)
    there(request)
    request.store.delete(request.ctx, request.path, asked.guard(request))
    # After the deletion: a lock that stays for a moment does no harm, one that goes too early does.
    request.locks.forget(request.url_path)
    return Answer(status=204)


def there(request: Request) -> Node:
    """What is at the request's path. Raises NotFound."""
    node = request.stat()
    if node is None:
        raise NotFound(request.path)
    return node
