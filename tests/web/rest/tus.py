"""Speaking tus 1.0 request by request, and leaving off in the middle of one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from collections.abc import Iterator

from tests.components.http import Answer, Client
from tests.components.processes import wait_until
from tests.web.rest.face import BASE

PIECE = "application/offset+octet-stream"


class Tus:
    """All fields can be given otherwise, or left out with None."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __call__(self, method: str, target: str, body: bytes = b"", **fields: str | None) -> Answer:
        return self.client(method, target, body, **{"Tus_Resumable": "1.0.0", **fields})

    def create(self, path: str, length: int | None, **fields: str | None) -> Answer:
        size = None if length is None else str(length)
        fields = {"Upload_Length": size, **fields}
        return self("POST", f"{BASE}/tus{path}", b"", **fields)

    def begin(self, path: str, length: int, **fields: str | None) -> str:
        """The address of a new upload."""
        answer = self.create(path, length, **fields)
        assert answer.status == 201, answer
        assert answer.header("Tus-Resumable") == "1.0.0"
        return str(answer.header("Location"))

    def patch(self, upload: str, offset: int, body: bytes, **fields: str | None) -> Answer:
        fields = {"Upload_Offset": str(offset), "Content_Type": PIECE, **fields}
        return self("PATCH", upload, body, **fields)

    def offset(self, upload: str) -> int:
        answer = self("HEAD", upload)
        assert answer.status == 200, answer
        assert answer.header("Cache-Control") == "no-store"
        return int(str(answer.header("Upload-Offset")))

    def wait_offset(self, upload: str, offset: int) -> None:
        """Until nobody writes to it any more and it has this offset."""

        def is_there() -> bool:
            return self.offset(upload) == offset and self.is_free(upload, offset)

        wait_until(is_there, 10, f"the offset {offset} of {upload}")

    def is_free(self, upload: str, offset: int) -> bool:
        return self.patch(upload, offset, b"").status == 204

    @contextlib.contextmanager
    def half(
        self, upload: str, offset: int, length: int, part: bytes, **fields: str
    ) -> Iterator[socket.socket]:
        """A PATCH that announces `length` bytes and sends `part` of them; the open connection."""
        head = {
            "Host": "127.0.0.1",
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
            "Content-Type": PIECE,
            "Content-Length": str(length),
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        with socket.create_connection(self.client.address, timeout=30) as link:
            link.sendall(f"PATCH {upload} HTTP/1.1\r\n{lines}\r\n".encode() + part)
            yield link


def checksum(piece: bytes, algorithm: str = "sha1") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, piece).digest()).decode()}"


def described(**metadata: str) -> str:
    """Upload-Metadata."""
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items()
    )
