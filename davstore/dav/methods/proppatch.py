"""PROPPATCH (RFC 4918, 9.2): all of it happens, or nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from davstore.auth.base import Action
from davstore.dav import checksums, dates, errors, multistatus, properties
from davstore.dav.guard import RequestGuard
from davstore.dav.properties import CHECKSUMS, DAV, LIVE
from davstore.dav.request import Request
from davstore.dav.response import Response
from davstore.dav.xmlbody import Element, children, serialise
from davstore.errors import NotFound
from davstore.stores.base import Effect, Node, Update

#: Properties that carry a client's modification time and become getlastmodified.
#: Explorer sets the Win32 one after each upload, as an HTTP date; ownCloud's clients and
#: rclone set lastmodified in seconds since 1970.
_MICROSOFT_NAMESPACE = "{urn:schemas-microsoft-com:}"
_WIN32_MODIFIED = _MICROSOFT_NAMESPACE + "Win32LastModifiedTime"
_LASTMODIFIED = DAV + "lastmodified"

#: How Office's and Explorer's User-Agent begins.
_MICROSOFT = "Microsoft"


@dataclass(slots=True)
class _Plan:
    """The instructions in document order, the last one for a name winning."""

    values: dict[str, str | None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    #: Live properties that were set to what they are.
    confirmed: set[str] = field(default_factory=set)
    modified: float | None = None


def proppatch(request: Request) -> Response:
    request.require(Action.WRITE)
    body = request.xml()
    node = request.stat()
    if node is None:
        raise NotFound(request.path)
    plan = _plan(body, node)
    href = request.href(request.url_path, is_folder=node.is_folder)
    guard = _guard(request, plan)
    if plan.refused:
        guard.judge(request.path, node, Effect.MODIFY)
        return multistatus.multistatus([_refusal(href, plan)])
    values = {name: plan.values[name] for name in plan.values if name not in plan.confirmed}
    change = Update(
        {name: value for name, value in values.items() if value is not None},
        [name for name, value in values.items() if value is None],
        plan.modified,
    )
    request.store.update(request.ctx, request.path, change, guard)
    done = "".join(map(properties.empty_element, plan.values))
    return multistatus.multistatus(
        [f"<D:response><D:href>{href}</D:href>{multistatus.propstat(done, 200)}</D:response>"]
    )


def _guard(request: Request, plan: _Plan) -> RequestGuard:
    """Office locks a file, saves it and leaves the token out when it sets the times; without
    them it takes the save for a failed one. So it, and nobody else, opens its user's own locks
    for these properties without naming them.
    """
    guard = request.guard()
    if request.user_agent.startswith(_MICROSOFT) and all(
        name.startswith(_MICROSOFT_NAMESPACE) for name in plan.values
    ):
        locks = request.locks.covering(request.url_path, time.time())
        own = {lock.token for lock in locks if lock.principal == request.identity.name}
        guard.tokens = guard.tokens | own
    return guard


def _plan(body: Element | None, node: Node) -> _Plan:
    if body is None or body.tag != DAV + "propertyupdate":
        raise errors.bad_request("The body of a PROPPATCH is a DAV:propertyupdate element.")
    plan = _Plan()
    for instruction in children(body):
        if instruction.tag not in (DAV + "set", DAV + "remove"):
            continue  # unknown elements are ignored (17)
        for prop in children(instruction):
            if prop.tag == DAV + "prop":
                for element in children(prop):
                    _add(plan, element, node, is_set=instruction.tag == DAV + "set")
    if not plan.values:
        raise errors.bad_request("A DAV:propertyupdate names at least one property.")
    return plan


def _add(plan: _Plan, element: Element, node: Node, *, is_set: bool) -> None:
    name = str(element.tag)
    plan.confirmed.discard(name)
    plan.values.pop(name, None)
    plan.values[name] = serialise(element) if is_set else None
    if name == CHECKSUMS and is_set and _holds(element, node):
        plan.confirmed.add(name)
    elif name in LIVE:
        plan.refused[name] = "This property is the server's own."
    elif is_set and name in (_LASTMODIFIED, _WIN32_MODIFIED):
        seconds = _client_time(name, element.text or "")
        if seconds is None:
            plan.refused[name] = "This is not a time."
        else:
            plan.modified = seconds


def _holds(element: Element, node: Node) -> bool:
    """Whether these are the content's checksums; rclone sets them again along with a time."""
    try:
        said = checksums.parse(" ".join(str(text) for text in element.itertext()))
    except ValueError:
        return False
    return bool(said) and all(node.digests.get(name) == said[name] for name in said)


def _client_time(name: str, text: str) -> float | None:
    if name == _LASTMODIFIED:
        return dates.parse_client_seconds(text)
    seconds = dates.parse_http_date(text)
    return seconds if seconds is not None and dates.can_be_kept(seconds) else None


def _refusal(href: str, plan: _Plan) -> str:
    """403 for what is refused, 424 for all the rest (9.2.1)."""
    parts = []
    for name, reason in plan.refused.items():
        condition = "<D:error><D:cannot-modify-protected-property/></D:error>"
        extra = (condition if name in LIVE else "") + multistatus.description(reason)
        parts.append(multistatus.propstat(properties.empty_element(name), 403, extra))
    others = [name for name in plan.values if name not in plan.refused]
    if others:
        parts.append(multistatus.propstat("".join(map(properties.empty_element, others)), 424))
    return f"<D:response><D:href>{href}</D:href>{''.join(parts)}</D:response>"
