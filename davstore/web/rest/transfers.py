"""Move and copy within a share."""

from __future__ import annotations

from typing import Any

import flask

from davstore import paths
from davstore.auth.base import Action
from davstore.dav.methods.transfer import Target, copy_to, move_to, prepare
from davstore.dav.request import Request
from davstore.errors import NotFound
from davstore.stores.base import Transfer
from davstore.web.rest import answers, asked, openapi, problems, shapes
from davstore.web.rest.answers import Answer
from davstore.web.rest.asked import Flag, Parameters, UrlPath
from davstore.web.rest.openapi import Success, json_of, operation
from davstore.web.rest.problems import Problem

blueprint = flask.Blueprint("transfers", __name__)

#: Members of a tree that could not be copied and are named in the answer.
_MOST_NAMED = 100


class Order(Parameters):
    destination: UrlPath
    """The path that it has afterwards, from the root of all shares; in JSON not percent-encoded."""
    overwrite: Flag = False
    """Whether what is there already is replaced, as a whole."""


_DONE = (
    Success(200, "What was there is replaced.", json_of(shapes.Transferred)),
    Success(201, "It is there now.", json_of(shapes.Transferred), (openapi.LOCATION,)),
)
_PROBLEMS = ("exists", "parent-missing", "is-a-folder", "into-itself", "other-share")


@blueprint.route("/move/<target:target>", methods=["POST"])
@operation(
    *_DONE,
    parameters=Order,
    in_body=True,
    headers=openapi.CONDITIONS,
    problems=_PROBLEMS,
)
def move(target: str) -> Answer:
    """Give a file or folder another path, in one step."""
    request = asked.about("/" + target)
    asked.require(request, Action.DELETE)
    order = _order()
    prepare(request, order)
    done = move_to(request, order, asked.guard(request))
    return _answer(request, order, done)


@blueprint.route("/copy/<target:target>", methods=["POST"])
@operation(
    *_DONE,
    parameters=Order,
    in_body=True,
    headers=openapi.CONDITIONS,
    problems=(*_PROBLEMS, "copied-in-part", "damaged"),
)
def copy(target: str) -> Answer:
    """Make a second one of a file, or of a folder with all that is in it."""
    request = asked.about("/" + target)
    asked.require(request, Action.READ)
    order = _order()
    node = prepare(request, order)
    done = copy_to(request, node, order, asked.guard(request), recursive=True)
    return _answer(request, order, done)


def _order() -> Target:
    wanted = asked.query_and_body(Order)
    there = asked.about_path(wanted.destination, "destination")
    asked.require(there, Action.WRITE)
    return Target(there.share, there.path, there.has_slash, wanted.overwrite)


def _answer(request: Request, order: Target, done: Transfer) -> Answer:
    if done.failures:
        raise _in_part(request, done)
    document: dict[str, Any] = {"path": order.url_path}
    headers = []
    try:
        node = request.store.stat(request.ctx, order.path)
    except NotFound:
        pass  # somebody has taken it away again; what was asked for has happened all the same
    else:
        document = answers.node_document(order.url_path, node)
        headers = answers.validators(node)
    if done.created:
        kind = "list" if document.get("kind") == "folder" else "download"
        headers.append(("Location", asked.own_url(kind, order.url_path)))
    return answers.as_json(document, 201 if done.created else 200, headers)


def _in_part(request: Request, done: Transfer) -> Problem:
    """Of a copied tree not everything could be read; the rest is there."""
    mount = request.share.mount
    failures = [
        {
            "path": paths.rebase(each.path, paths.ROOT, mount),
            "code": problems.of_store(each).code,
            "detail": each.detail,
        }
        for each in done.failures[:_MOST_NAMED]
    ]
    sentence = f"{len(done.failures)} members could not be copied; everything else was."
    return Problem(409, "copied-in-part", sentence, more={"failures": failures})
