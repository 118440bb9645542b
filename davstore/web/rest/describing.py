"""The OpenAPI 3.1 document of the REST face, made of what the endpoints declare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import flask
from pydantic import BaseModel
from werkzeug.routing import Rule

from davstore import __version__
from davstore.web.rest import problems
from davstore.web.rest.answers import JSON
from davstore.web.rest.asked import FORM, Parameters
from davstore.web.rest.openapi import (
    Header,
    Media,
    Operation,
    Success,
    declared,
    problems_of,
)
from davstore.web.rest.shapes import ProblemDocument

#: The media type of the document (registered with the IANA as for OpenAPI 3.1).
MEDIA_TYPE = "application/openapi+json"

#: Both answer everywhere: the design's endpoints are written with either.
VERSIONS = ("v1.0.0", "v1.0.0.0")

_COMPONENTS = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"<(?:[^<>:]*:)?([^<>:]+)>")
_FORM_DATA = "multipart/form-data"

_INTRODUCTION = (
    "Files and folders over plain HTTP: a verb, then the path that it is about. "
    "Whatever is refused is answered by a problem document (RFC 9457) whose `code` says why. "
    "A parameter that an endpoint does not know is refused, so that a mistyped one does no harm."
)

_IN_BODY = "The parameters can stand in the query as well; each of them in one place only."

#: What stands in an address, by its name in the route.
_IN_PATH: Mapping[str, str] = {
    "target": (
        "The path of a file or folder, from the root of all shares. Its slashes stand as they"
        " are; everything else is percent-encoded."
    ),
    "upload": "What the address says that the upload was given at its beginning.",
}

#: Header fields that come with a problem, by status.
_WITH_PROBLEMS: Mapping[int, Header] = {
    401: Header("WWW-Authenticate", "How to say who one is (RFC 7617).", always=True),
    503: Header("Retry-After", "Seconds after which it is worth another try."),
}


#: What the server says before the request comes to this face, in a line of text.
_BY_SERVER: Mapping[int, str] = {
    414: "The address is too long.",
    431: "The head of the request is too long.",
}


def operations(app: flask.Flask) -> Iterator[tuple[Rule, str, Operation | None]]:
    """Every endpoint with its method and what it declares, in the order of addresses.

    HEAD and OPTIONS are Flask's own and not among them.
    """
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, declared(app.view_functions[rule.endpoint])


def describe(app: flask.Flask, anonymous: bool) -> dict[str, Any]:
    """The document, but for `servers`: the addresses below which the face answers.

    `anonymous`: whether requests without a name are let in.
    """
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, found in operations(app):
        if found is not None:
            item = paths.setdefault(_template(rule.rule), {})
            item[method.lower()] = _operation(rule.rule, method, found, schemas)
    who: list[dict[str, list[str]]] = [{"basic": []}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "davstore", "version": __version__, "description": _INTRODUCTION},
        "security": [*who, {}] if anonymous else who,
        "paths": paths,
        "components": {
            "schemas": schemas.made,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "x-problems": {
            code: {"status": status, "title": title}
            for code, (status, title) in problems.CATALOGUE.items()
        },
    }


class Schemas:
    """The models that were met, each by its name, for all who refer to it."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def of(self, found: type[BaseModel] | Mapping[str, Any]) -> dict[str, Any]:
        """A reference to the model's schema; a schema as it is."""
        if not isinstance(found, type):
            return dict(found)
        self.made[found.__name__] = self.whole(found, "serialization")
        return {"$ref": _COMPONENTS.format(model=found.__name__)}

    def whole(self, model: type[BaseModel], mode: Any = "validation") -> dict[str, Any]:
        """The schema itself; what it refers to is kept."""
        schema = model.model_json_schema(ref_template=_COMPONENTS, mode=mode)
        self.made.update(schema.pop("$defs", {}))
        return schema


def _template(rule: str) -> str:
    return _VARIABLE.sub(r"{\1}", rule)


def _operation(rule: str, method: str, found: Operation, schemas: Schemas) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation_id(rule, method),
        "summary": found.summary,
        "description": "\n\n".join(filter(None, [found.description, _IN_BODY * found.in_body])),
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "description": _IN_PATH[name]}
                | {"schema": {"type": "string", "minLength": 1}}
                for name in _VARIABLE.findall(rule)
            ),
            *([] if found.in_body else _in_query(found.parameters, schemas)),
            *(_header(each) | {"name": each.name, "in": "header"} for each in found.headers),
        ],
        "responses": _responses(rule, method, found, schemas),
    }
    body = _body(found, schemas)
    return made if body is None else {**made, "requestBody": body}


def operation_id(rule: str, method: str) -> str:
    """Such as "put-upload-target": a name in the document, and an anchor of the page."""
    return "-".join([method.lower(), *re.findall(r"\w+", _template(rule))])


def _in_query(model: type[Parameters], schemas: Schemas) -> Iterator[dict[str, Any]]:
    whole = _flat(schemas.whole(model))
    for name, schema in whole.get("properties", {}).items():
        described = {"description": schema.pop("description")} if "description" in schema else {}
        yield {
            "name": name,
            "in": "query",
            "required": name in whole.get("required", ()),
            **described,
            "schema": schema,
        }


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Of parameters that come as texts: what can be left out is left out, never null."""
    for each in schema.get("properties", {}).values():
        kinds = [kind for kind in each.get("anyOf", ()) if kind != {"type": "null"}]
        if each.get("default", ...) is None:
            del each["default"]
        if len(kinds) == 1:
            del each["anyOf"]
            each.update({**kinds[0], **each})
        elif kinds:
            each["anyOf"] = kinds
        each.pop("title", None)
    return schema


def _body(found: Operation, schemas: Schemas) -> dict[str, Any] | None:
    if found.in_body:
        media = {
            JSON: {"schema": schemas.whole(found.parameters)},
            FORM: {"schema": _flat(schemas.whole(found.parameters))},
        }
        return {"required": False, "content": media}
    content = found.content
    if content is None:
        return None
    kept: dict[str, Any] = {content.media_type: {"schema": {"type": "string", "format": "binary"}}}
    if content.is_form:
        form = _flat(schemas.whole(found.parameters))
        form.setdefault("properties", {})["file"] = {
            "type": "string",
            "format": "binary",
            "description": "The content; the last field of the form.",
        }
        form["required"] = [*form.get("required", ()), "file"]
        kept[_FORM_DATA] = {"schema": form}
    return {"required": content.is_required, "description": content.meaning, "content": kept}


def _responses(rule: str, method: str, found: Operation, schemas: Schemas) -> dict[str, Any]:
    made = {str(each.status): _success(each, schemas) for each in found.successes}
    by_status: dict[int, list[str]] = {}
    for code in problems_of(found, method, rule):
        by_status.setdefault(problems.CATALOGUE[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        made[str(status)] = _refusal(status, codes, schemas)
    for status, meaning in _BY_SERVER.items():
        made[str(status)] = {
            "description": meaning,
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    return made


def _success(found: Success, schemas: Schemas) -> dict[str, Any]:
    return _without_empty(
        {
            "description": found.meaning,
            "headers": {each.name: _header(each) for each in found.headers},
            "content": _content(found.media, schemas),
        }
    )


def _content(media: Media, schemas: Schemas) -> dict[str, Any]:
    return {name: {"schema": schemas.of(found)} for name, found in media.items()}


def _refusal(status: int, codes: list[str], schemas: Schemas) -> dict[str, Any]:
    narrowed = {"status": {"const": status}, "code": {"enum": codes}}
    schema = {"allOf": [schemas.of(ProblemDocument), {"properties": narrowed}]}
    header = _WITH_PROBLEMS.get(status)
    return _without_empty(
        {
            "description": f"{_phrase(status)}: " + ", ".join(codes),
            "headers": {} if header is None else {header.name: _header(header)},
            "content": {problems.MEDIA_TYPE: {"schema": schema}},
        }
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Checksum Mismatch"  # 460 is tus's own


def _header(header: Header) -> dict[str, Any]:
    return {
        "description": header.meaning,
        "required": header.always,
        "schema": dict(header.schema),
    }


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value != {}}
