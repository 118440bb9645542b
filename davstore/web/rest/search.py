"""Search below a folder: by name, kind, size and time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import flask
from pydantic import Field

from davstore import paths
from davstore.auth.base import Action
from davstore.dav.request import Request
from davstore.errors import DeadlineExceeded, InvalidName, NotAFolder, NotFound
from davstore.stores.base import Node
from davstore.web.rest import answers, asked, openapi, shapes
from davstore.web.rest.answers import JSON, NDJSON, Answer
from davstore.web.rest.asked import Moment, Parameters, UrlPath, Whole
from davstore.web.rest.folders import as_lines
from davstore.web.rest.globs import Glob, matcher
from davstore.web.rest.openapi import Success, operation
from davstore.web.rest.paging import (
    USUAL,
    Cursor,
    Limit,
    cursor_invalid,
    cursor_of,
    key_of,
    wants_stream,
)

blueprint = flask.Blueprint("search", __name__)

#: For one page, whatever is found until then: nodes that are looked at, and seconds.
_MOST_EXAMINED = 20_000
_MOST_SECONDS = 2.0
#: However long they take: to open a huge folder again can take that time by itself.
_LEAST_EXAMINED = 1000

#: Folders within each other that are open at once; those above are opened again.
_MOST_OPEN = 16

Size = Annotated[Whole, Field(ge=0, le=2**63 - 1)]


class Search(Parameters):
    """What has to hold, all of it. `next` of a page is the `cursor` of the following one."""

    below: UrlPath = "/"
    """The path of the folder; the shares that are mounted below it are not looked at."""
    name: Glob | None = None
    """Only names that fit: `*.txt`."""
    kind: Literal["file", "folder"] | None = None
    """Only these."""
    size_from: Size | None = None
    """At least so many bytes. A folder has none."""
    size_to: Size | None = None
    """At most so many bytes."""
    modified_from: Moment | None = None
    """Only what was changed then or later."""
    modified_to: Moment | None = None
    """Only what was changed then or earlier."""
    limit: Limit | None = None
    """Entries of a page, at most."""
    cursor: Cursor | None = None
    """`next` of the page before."""

    def fits(self, node: Node) -> bool:
        """Everything but the name."""
        if self.kind is not None and node.is_folder != (self.kind == "folder"):
            return False
        sized = self.size_from is not None or self.size_to is not None
        if sized and (node.is_folder or not _between(node.size, self.size_from, self.size_to)):
            return False
        return _between(int(node.modified), self.modified_from, self.modified_to)


def _between(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


@blueprint.route("/search", methods=["POST"])
@operation(
    Success(
        200,
        "A page; or, as NDJSON, all that was found, one per line.",
        {JSON: shapes.Found, NDJSON: shapes.Entry},
        (openapi.VARY,),
    ),
    parameters=Search,
    in_body=True,
    problems=("cursor-invalid", *openapi.OF_TARGETS),
    changes=False,
)
def search() -> Answer:
    """What fits, folder by folder in the order of names: a page, or all as a stream of lines.

    A page ends early when much was looked at: it may be short, or empty, with a `next`.
    """
    wanted = asked.query_and_body(Search)
    request = asked.about_path(wanted.below, "below")
    asked.require(request, Action.READ)
    start = key_of("search", wanted.cursor, str)
    if not request.store.stat(request.ctx, request.path).is_folder:
        raise NotAFolder(request.path)
    walk = Walk(request, None if start is None else _within(request, start[1]))
    fits = matcher(wanted.name)
    if wants_stream(request.environ):
        found = (
            answers.node_document(path, node)
            for path, node in walk
            if fits(node.name) and wanted.fits(node) and _may_see(request, path)
        )
        return as_lines(itertools.islice(found, wanted.limit))
    entries: list[dict[str, Any]] = []
    limit = wanted.limit or USUAL
    until = time.monotonic() + _MOST_SECONDS
    for examined, (path, node) in enumerate(walk, 1):
        if fits(node.name) and wanted.fits(node) and _may_see(request, path):
            entries.append(answers.node_document(path, node))
        is_long = examined >= _LEAST_EXAMINED and time.monotonic() > until
        if len(entries) >= limit or examined >= _MOST_EXAMINED or is_long:
            walk.close()
            return _page(request, entries, cursor_of("search", ("", path)))
    return _page(request, entries, None)


def _page(request: Request, entries: list[dict[str, Any]], following: str | None) -> Answer:
    document = {"below": request.url_path, "entries": entries, "next": following}
    return answers.as_json(document, 200, [("Vary", "Accept")])


def _within(request: Request, path: str) -> str:
    """The path of a cursor, which has to lie below the folder that is searched."""
    try:
        made = paths.normalise(path)
    except InvalidName:
        raise cursor_invalid() from None
    if made == request.url_path or not paths.is_within(made, request.url_path):
        raise cursor_invalid()
    return made


def _may_see(request: Request, path: str) -> bool:
    return request.realm.authority.may(request.identity, Action.READ, path)


@dataclass(slots=True)
class _Level:
    """A folder on the way down. Its members after `after` are still to come."""

    path: str
    after: str | None
    members: Iterator[Node] | None = None


class Walk:
    """All that lies below the request's folder, each with its path, a folder before its members.

    Paths are those of the URL space: where another share is mounted, it goes on in that one.
    What is held is the way down to where it is; of that only the last few folders are open.
    What comes or goes meanwhile may be seen or not.
    """

    def __init__(self, request: Request, start: str | None) -> None:
        self._request = request
        self._levels = [_Level(request.url_path, None)]
        if start is not None:
            self._resume(start)

    def _resume(self, start: str) -> None:
        """Go on after `start`: with its own members, if it is a folder."""
        top = self._request.url_path
        rest = paths.names(paths.rebase(start, top, paths.ROOT))
        folder = top
        for name in rest:
            self._levels[-1].after = name
            folder = paths.join(folder, name)
            self._levels.append(_Level(folder, None))

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        deadline = self._request.ctx.deadline
        while self._levels:
            level = self._levels[-1]
            node = self._next(level)
            if node is None:
                self._levels.pop()
                continue
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(level.path)
            path = paths.join(level.path, node.name)
            if node.is_folder:
                self._levels.append(_Level(path, None))
                self._close_above()
            yield path, node

    def close(self) -> None:
        """Give back what is open."""
        for level in self._levels:
            _close(level)

    def _next(self, level: _Level) -> Node | None:
        if level.members is None:
            try:
                share, path = self._request.realm.find(level.path)
                level.members = share.store.list(self._request.ctx, path, level.after)
            except (NotFound, NotAFolder):
                return None  # it is gone, or the start of a page was a file
        node = next(level.members, None)
        if node is not None:
            level.after = node.name
        return node

    def _close_above(self) -> None:
        if len(self._levels) > _MOST_OPEN:
            _close(self._levels[-_MOST_OPEN - 1])


def _close(level: _Level) -> None:
    close = getattr(level.members, "close", None)
    if close is not None:
        close()
    level.members = None
