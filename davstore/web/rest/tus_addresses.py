"""The address of an upload: its share and the store's own id, opaque for clients.

Every process and every node finds the upload by it, for whoever has begun it.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from davstore import paths
from davstore.auth.base import Action
from davstore.dav.request import Request
from davstore.errors import NoSuchUpload
from davstore.stores.base import ResumableUploads
from davstore.stores.resumable import Progress, Resumable
from davstore.web.rest import asked
from davstore.web.rest.asked import NoParameters
from davstore.web.rest.problems import Problem

#: The face, in what is kept beside an upload.
KIND = "tus"


class Found(NamedTuple):
    """An upload by its address, and the request as one about its target."""

    request: Request
    uploads: Resumable
    progress: Progress


def address_of(request: Request, upload_id: str) -> str:
    """The path of the URL of an upload in the share of `request`."""
    mount = base64.urlsafe_b64encode(request.share.mount.encode()).decode().rstrip("=")
    return f"{asked.environ().get('SCRIPT_NAME', '')}/tus-uploads/{mount}.{upload_id}"


def find_upload(upload: str) -> Found:
    """Raises NoSuchUpload unless the identity that asks has begun it and may still write."""
    asked.query(NoParameters)
    mount, upload_id = _parsed(upload)
    share = asked.realm().shares.get(mount)
    if share is None:
        raise NoSuchUpload(upload)
    uploads = uploads_of(asked.about(mount))
    known = uploads.find(upload_id)
    request = asked.about(paths.rebase(known.path, paths.ROOT, mount))
    if request.share is not share:  # another share has been mounted over it since
        raise NoSuchUpload(upload)
    asked.require(request, Action.WRITE)
    return Found(request, uploads, known)


def _parsed(upload: str) -> tuple[str, str]:
    """The mount of the share, and the store's id. Raises NoSuchUpload."""
    coded, _, upload_id = upload.partition(".")
    try:
        padded = coded + "=" * (-len(coded) % 4)
        return base64.urlsafe_b64decode(padded.encode("ascii")).decode(), upload_id
    except (ValueError, binascii.Error):
        raise NoSuchUpload(upload) from None


def uploads_of(request: Request) -> Resumable:
    """Those of this face and of who asks, in the request's share. 501 where it keeps none."""
    if not isinstance(request.store, ResumableUploads):
        sentence = "This share keeps no unfinished uploads; send the whole file at once."
        raise Problem(501, "uploads-not-kept", sentence)
    return Resumable(request.store, request.ctx, KIND)
