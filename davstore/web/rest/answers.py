"""What the REST face answers when all is well: JSON, and what the WebDAV layer has made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import flask

from davstore.dav import dates, properties
from davstore.dav.conditions import quote_etag
from davstore.dav.response import Headers, Response
from davstore.stores.base import Node

JSON = "application/json"
NDJSON = "application/x-ndjson"


#: Text of a JSON document: UTF-8 as it is, nothing that is only for the eye.
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Answer(flask.Response):
    """An answer whose type is said or not there: an empty one has none."""

    default_mimetype = None


def as_json(value: object, status: int = 200, headers: Headers | None = None) -> Answer:
    """`value` as a JSON document."""
    return Answer(to_json(value).encode(), status, headers, content_type=JSON)


def of_dav(response: Response) -> Answer:
    """An answer of the WebDAV layer; its body is closed as there."""
    return Answer(response.body, response.status, response.headers, direct_passthrough=True)


def streamed(blocks: Iterable[bytes], content_type: str) -> Answer:
    return Answer(blocks, 200, content_type=content_type, direct_passthrough=True)


def node_document(url_path: str, node: Node) -> dict[str, Any]:
    """A node as JSON shows it. Times are RFC 3339 in UTC, sizes bytes, digests lower-case hex."""
    document: dict[str, Any] = {
        "path": url_path,
        "name": node.name,
        "kind": "folder" if node.is_folder else "file",
        "created": dates.iso_date(int(node.created)),
        "modified": dates.iso_date(int(node.modified)),
        "etag": quote_etag(node),
    }
    if not node.is_folder:
        document["size"] = node.size
        document["content_type"] = properties.content_type(node)
        document["digests"] = dict(node.digests)
    return document


def validators(node: Node) -> Headers:
    """The fields that conditional requests are made of."""
    return [
        ("ETag", quote_etag(node)),
        ("Last-Modified", dates.http_date(int(node.modified))),
    ]
