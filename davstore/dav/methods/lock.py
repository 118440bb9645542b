"""LOCK and UNLOCK (RFC 4918, 9.10 and 9.11)."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass

from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.auth.base import Action
from davstore.dav import errors, multistatus, properties
from davstore.dav.guard import RequestGuard
from davstore.dav.properties import DAV
from davstore.dav.request import INFINITY, Request
from davstore.dav.response import XML_TYPE, Headers, Response, empty, whole
from davstore.dav.xmlbody import Element, children, serialise
from davstore.errors import (
    Exists,
    IsAFolder,
    LockConflict,
    Locked,
    NoSuchLock,
    NotAFolder,
    StoreError,
)
from davstore.locks.base import EXCLUSIVE, SHARED, Lock, LockRequest
from davstore.stores.base import Effect, Fenced, Node, NotesLocks

_SECONDS = re.compile(r"second-(\d+)", re.IGNORECASE | re.ASCII)

#: A client's DAV:owner is kept as it came, and shown in every lockdiscovery.
_MAX_OWNER = 4096


def lock(request: Request) -> Response:
    """A new lock, or with an empty body the refresh of one (9.10.2)."""
    request.require(Action.LOCK)
    body = request.xml()
    if body is None:
        return _refresh(request)
    infinite = request.depth(INFINITY, "0", INFINITY) == INFINITY
    wanted = _wanted(request, body, infinite=infinite)
    node = request.stat()
    guard = request.guard()
    guard.check_preconditions(node)
    if node is None:
        return _lock_unmapped(request, wanted)
    try:
        granted = _grant(request, wanted)
    except LockConflict as error:
        return _conflict(request, error)
    return _answer(request, 200, granted, [("Lock-Token", f"<{granted.token}>")])


def _grant(request: Request, wanted: LockRequest) -> Lock:
    """Granted inside the store's fence: whoever writes is judged before it or after it."""
    store = request.store
    fence = (
        store.fence(request.ctx, request.path)
        if isinstance(store, Fenced)
        else contextlib.nullcontext()
    )
    with fence:
        granted = request.locks.grant(wanted, time.time())
    if isinstance(store, NotesLocks):
        try:
            store.note_lock(request.ctx, request.path)
        except BaseException:
            _take_back(request, granted)
            raise
    return granted


def _take_back(request: Request, granted: Lock) -> None:
    with contextlib.suppress(StoreError):
        request.locks.release(granted.token, request.url_path, granted.principal, time.time())


@dataclass(frozen=True, slots=True)
class _OnlyNew:
    """Lets something be created, but not replaced: somebody may have been faster."""

    guard: RequestGuard

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        """See `davstore.stores.base.Guard`."""
        if node is not None:
            raise Exists(path)
        self.guard.judge(path, node, effect)


def _lock_unmapped(request: Request, wanted: LockRequest) -> Response:
    """Lock a name where nothing is and create an empty file there (7.3): 201.

    The lock comes first: when it is refused nothing was created, and between lock and file
    nobody else can create one. If the process dies in between, a lock on nothing is left,
    which ends by itself.
    """
    request.require(Action.WRITE)
    if request.has_slash:
        raise NotAFolder(request.path, "A file's address does not end in a slash.")
    request.guard().judge(request.path, None, Effect.CREATE)
    granted = _grant(request, wanted)
    guard = request.guard()
    guard.tokens = guard.tokens | {granted.token}
    status = 201
    try:
        with request.store.upload(request.ctx, request.path) as upload:
            upload.commit(guard=_OnlyNew(guard))
    except (Exists, IsAFolder):
        status = 200  # created by somebody right before the lock was granted: it is theirs
    except BaseException:
        _take_back(request, granted)
        raise
    return _answer(request, status, granted, [("Lock-Token", f"<{granted.token}>")])


def _wanted(request: Request, body: Element, *, infinite: bool) -> LockRequest:
    if body.tag != DAV + "lockinfo":
        raise errors.bad_request("The body of a LOCK is a DAV:lockinfo element.")
    parts = {str(child.tag): child for child in children(body)}
    scopes = (
        [str(c.tag) for c in children(parts[DAV + "lockscope"])]
        if DAV + "lockscope" in parts
        else []
    )
    types = (
        [str(c.tag) for c in children(parts[DAV + "locktype"])] if DAV + "locktype" in parts else []
    )
    if types != [DAV + "write"] or scopes not in ([DAV + EXCLUSIVE], [DAV + SHARED]):
        raise errors.bad_request("A lock is of type write and exclusive or shared.")
    owner = serialise(parts[DAV + "owner"]) if DAV + "owner" in parts else ""
    if len(owner) > _MAX_OWNER:
        raise errors.bad_request(f"The owner of a lock has at most {_MAX_OWNER} characters.")
    return LockRequest(
        request.url_path,
        scopes[0].removeprefix(DAV),
        infinite,
        request.identity.name,
        owner,
        _timeout(request),
    )


def _timeout(request: Request) -> float:
    """The first Timeout that is understood (10.7), never longer than the operator allows."""
    settings = request.realm.settings
    for part in (request.header("TIMEOUT") or "").split(","):
        match = _SECONDS.fullmatch(part.strip())
        if match and int(match[1][:12]) > 0:
            return min(float(match[1][:12]), settings.max_lock_seconds)
        if part.strip().lower() == "infinite":
            return settings.max_lock_seconds
    return settings.default_lock_seconds


def _refresh(request: Request) -> Response:
    node = request.stat()
    tokens = request.if_header.tokens() if request.if_header else frozenset()
    bare = _lock_token(request)
    if bare:  # some clients name the lock here instead
        tokens = tokens | {bare}
    if not tokens:
        raise errors.bad_request("A LOCK without a body refreshes the lock that If names.")
    request.guard().check_if_header(node)
    now = time.time()
    for token in sorted(tokens):
        try:
            refreshed = request.locks.refresh(
                token, request.url_path, _timeout(request), request.identity.name, now
            )
        except NoSuchLock:
            continue
        return _answer(request, 200, refreshed, [])
    raise DAVError(412, err_condition=errors.LOCK_TOKEN_MATCHES)


def _answer(request: Request, status: int, granted: Lock, headers: Headers) -> Response:
    discovery = properties.lockdiscovery(
        [granted], lambda root: request.href(root, is_folder=False), time.time()
    )
    body = f'<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:">{discovery}</D:prop>'
    return whole(status, XML_TYPE, body.encode(), headers)


def _conflict(request: Request, error: Locked) -> Response:
    """423; 207 when only members are in the way of a lock on the whole tree (9.10.9)."""
    own = request.url_path
    href = request.href
    if any(paths.is_within(own, root) for root in error.roots):
        raise errors.as_dav_error(error, lambda root: href(root, is_folder=False))
    responses = [
        multistatus.status_response(href(root, is_folder=False), DAVError(423))
        for root in error.roots
    ]
    responses.append(multistatus.status_response(href(own, is_folder=True), DAVError(424)))
    return multistatus.multistatus(responses)


def _lock_token(request: Request) -> str | None:
    """The Lock-Token header; Explorer may leave out the angle brackets."""
    text = request.header("LOCK_TOKEN")
    return text.strip().removeprefix("<").removesuffix(">") if text else None


def unlock(request: Request) -> Response:
    request.require(Action.LOCK)
    token = _lock_token(request)
    if not token:
        raise errors.bad_request("UNLOCK needs a Lock-Token header.")
    node: Node | None = request.stat()
    request.guard().check_if_header(node)
    try:
        request.locks.release(token, request.url_path, request.identity.name, time.time())
    except NoSuchLock:
        raise DAVError(409, err_condition=errors.LOCK_TOKEN_MATCHES) from None
    return empty(204)
