"""Folders: what is in one, and new ones."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import flask

from davstore import paths
from davstore.auth.base import Action
from davstore.dav.request import Request
from davstore.errors import Exists, NotFound
from davstore.stores.base import Guard, Node
from davstore.web.rest import answers, asked, openapi, shapes
from davstore.web.rest.answers import JSON, NDJSON, Answer
from davstore.web.rest.asked import Flag, Parameters
from davstore.web.rest.globs import Glob, matcher
from davstore.web.rest.openapi import Success, json_of, operation
from davstore.web.rest.paging import (
    USUAL,
    Cursor,
    Key,
    Limit,
    cursor_of,
    key_of,
    wants_stream,
)
from davstore.web.rest.problems import invalid

blueprint = flask.Blueprint("folders", __name__)

Sort = Literal["name", "size", "-size", "modified", "-modified"]

#: Where a node comes in each order but the one by name, which is the stores' own.
_KEYS: Mapping[str, Callable[[Node], Key]] = {
    "size": lambda node: (node.size, node.name),
    "-size": lambda node: (-node.size, node.name),
    "modified": lambda node: (int(node.modified), node.name),
    "-modified": lambda node: (-int(node.modified), node.name),
}

#: Members that are looked at for one page of a filtered listing, however few of them fit.
_MOST_EXAMINED = 50_000

#: Lines of a stream that go out together.
_LINES = 200


class Listing(Parameters):
    limit: Limit | None = None
    """Entries of a page, at most."""
    cursor: Cursor | None = None
    """`next` of the page before."""
    sort: Sort = "name"
    """By name in code point order; or by size or time: each page looks at the whole folder."""
    match: Glob | None = None
    """Only names that fit: `*.txt`."""


class NewFolder(Parameters):
    parents: Flag = False
    """Make the folders above as well, and take a folder that is there for the new one."""


@blueprint.route("/list", methods=["GET"], defaults={"target": ""})
@blueprint.route("/list/<target:target>", methods=["GET"])
@operation(
    Success(
        200,
        "A page; or, as NDJSON, all entries, one per line.",
        {JSON: shapes.Page, NDJSON: shapes.Entry},
        (openapi.VARY,),
    ),
    parameters=Listing,
    problems=("cursor-invalid", *openapi.OF_TARGETS),
)
def list_(target: str) -> Answer:
    """The members of a folder: a page of them, or all as a stream of lines."""
    request = asked.about("/" + target)
    asked.require(request, Action.READ)
    wanted = asked.query(Listing)
    if wants_stream(request.environ):
        return _stream(request, wanted)
    limit = wanted.limit or USUAL
    page = _by_name if wanted.sort == "name" else _by_key
    entries, following = page(request, wanted, limit)
    document = {
        "path": request.url_path,
        "entries": [entry(request, node) for node in entries],
        "next": following,
    }
    headers = [("Vary", "Accept")]
    return answers.as_json(document, 200, headers)


def entry(request: Request, node: Node) -> dict[str, Any]:
    """A member of the request's folder."""
    return answers.node_document(paths.join(request.url_path, node.name), node)


def _by_name(request: Request, wanted: Listing, limit: int) -> tuple[list[Node], str | None]:
    """A page, and the cursor of the next. It goes on from a name: nothing is counted off.

    Where few names fit, the page ends early, so that it takes no longer than others.
    """
    start = key_of("name", wanted.cursor, str)
    after = None if start is None else start[1]
    fits = matcher(wanted.match)
    most = limit + 1 if wanted.match is None else _MOST_EXAMINED
    nodes: list[Node] = []
    members = request.store.list(request.ctx, request.path, after, most)
    # One more than is taken: whether it is there is whether another page is.
    for node in itertools.islice(members, most - 1):
        after = node.name
        if fits(node.name):
            nodes.append(node)
        if len(nodes) == limit:
            break
    is_last = next(members, None) is None
    return nodes, None if is_last else cursor_of("name", ("", after or ""))


def _by_key(request: Request, wanted: Listing, limit: int) -> tuple[list[Node], str | None]:
    """The whole folder is looked at, and no more of it is held than the page."""
    key = _KEYS[wanted.sort]
    start = key_of(wanted.sort, wanted.cursor, float)
    fits = matcher(wanted.match)
    members = request.store.list(request.ctx, request.path)
    rest = (node for node in members if fits(node.name) and _is_after(key(node), start))
    nodes = heapq.nsmallest(limit + 1, rest, key=key)
    if len(nodes) <= limit:
        return nodes, None
    return nodes[:limit], cursor_of(wanted.sort, key(nodes[limit - 1]))


def _is_after(key: Key, start: Key | None) -> bool:
    return start is None or key > start


def _stream(request: Request, wanted: Listing) -> Answer:
    if wanted.sort != "name":
        raise invalid("sort", f"A stream ({NDJSON}) comes in the order of names only.")
    start = key_of("name", wanted.cursor, str)
    fits = matcher(wanted.match)
    members = request.store.list(request.ctx, request.path, None if start is None else start[1])
    documents = (entry(request, node) for node in members if fits(node.name))
    return as_lines(itertools.islice(documents, wanted.limit))


def as_lines(documents: Iterator[dict[str, Any]]) -> Answer:
    """One JSON document per line, sent as they are found. What fails then cuts the answer."""

    def blocks() -> Iterator[bytes]:
        while batch := list(itertools.islice(documents, _LINES)):
            yield "".join(f"{answers.to_json(each)}\n" for each in batch).encode()

    answer = answers.streamed(blocks(), NDJSON)
    answer.headers["Vary"] = "Accept"
    return answer


@blueprint.route("/mkdir/<target:target>", methods=["POST"])
@operation(
    Success(200, "The folder was there already.", json_of(shapes.FolderEntry), openapi.VALIDATORS),
    Success(201, "The folder was made.", json_of(shapes.FolderEntry), openapi.MADE),
    parameters=NewFolder,
    in_body=True,
    headers=openapi.CONDITIONS,
    problems=("parent-missing", "exists"),
)
def mkdir(target: str) -> Answer:
    """Make a folder."""
    request = asked.about("/" + target)
    asked.require(request, Action.WRITE)
    wanted = asked.query_and_body(NewFolder)
    guard = asked.guard(request)
    created = True
    if wanted.parents:
        make_parents(request, guard)
    try:
        node = request.store.create_folder(request.ctx, request.path, guard)
    except Exists:
        node = request.store.stat(request.ctx, request.path)
        if not (wanted.parents and node.is_folder):
            raise
        created = False
    headers = answers.validators(node)
    if created:
        headers.append(("Location", asked.own_url("list", request.url_path)))
    document = answers.node_document(request.url_path, node)
    return answers.as_json(document, 201 if created else 200, headers)


def make_parents(request: Request, guard: Guard) -> None:
    """Make the folders above the request's path that are missing, from the top down.

    Each is a step of its own: when one fails (it is locked, a file is there), those above it
    stay, and to ask again goes on from there. Raises as `Store.create_folder`, but not Exists.
    """
    missing = []
    folder = paths.parent(request.path)
    while folder != paths.ROOT and not _is_there(request, folder):
        missing.append(folder)
        folder = paths.parent(folder)
    for path in reversed(missing):
        request.require(Action.WRITE, path=path)
        try:
            request.store.create_folder(request.ctx, path, guard)
        except Exists:
            # Somebody else has made it just now; if it is a file, the next step says so.
            continue


def _is_there(request: Request, path: str) -> bool:
    try:
        request.store.stat(request.ctx, path)
    except NotFound:
        return False
    return True
