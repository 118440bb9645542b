"""PROPFIND (RFC 4918, 9.1): one listing, one pass, streamed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.auth.base import Action
from davstore.dav import errors, multistatus, properties
from davstore.dav.properties import ALLPROP, DAV, LIVE, QUOTA, SHA1HEX, Scene
from davstore.dav.request import INFINITY, Request
from davstore.dav.response import Response
from davstore.dav.xmlbody import Element, children
from davstore.errors import NotAFolder, NotFound
from davstore.locks.base import Lock
from davstore.stores.base import HasUsage, Node, Usage

#: What Windows Explorer gets of the members of a folder when it asks for everything. It shows
#: an empty folder when the whole answer has over 1,000,000 bytes (FileAttributesLimitInBytes), so
#: an entry has about 280: some 3,500 files. Of one resource it gets all.
_EXPLORER_LISTING = tuple(
    DAV + name for name in ("resourcetype", "getcontentlength", "getlastmodified")
)
_EXPLORER = "Microsoft-WebDAV-MiniRedir"

#: As a client of Fastmail, rclone asks for everything and looks for a SHA-1 in it.
_RCLONE = "rclone/"

#: macOS 15.4 and later delay a mount by 90 s when quota properties are reported.
_FINDER = "WebDAVFS"

_LOCKDISCOVERY = DAV + "lockdiscovery"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client asked for. `names`: properties; `told` are those of them that were
    named, so that their absence is told (9.1).

    `dead`: all dead properties as well (allprop). `names_only`: propname.
    """

    names: Sequence[str]
    told: frozenset[str] = frozenset()
    dead: bool = True
    names_only: bool = False


def propfind(request: Request) -> Response:
    request.require(Action.READ)
    depth = request.depth(INFINITY, "0", "1", "1,noroot", INFINITY)
    wanted = _wanted(request.xml())
    if wanted == _EVERYTHING and depth != "0" and request.user_agent.startswith(_EXPLORER):
        wanted = Wanted(_EXPLORER_LISTING, dead=False)
    elif wanted == _EVERYTHING and request.user_agent.startswith(_RCLONE):
        wanted = Wanted((*ALLPROP, SHA1HEX))
    node, members = _look(request, depth)
    request.guard().check_if_header(node)
    if depth == INFINITY and node.is_folder and not request.realm.settings.infinite_depth:
        raise DAVError(403, err_condition=errors.PROPFIND_FINITE_DEPTH)
    return multistatus.multistatus(_responses(request, node, members, depth, wanted))


def _look(request: Request, depth: str) -> tuple[Node, Iterator[Node]]:
    """What is there, and its members where they are asked for. Raises NotFound."""
    if depth != "0":
        with suppress(NotAFolder):
            return request.store.open_folder(request.ctx, request.path)
    node = request.stat()
    if node is None:
        raise NotFound(request.path)
    return node, iter(())


#: The elements that a DAV:propfind may hold (14.20).
_PARTS = frozenset(DAV + name for name in ("prop", "propname", "allprop", "include"))

_EVERYTHING = Wanted(tuple(ALLPROP))


def _wanted(body: Element | None) -> Wanted:
    """What the body asks for; no body means allprop (9.1)."""
    if body is None:
        return _EVERYTHING
    if body.tag != DAV + "propfind":
        raise errors.bad_request("The body of a PROPFIND is a DAV:propfind element.")
    # Unknown elements are ignored (17).
    parts = {child.tag: child for child in children(body) if child.tag in _PARTS}
    if DAV + "prop" in parts and not parts.keys() & {DAV + "allprop", DAV + "propname"}:
        names = dict.fromkeys(str(child.tag) for child in children(parts[DAV + "prop"]))
        return Wanted(tuple(names), frozenset(names), dead=False)
    if DAV + "propname" in parts and len(parts) == 1:
        return Wanted(tuple(ALLPROP), names_only=True)
    if DAV + "allprop" in parts and DAV + "prop" not in parts and DAV + "propname" not in parts:
        include = parts.get(DAV + "include")
        more = [] if include is None else [str(child.tag) for child in children(include)]
        return Wanted(tuple(dict.fromkeys((*ALLPROP, *more))), frozenset(more))
    raise errors.bad_request("A DAV:propfind holds one of prop, allprop and propname.")


def _responses(
    request: Request, node: Node, members: Iterator[Node], depth: str, wanted: Wanted
) -> Iterator[str]:
    """The response elements, a folder's own before its members'."""
    scene = _scene(request, wanted)
    render = _renderer(wanted, scene)
    if depth != "1,noroot" or not node.is_folder:
        own_locks = _own_locks(request, wanted)
        root = Scene(scene.lock_root, own_locks, {}, scene.usage, scene.now)
        href = request.href(request.url_path, is_folder=node.is_folder)
        yield _renderer(wanted, root)(node, request.url_path, href)
    yield from _members(request, request.path, members, render, deep=depth == INFINITY)


def _members(
    request: Request, folder: str, members: Iterator[Node], render: Render, *, deep: bool
) -> Iterator[str]:
    url_folder = paths.rebase(folder, paths.ROOT, request.share.mount)
    base = request.href(url_folder, is_folder=True)
    above = paths.join(url_folder, "")
    to_href = paths.to_href
    for node in members:
        name = node.name
        href = base + to_href(name)
        yield render(node, above + name, href + "/" if node.is_folder else href)
        if deep and node.is_folder:
            below = paths.join(folder, name)
            inner = request.store.list(request.ctx, below)
            yield from _members(request, below, inner, render, deep=True)


def _own_locks(request: Request, wanted: Wanted) -> list[Lock]:
    if _LOCKDISCOVERY not in wanted.names:
        return []
    return request.locks.covering(request.url_path, time.time())


def _scene(request: Request, wanted: Wanted) -> Scene:
    """What the members' properties need; fetched once, and only when it was asked for."""
    scene = Scene(lambda root: request.href(root, is_folder=False), now=time.time())
    if _LOCKDISCOVERY in wanted.names and not wanted.names_only:
        scene.inherited = [lock for lock in _own_locks(request, wanted) if lock.infinite]
        by_path: dict[str, list[Lock]] = {}
        for lock in request.locks.members(request.url_path, scene.now):
            by_path.setdefault(lock.root, []).append(lock)
        scene.locks = by_path
    if any(name in QUOTA for name in wanted.names):
        scene.usage = _usage(request)
    return scene


def _usage(request: Request) -> Usage | None:
    if _FINDER in request.user_agent or not isinstance(request.store, HasUsage):
        return None
    return request.store.usage(request.ctx)


#: (node, its path in the URL space, its href) -> response element
Render = Callable[[Node, str, str], str]


def _renderer(wanted: Wanted, scene: Scene) -> Render:
    """The function that renders one node; made once, called for every member."""
    if wanted.names_only:
        return _names_renderer(wanted, scene)
    render = _general_renderer(wanted, scene)
    if wanted == _EVERYTHING and not scene.inherited and not scene.locks:
        return _everything_renderer(render)
    return render


def _everything_renderer(general: Render) -> Render:
    """For allprop where no lock is: the most frequent question, and the one with most to say."""
    whole_file = properties.allprop_of_file

    def render(node: Node, path: str, href: str) -> str:
        if node.is_folder:
            return general(node, path, href)
        dead = "".join(node.props.values()) if node.props else ""
        return (
            f"<D:response><D:href>{href}</D:href><D:propstat><D:prop>{whole_file(node)}{dead}"
            f"</D:prop>{multistatus.OK}</D:propstat></D:response>"
        )

    return render


def _general_renderer(wanted: Wanted, scene: Scene) -> Render:
    live = [(name, LIVE[name]) for name in wanted.names if name in LIVE]
    others = [name for name in wanted.names if name not in LIVE]
    told = wanted.told

    def render(node: Node, path: str, href: str) -> str:
        found: list[str] = []
        missing: list[str] = []
        for name, function in live:
            element = function(node, path, scene)
            if element is not None:
                found.append(element)
            elif name in told:
                missing.append(name)
        if node.props and wanted.dead:
            found.extend(node.props.values())
        elif others and node.props:
            found.extend(node.props[name] for name in others if name in node.props)
        if others:
            missing.extend(name for name in others if name not in node.props)
        return _response(href, "".join(found), missing)

    return render


def _response(href: str, found: str, missing: list[str]) -> str:
    start = f"<D:response><D:href>{href}</D:href>"
    if not missing:
        return (
            f"{start}<D:propstat><D:prop>{found}</D:prop>{multistatus.OK}</D:propstat></D:response>"
        )
    absent = "".join(map(properties.empty_element, missing))
    good = f"<D:propstat><D:prop>{found}</D:prop>{multistatus.OK}</D:propstat>" if found else ""
    return (
        f"{start}{good}<D:propstat><D:prop>{absent}</D:prop>{multistatus.NOT_FOUND}"
        "</D:propstat></D:response>"
    )


def _names_renderer(wanted: Wanted, scene: Scene) -> Render:
    functions = [(properties.empty_element(name), LIVE[name]) for name in wanted.names]

    def render(node: Node, path: str, href: str) -> str:
        live = [name for name, function in functions if function(node, path, scene) is not None]
        return _response(href, "".join([*live, *map(properties.empty_element, node.props)]), [])

    return render
