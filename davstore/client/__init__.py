"""A small client of davstore's REST face, for services that are written in Python.

    from davstore.client import Client
    from davstore.discovery import Discovery

    files = Client("http://127.0.0.1:8080", auth=("ada", "secret"))
    files.upload("report.pdf", "/files/report.pdf")
    files.download("/files/report.pdf", "copy.pdf")
    names = [entry.name for entry in files.list("/files")]

    # Any healthy node of the service that Consul knows, and the next one when that fails:
    files = Client(Discovery("http://127.0.0.1:8500"))

Large files go in pieces, each with its checksum: what breaks off goes on where it was, on another
node if need be. Everything that goes wrong is a ClientError (or an OSError of this machine's own
files) whose text is a sentence.
"""

from davstore.client.client import Client
from davstore.client.entry import Entry, Progress
from davstore.client.errors import (
    ClientError,
    Conflict,
    Damaged,
    Exists,
    Forbidden,
    Locked,
    NoFace,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    Refused,
    SourceChanged,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from davstore.client.unfinished import InFolder, InMemory

__all__ = [
    "Client",
    "ClientError",
    "Conflict",
    "Damaged",
    "Entry",
    "Exists",
    "Forbidden",
    "InFolder",
    "InMemory",
    "Locked",
    "NoFace",
    "NotFound",
    "PreconditionFailed",
    "Progress",
    "QuotaExceeded",
    "Refused",
    "SourceChanged",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
]
