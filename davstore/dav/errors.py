"""Where the tree of errors becomes WebDAV statuses: once, here.

Our own protocol errors (a wrong Depth, a wrong body) are raised as wsgidav's `DAVError`
directly; what a store raises is translated by `as_dav_error`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from wsgidav.dav_error import DAVError, DAVErrorCondition

from davstore import errors, paths

LOCK_TOKEN_SUBMITTED = "{DAV:}lock-token-submitted"  # noqa: S105 - a condition, not a secret
NO_CONFLICTING_LOCK = "{DAV:}no-conflicting-lock"
LOCK_TOKEN_MATCHES = "{DAV:}lock-token-matches-request-uri"  # noqa: S105
PROPFIND_FINITE_DEPTH = "{DAV:}propfind-finite-depth"
PROTECTED_PROPERTY = "{DAV:}cannot-modify-protected-property"
NO_EXTERNAL_ENTITIES = "{DAV:}no-external-entities"
QUOTA_NOT_EXCEEDED = "{DAV:}quota-not-exceeded"
PRESERVED_LIVE_PROPERTIES = "{DAV:}preserved-live-properties"

#: From the most special class to the most general; the first that fits counts.
_STATUS: tuple[tuple[type[errors.StoreError], int], ...] = (
    (errors.NotFound, 404),
    (errors.ParentMissing, 409),
    (errors.NotAFolder, 409),
    (errors.IsAFolder, 405),
    (errors.Exists, 405),
    (errors.NameTooLong, 414),
    (errors.InvalidName, 400),
    (errors.OtherShare, 502),
    (errors.Forbidden, 403),
    (errors.PreconditionFailed, 412),
    (errors.Locked, 423),
    (errors.NoSuchLock, 412),
    (errors.LengthMismatch, 400),
    (errors.DigestMismatch, 400),
    (errors.NoSuchUpload, 404),
    (errors.UploadInUse, 409),
    (errors.UploadFinished, 409),
    (errors.WrongPart, 400),
    (errors.PartDiffers, 409),
    (errors.PartsMissing, 409),
    (errors.QuotaExceeded, 507),
    (errors.Unavailable, 503),
    (errors.Corrupt, 500),
    (errors.FormatTooNew, 500),
    (errors.StoreError, 500),
)

#: Seconds after which a client may try again when the storage is away.
RETRY_AFTER = "5"


def status_of(error: errors.StoreError) -> int:
    """The HTTP status for `error`."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def as_dav_error(
    error: errors.StoreError, to_url: Callable[[str], str] = paths.to_href
) -> DAVError:
    """`error` as wsgidav's. `to_url` makes an href of a path of the store's share."""
    status = status_of(error)
    headers = [("Retry-After", RETRY_AFTER)] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
    return DAVError(
        status, error.detail, err_condition=_condition(error, to_url), add_headers=headers
    )


def _condition(error: errors.StoreError, to_url: Callable[[str], str]) -> DAVErrorCondition | None:
    """The pre- or postcondition element (RFC 4918, 16) that tells a client more."""
    if isinstance(error, errors.QuotaExceeded):
        return DAVErrorCondition(QUOTA_NOT_EXCEEDED)
    if isinstance(error, errors.Locked):
        is_conflict = isinstance(error, errors.LockConflict)
        condition = DAVErrorCondition(NO_CONFLICTING_LOCK if is_conflict else LOCK_TOKEN_SUBMITTED)
        for root in error.roots:
            condition.add_href(to_url(root))
        return condition
    return None


def bad_request(sentence: str) -> DAVError:
    """A 400 that says what is wrong."""
    return DAVError(HTTPStatus.BAD_REQUEST, sentence)
