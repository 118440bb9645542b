"""What a request of tus 1.0 brings: its header fields, and the piece in its body."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator

from davstore.dav.methods.put import BLOCK
from davstore.stores.resumable import Digest
from davstore.web.rest import asked
from davstore.web.rest.asked import header
from davstore.web.rest.problems import Problem, invalid

VERSION = "1.0.0"
EXTENSIONS = ("creation", "creation-with-upload", "termination", "checksum", "expiration")
#: Of checksums, by hashlib's names, which are also those of the protocol.
ALGORITHMS = ("sha1", "sha256", "md5")
PIECE_TYPE = "application/offset+octet-stream"

#: Bytes of Upload-Metadata: it is kept beside the upload.
_MOST_METADATA = 4096


def must_be_spoken() -> None:
    """Raise 412 unless the client speaks the version of tus that is spoken here."""
    version = header("Tus-Resumable")
    if version == VERSION:
        return
    sentence = f"Tus-Resumable has to be {VERSION}, the version of tus that is spoken here."
    headers = [("Tus-Version", VERSION)]
    raise Problem(412, "tus-version", sentence, field="Tus-Resumable", headers=headers)


def number(field: str) -> int:
    """The field as a whole number of bytes. Raises 400."""
    text = header(field)
    if text is None:
        raise Problem(400, "parameter-missing", f"{field} is missing.", field=field)
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise invalid(field, f"{field} has to be a number of bytes, from 0.")
    return int(text)


def checksum() -> Digest | None:
    """Upload-Checksum: an algorithm, and its digest of the piece in Base64. Raises 400."""
    text = header("Upload-Checksum")
    if text is None:
        return None
    algorithm, _, coded = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise invalid("Upload-Checksum", f"The algorithm has to be one of {known}.")
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    value = _decoded(coded)
    if value is None or len(value) != size:
        raise invalid("Upload-Checksum", f"Upload-Checksum holds no {algorithm} in Base64.")
    return Digest(algorithm, value)


def metadata(text: str) -> dict[str, str]:
    """Upload-Metadata: keys and values in Base64, which may be left out. Raises 400."""
    found: dict[str, str] = {}
    if len(text) > _MOST_METADATA:
        raise invalid("Upload-Metadata", f"Upload-Metadata has more than {_MOST_METADATA} bytes.")
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, coded = pair.partition(" ")
        value = _decoded(coded)
        if value is None or not key.isascii():
            raise invalid("Upload-Metadata", "Upload-Metadata has to be `key BASE64,key BASE64`.")
        if key in found:
            raise invalid("Upload-Metadata", f"Upload-Metadata has {key} more than once.")
        try:
            found[key] = value.decode()
        except UnicodeDecodeError:
            if key in ("filename", "filetype"):
                raise invalid("Upload-Metadata", f"The {key} is not UTF-8.") from None
            found[key] = ""  # kept as it came, and of no interest here
    return found


def filename(described: dict[str, str]) -> str:
    """The name that the metadata give to the file in its folder. Raises 400."""
    name = described.get("filename", "")
    if not name:
        sentence = "The address is a folder's: Upload-Metadata has to name the file (filename)."
        raise Problem(400, "parameter-missing", sentence, field="Upload-Metadata")
    if "/" in name:
        raise invalid("Upload-Metadata", "The filename cannot hold a slash.")
    return name


def has_body() -> bool:
    environ = asked.environ()
    return (environ.get("CONTENT_LENGTH") or "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ


def piece_of_body() -> Iterator[bytes]:
    """The body. 415 when it is not said to be a piece."""
    if asked.media_type() != PIECE_TYPE:
        sentence = f"A piece of an upload has to be {PIECE_TYPE}."
        raise Problem(415, "media-type-unsupported", sentence, field="Content-Type")
    # What has arrived, however little: when the connection breaks, all of it is kept.
    read = asked.environ()["wsgi.input"].read1
    return iter(lambda: read(BLOCK), b"")


def _decoded(coded: str) -> bytes | None:
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return None
