"""What this face can do: for programs as an OpenAPI document, for people as a page."""

from __future__ import annotations

import functools
from typing import Any

import flask

from davstore.config import Rest
from davstore.dav.request import Realm
from davstore.web.rest import answers, asked, describing, help_page, openapi, paging, parts
from davstore.web.rest.answers import JSON, Answer
from davstore.web.rest.asked import NoParameters
from davstore.web.rest.openapi import Success, operation

blueprint = flask.Blueprint("help", __name__)

_HTML = "text/html"
#: What a client gets that does not care comes first.
_OFFERED = (JSON, describing.MEDIA_TYPE, _HTML)

_OBJECT: openapi.Schema = {"type": "object", "required": ["openapi", "paths"]}


@blueprint.route("/help", methods=["GET"])
@operation(
    Success(
        200,
        "The OpenAPI document; or, as HTML, a page to read.",
        {JSON: _OBJECT, describing.MEDIA_TYPE: _OBJECT, _HTML: openapi.TEXT},
        (openapi.VARY,),
    ),
)
def help_() -> Answer:
    """What the endpoints take, do and answer, and the limits that hold here.

    `x-limits` in the document has the sizes: of chunks, of what is small, of pages.
    """
    asked.query(NoParameters)
    document = own_document()
    kind = flask.request.accept_mimetypes.best_match(_OFFERED, default=JSON)
    headers = [("Vary", "Accept"), ("Cache-Control", "no-cache")]
    if kind == _HTML:
        headers.append(("Content-Security-Policy", help_page.CONTENT_SECURITY_POLICY))
        page = help_page.render(document)
        return Answer(page, 200, headers, content_type="text/html; charset=utf-8")
    answer = answers.as_json(document, 200, headers)
    answer.content_type = kind
    return answer


def own_document() -> dict[str, Any]:
    """The document as it holds for the request that is being answered: its addresses begin
    with those that the client used."""
    app: flask.Flask = flask.current_app._get_current_object()  # type: ignore[attr-defined]
    realm = asked.realm()
    settings: Rest = app.extensions["davstore.rest"]
    used: str = asked.environ().get("SCRIPT_NAME", "")
    above = used.rpartition("/")[0]
    bases = sorted((f"{above}/{version}" for version in describing.VERSIONS), key=used.__ne__)
    document = _general(app, realm.authority.allows_anonymous)
    servers = [{"url": base} for base in bases]
    return {**document, "servers": servers, "x-limits": limits(realm, settings)}


@functools.cache
def _general(app: flask.Flask, anonymous: bool) -> dict[str, Any]:
    """What is the same for all requests of a process."""
    return describing.describe(app, anonymous)


def limits(realm: Realm, settings: Rest) -> dict[str, int]:
    """The sizes in bytes, numbers and seconds that clients have to keep to; by name.

    Those of chunks are of the share that the original endpoints work on, if there is one.
    Raises Unavailable while it does not answer.
    """
    return {
        "page_entries": paging.USUAL,
        "page_entries_most": paging.MOST,
        "parameters_bytes": realm.settings.xml_bytes,
        **parts.rules_of(realm, settings),
    }
