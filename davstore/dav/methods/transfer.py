"""COPY and MOVE (RFC 4918, 9.8 and 9.9). Overwriting is the store's: one step."""

from __future__ import annotations

from typing import NamedTuple

from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.auth.base import Action
from davstore.dav import multistatus
from davstore.dav.errors import as_dav_error
from davstore.dav.guard import RequestGuard
from davstore.dav.methods.delete import locked_below
from davstore.dav.methods.put import accepted_mtime, client_mtime
from davstore.dav.request import INFINITY, Request, Share
from davstore.dav.response import Response, empty
from davstore.errors import Exists, Locked, NotAFolder, NotFound, OtherShare
from davstore.stores.base import Node, Transfer, Update


class Target(NamedTuple):
    """Where a copy or move goes: a share, a path in it, whether a slash ended that path."""

    share: Share
    path: str
    has_slash: bool
    overwrite: bool

    @property
    def url_path(self) -> str:
        return paths.rebase(self.path, paths.ROOT, self.share.mount)


def copy(request: Request) -> Response:
    request.require(Action.READ)
    target = Target(*request.destination(), request.overwrite())
    node = prepare(request, target)
    recursive = request.depth(INFINITY, "0", INFINITY) == INFINITY
    mtime = client_mtime(request)
    try:
        done = copy_to(request, node, target, request.guard(), recursive=recursive)
    except Exists as error:
        raise _not_overwritten(error) from None
    return _finish(request, target, done, mtime)


def move(request: Request) -> Response:
    request.require(Action.DELETE)
    target = Target(*request.destination(), request.overwrite())
    node = prepare(request, target)
    if node.is_folder:
        request.depth(INFINITY, INFINITY)  # 9.9.2
    mtime = client_mtime(request)
    try:
        done = move_to(request, target, request.guard())
    except Exists as error:
        raise _not_overwritten(error) from None
    except Locked as error:
        return locked_below(request, error, request.url_path)
    return _finish(request, target, done, mtime)


def prepare(request: Request, target: Target) -> Node:
    """The source's node. Raises 401, 403, NotFound, OtherShare, NotAFolder."""
    request.require(Action.WRITE, target.share, target.path)
    node = request.stat()
    if node is None:
        raise NotFound(request.path)
    if target.share is not request.share:
        raise OtherShare(target.path)
    if target.has_slash and not node.is_folder:
        replaced = request.lookup(target.url_path)
        if replaced is None or not replaced.is_folder:
            raise NotAFolder(target.path, "A file's address does not end in a slash.")
    if target.overwrite:
        request.require(Action.DELETE, target.share, target.path)
    return node


def copy_to(
    request: Request, node: Node, target: Target, guard: RequestGuard, *, recursive: bool
) -> Transfer:
    """Copy what was prepared. Raises as `Store.copy`."""
    # The source does not change, so the store asks about the target only.
    guard.check_preconditions(node)
    done = request.store.copy(
        request.ctx,
        request.path,
        target.path,
        overwrite=target.overwrite,
        recursive=recursive,
        guard=guard,
    )
    _forget_replaced(request, target, guard)
    return done


def move_to(request: Request, target: Target, guard: RequestGuard) -> Transfer:
    """Move what was prepared. Raises as `Store.move`."""
    done = request.store.move(
        request.ctx, request.path, target.path, overwrite=target.overwrite, guard=guard
    )
    # A lock does not move with its resource (7.5).
    request.locks.forget(request.url_path)
    _forget_replaced(request, target, guard)
    return done


def _forget_replaced(request: Request, target: Target, guard: RequestGuard) -> None:
    """The locks below a replaced folder are gone with what they protected."""
    if guard.replaced.get(target.path) and target.path != request.path:
        request.locks.forget(target.url_path)


def _not_overwritten(error: Exists) -> DAVError:
    return DAVError(412, error.detail)  # RFC 4918, 9.8.5: Overwrite is F and something is there


def _finish(request: Request, target: Target, done: Transfer, mtime: float | None) -> Response:
    if mtime is not None:
        try:
            request.store.update(request.ctx, target.path, Update(modified=mtime))
        except NotFound:
            # Somebody has taken it away again; what was asked for has happened all the same.
            mtime = None
    if done.failures:
        return multistatus.multistatus(
            multistatus.status_response(
                _source_href(request, each.path),
                as_dav_error(each, lambda root: request.href(root, is_folder=False)),
            )
            for each in done.failures
        )
    return empty(201 if done.created else 204, accepted_mtime(mtime))


def _source_href(request: Request, path: str) -> str:
    url_path = paths.rebase(path, paths.ROOT, request.share.mount)
    return request.href(url_path, is_folder=False)
