"""Talking to the REST face, and what every problem document has to be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from tests.components.http import Answer, Client

BASE = "/filestorage/v1.0.0"


class Rest:
    """`base` is where the face answers."""

    def __init__(self, client: Client, base: str = BASE) -> None:
        self.client = client
        self.base = base

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | str | Iterable[bytes] = b"",
        **headers: str | None,
    ) -> Answer:
        """`target` begins with the verb: "list/photos?limit=2"."""
        return self.client(method, f"{self.base}/{target}", body, **headers)

    def post(self, target: str, value: object, **headers: str | None) -> Answer:
        """With a JSON body."""
        return self("POST", target, json.dumps(value), Content_Type="application/json", **headers)

    def form(
        self,
        target: str,
        fields: Mapping[str, str],
        content: bytes,
        method: str = "POST",
        **headers: str | None,
    ) -> Answer:
        """A form as browsers send it, the field `file` last."""
        body, kind = multipart([*fields.items(), ("file", content)])
        return self(method, target, body, Content_Type=kind, **headers)


def multipart(parts: Iterable[tuple[str, str | bytes]]) -> tuple[bytes, str]:
    """The body and the Content-Type of a form; what is bytes is sent as a file."""
    boundary = "----of-a-form-9c1d"
    body = b""
    for name, value in parts:
        more = "" if isinstance(value, str) else '; filename="name.bin"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += head.encode() + (value.encode() if isinstance(value, str) else value) + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def problem(answer: Answer, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """The document of `answer`, which is one as RFC 9457 wants it, of this status and code."""
    assert answer.header("Content-Type") == "application/problem+json", answer
    document: dict[str, Any] = json.loads(answer.body)
    assert (answer.status, document["code"], document.get("field")) == (status, code, field), answer
    assert document["status"] == status
    assert document["type"] == "urn:davstore:problem:" + code
    assert document["title"] and document["detail"].endswith(".")
    return document


def href(path: str) -> str:
    """`path` as it stands in a URL."""
    return quote(path)
