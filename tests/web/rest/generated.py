"""What schemathesis is told beyond the OpenAPI document, so that it gets past the front door.

It loads this file itself. Left alone, it sends a condition that does not hold, a lock token
that is none, or a digest that is wrong with nearly every request, to a path where nothing is:
all of it is refused. So most requests that are meant to be right come without these fields and go
to a path where something is. Wrong requests stay as they were made.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

#: What is there when it begins. What is moved away or deleted is a spare file, each time the next.
FILE = "file.bin"
FOLDER = "folder"
SPARE = tuple(f"spare-{number}.bin" for number in range(128))
_spares = itertools.cycle(SPARE)
#: Unfinished uploads to `CHUNKED`, which are given up.
UPLOADS = tuple(f"spare-{number}" for number in range(16))
CHUNKED = "chunked.bin"
_uploads = itertools.cycle(UPLOADS)

# A body of bytes by another name.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

_NARROWING = (
    *("If", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
    *("Lock-Token", "Repr-Digest", "Digest", "OC-Checksum", "X-OC-Mtime", "If-Range", "Range"),
)
#: Parameters that narrow as well: the content that is made up has another size and digest.
_OF_CONTENT = ("size", "sha256", "id", "cursor")

#: An upload of one chunk, for all endpoints that belong to it.
_CHUNKED = {"path": CHUNKED, "upload": "one", "chunk": "0", "chunks": "1"}


@schemathesis.hook
def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
    """Narrow three of four, by a digest: it is the same in every run."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    made = repr((case.method, case.path, case.path_parameters, case.query, case.body))
    number = hashlib.sha256(made.encode()).digest()[0]
    if number % 4:
        for name in _NARROWING:
            case.headers.pop(name, None)
        if "target" in (case.path_parameters or {}):
            case.path_parameters["target"] = _place(case, number // 4)
        for fields in (case.query, case.body):
            if isinstance(fields, dict):
                _lead(fields, case, number // 4)
    return case


def _place(case: Case[Any], number: int) -> str:
    if case.method == "DELETE" or case.path.startswith("/move"):
        return next(_spares)
    if case.path.startswith(("/upload", "/mkdir")):
        return f"{FOLDER}/new-{number}"
    return FOLDER if number % 2 else FILE


def _lead(fields: dict[str, Any], case: Case[Any], number: int) -> None:
    """Change the parameters to some that can be right."""
    for name in _OF_CONTENT:
        fields.pop(name, None)
    if "destination" in fields:
        fields["destination"] = f"/{FOLDER}/other-{number}"
    if "below" in fields:
        fields["below"] = "/"
    if case.path.startswith("/mongo/"):
        fields["path"] = FILE
    elif case.path.startswith("/mongodb/"):
        known = {name: value for name, value in _CHUNKED.items() if name in fields}
        fields |= known if "large" in case.path else {"path": "small.bin"}
        if case.method == "DELETE":
            fields["upload"] = next(_uploads)
        if "chunks" in fields and isinstance(case.body, dict) and "large" in case.path:
            fields["chunks"] = 1
