"""One request of the REST face: what it is about, what it may do, what its parameters are.

Parameters are pydantic models, one per endpoint: what the code checks is what the OpenAPI
document tells. They come from the query, and where the endpoint says so from a JSON or form body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import flask
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.auth.base import Action
from davstore.dav import dates
from davstore.dav.guard import RequestGuard
from davstore.dav.methods.put import client_mtime
from davstore.dav.request import Environ, Realm, Request
from davstore.errors import InvalidName
from davstore.web.rest import problems
from davstore.web.rest.problems import Problem, invalid

#: Key of the environ: the path that a proxy cut off, which comes before every address.
PREFIX_KEY = "davstore.prefix"

#: More parameters than any endpoint has.
_MOST_FIELDS = 100

_DIGITS = re.compile("-?[0-9]{1,20}")

FORM = "application/x-www-form-urlencoded"


class Parameters(BaseModel):
    """The parameters of an endpoint. One that is not declared is refused: a mistyped
    `overwrite` must not overwrite. The docstring of each is what `help` tells of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


P = TypeVar("P", bound=Parameters)


def _truth(value: object) -> object:
    if isinstance(value, bool):
        return value
    found = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
    if found is None or not isinstance(value, str):
        raise ValueError("is neither true nor false")
    return found


def _whole(value: object) -> int:
    """Digits of a query, or a JSON number; what Python would take beyond these is refused."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of numbers only
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not a whole number")
    return value


#: true or false; in a query also 1 or 0.
Flag = Annotated[bool, BeforeValidator(_truth)]
#: A whole number.
Whole = Annotated[int, BeforeValidator(_whole)]


def _moment(value: object) -> object:
    seconds = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if dates.can_be_kept(value) else None
    elif isinstance(value, str):
        seconds = dates.parse_client_seconds(value)
        seconds = dates.parse_iso_date(value) if seconds is None else seconds
    if seconds is None or not dates.can_be_kept(seconds):
        raise ValueError("is neither seconds since 1970 nor a time with its zone as RFC 3339 has")
    return seconds


#: Seconds since 1970; or RFC 3339: "2026-11-24T22:15:00Z".
Moment = Annotated[
    float,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
            "examples": ["2026-11-24T22:15:00Z"],
        }
    ),
]


#: A path of the URL space, for `about_path`, which says more plainly what is wrong with one.
UrlPath = Annotated[
    str, Field(min_length=1, max_length=20_000, json_schema_extra={"pattern": "^/"})
]


class NoParameters(Parameters):
    """Of an endpoint that takes none."""


def realm() -> Realm:
    """What all requests of this process have in common."""
    found: Realm = flask.current_app.extensions["davstore"]
    return found


def environ() -> Environ:
    """The WSGI environ of the request that is being answered."""
    return flask.request.environ


def environ_key(field: str) -> str:
    """Where the environ has a header field: "Upload-Offset" is HTTP_UPLOAD_OFFSET."""
    return "HTTP_" + field.upper().replace("-", "_")


def header(field: str) -> str | None:
    """A header field of the request that is being answered."""
    value = environ().get(environ_key(field))
    return None if value is None else str(value)


# What it is about


def about(target: str, field: str = "path") -> Request:
    """The request with `target`, a path of the URL space, as what it is about.

    Raises a problem, which names `field`, when it cannot be a path, and one when the If field
    cannot be understood.
    """
    try:
        request = Request(environ(), realm(), target)
    except InvalidName as error:
        raise problems.of_store(error, field) from None
    request.prefix = environ().get(PREFIX_KEY, "")
    try:
        _ = request.if_header  # parsed once, and remembered
    except DAVError as error:
        raise invalid("If", str(error.context_info)) from None
    return request


def about_path(path: str, field: str) -> Request:
    """The same for a path that the parameter `field` names: it begins with a slash."""
    if not path.startswith("/"):
        raise invalid(field, f"{field} has to begin with a slash.")
    return about(path, field)


def own_time(request: Request) -> float | None:
    """The file's own time in X-OC-Mtime, as rclone and ownCloud send it. Raises 400."""
    try:
        return client_mtime(request)
    except DAVError as error:
        raise invalid("X-OC-Mtime", str(error.context_info)) from None


def own_url(endpoint: str, url_path: str) -> str:
    """The address of `url_path` at an endpoint of this face: "download", "list"."""
    base: str = environ().get("SCRIPT_NAME", "")
    return f"{base}/{endpoint}{paths.to_href(url_path)}"


# What may happen


def require(request: Request, action: Action) -> None:
    """Raise 401 or 403 unless `action` is allowed at the path of `request`.

    Whatever changes something is refused where the share is read-only.
    """
    request.require(action)
    if action is not Action.READ and request.share.read_only:
        raise Problem(403, "read-only", "This share is read-only.")


def guard(request: Request) -> RequestGuard:
    """The request's conditions and lock tokens, for the store to judge.

    Tokens come in the If field (RFC 4918, 10.4), or in Lock-Token, which needs no syntax.
    """
    made = request.guard()
    header = request.header("LOCK_TOKEN")
    if header is None:
        return made
    tokens = {part.strip().removeprefix("<").removesuffix(">") for part in header.split(",")}
    return replace(made, tokens=made.tokens | tokens)


# Parameters


def query(model: type[P]) -> P:
    """The parameters of the query."""
    return checked(model, query_fields())


def query_and_body(model: type[P]) -> P:
    """The parameters of the query and of a JSON object or a form in the body."""
    return checked(model, merged(query_fields(), _body_fields()))


def query_fields() -> dict[str, str]:
    return _unrepeated(_pairs(environ().get("QUERY_STRING", ""), "query"))


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Raises a problem when one is in both."""
    for name in first.keys() & second.keys():
        raise _repeated(name)
    return {**first, **second}


def checked(model: type[P], fields: Mapping[str, Any]) -> P:
    """`fields` as the endpoint's parameters. Raises a problem that names the first wrong one."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"][:1]) or "body"
    if first["type"] == "missing":
        raise Problem(400, "parameter-missing", f"{field} is missing.", field=field)
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) or "none"
        sentence = f"{field} is no parameter of this endpoint. It takes: {known}."
        raise Problem(400, "parameter-unknown", sentence, field=field)
    message = first["msg"].removeprefix("Value error, ")
    raise invalid(field, f"{field}: {message}.")


def small_body() -> bytes:
    """The whole body of a request that has a small one. 413 when it is longer."""
    most = realm().settings.xml_bytes
    data: bytes = environ()["wsgi.input"].read(most + 1)
    if len(data) > most:
        sentence = f"The body has more than {most} bytes, which is the most here."
        raise Problem(413, "too-large", sentence, field="body")
    return data


def media_type() -> str:
    """What the body is said to be, in lower case, without parameters; "" when nothing is said."""
    text = environ().get("CONTENT_TYPE") or ""
    return str(text).partition(";")[0].strip().lower()


def _body_fields() -> dict[str, Any]:
    kind = media_type()
    body = small_body()
    if not body:
        return {}
    if kind == FORM:
        try:
            text = body.decode("ascii")
        except UnicodeDecodeError:
            raise invalid("body", "The form in the body is not ASCII.") from None
        return _unrepeated(_pairs(text, "body"))
    if kind == "application/json":
        return _json_object(body)
    sentence = f"The body has to be application/json or {FORM}."
    raise Problem(415, "media-type-unsupported", sentence, field="Content-Type")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            body.decode(), object_pairs_hook=_unrepeated, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        sentence = f"The body is not valid JSON{where}."
        raise Problem(400, "json-invalid", sentence, field="body") from None
    if not isinstance(found, dict):
        raise Problem(400, "json-invalid", "The body has to be a JSON object.", field="body")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _pairs(text: str, field: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, True, errors="strict", max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError:
        raise invalid(field, f"The {field} holds bytes that are not UTF-8.") from None
    except ValueError:
        raise invalid(field, f"The {field} has more than {_MOST_FIELDS} parameters.") from None


def _unrepeated(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _repeated(name)
        found[name] = value
    return found


def _repeated(name: str) -> Problem:
    return Problem(400, "parameter-repeated", f"{name} is there more than once.", field=name)
