"""One request as the methods see it: parsed, checked, with its share and its identity."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.auth.base import ANONYMOUS, Action, Authority, Identity
from davstore.dav import errors, ifheader
from davstore.dav.conditions import Conditions
from davstore.dav.guard import RequestGuard
from davstore.dav.xmlbody import Element, read_xml
from davstore.errors import InvalidName, NotFound, StoreError
from davstore.locks.base import LockStore
from davstore.stores.base import Context, Node, Store

Environ = dict[str, Any]

INFINITY = "infinity"

#: Controls, which Python's parser drops, and what begins a query or a fragment.
_NOT_IN_URL = re.compile(r"[\x00-\x1f\x7f?#]")
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class DavSettings:
    """What an operator may choose about WebDAV. Times in seconds, sizes in bytes."""

    infinite_depth: bool = False
    default_lock_seconds: float = 3600
    max_lock_seconds: float = 86400
    xml_bytes: int = 1 << 20
    request_deadline: float | None = None
    #: Names that a Host header may carry, lower case, without port; None: any.
    hosts: frozenset[str] | None = None
    #: Networks of the proxies that are believed, and the path that they cut off.
    trusted_proxies: tuple[str, ...] = ()
    prefix: str = ""
    realm: str = "davstore"


@dataclass(frozen=True, slots=True)
class Share:
    """A store and the path at which it is mounted."""

    mount: str
    store: Store
    read_only: bool = False


class FolderPage(Protocol):
    """Renders the folder at a path of the URL space for a person; `query` is the URL's, and
    every link begins with `prefix`."""

    def __call__(
        self, path: str, members: Iterator[Node], query: str, prefix: str
    ) -> tuple[list[tuple[str, str]], Iterator[bytes]]: ...


@dataclass(frozen=True, slots=True)
class Realm:
    """What all requests of a process have in common."""

    shares: Mapping[str, Share]
    locks: LockStore
    authority: Authority
    settings: DavSettings
    folder_page: FolderPage

    def find(self, url_path: str) -> tuple[Share, str]:
        """The share whose mount is the longest above `url_path`, and the path within it.

        Case counts (RFC 3986). Raises NotFound.
        """
        mount = url_path
        while True:
            share = self.shares.get(mount)
            if share is not None:
                return share, paths.rebase(url_path, mount, paths.ROOT)
            if mount == paths.ROOT:
                raise NotFound(url_path)
            mount = paths.parent(mount)


def parse_path(raw: str) -> tuple[str, bool]:
    """A WSGI path (bytes shown as latin-1) as a canonical path; whether a slash ended it.

    Raises InvalidName when it is not UTF-8, has `.` or `..`, or a name that cannot be kept.
    """
    try:
        text = raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise InvalidName("/", "The path is not UTF-8.") from None
    return parse_text(text)


def parse_text(text: str) -> tuple[str, bool]:
    """A path as canonical; whether a slash ended it. Raises InvalidName as `parse_path`."""
    path = paths.normalise(text)
    return path, path != paths.ROOT and text.endswith("/")


class Request:
    """`url_path` is canonical in the whole URL space, `path` within the share's store.

    `target` is what it is about, a path of the URL space, where the URL's own path is not.
    """

    def __init__(self, environ: Environ, realm: Realm, target: str | None = None) -> None:
        self.environ = environ
        self.realm = realm
        self.method: str = environ["REQUEST_METHOD"]
        if target is None:
            self.url_path, self.has_slash = parse_path(environ["PATH_INFO"])
        else:
            self.url_path, self.has_slash = parse_text(target)
        self.share, self.path = realm.find(self.url_path)
        self.store = self.share.store
        self.locks = realm.locks
        self.locks.new_request()
        self.identity: Identity = environ.get("davstore.who", ANONYMOUS)
        self.ctx = self._context()
        self.prefix: str = environ.get("SCRIPT_NAME", "")

    def _context(self) -> Context:
        limit = self.realm.settings.request_deadline
        deadline = None if limit is None else time.monotonic() + limit
        return Context(self.identity.name, deadline, self.environ.get("davstore.request_id", ""))

    # What the client said

    def header(self, name: str) -> str | None:
        """A header by its CGI name without HTTP_ ("DEPTH")."""
        value = self.environ.get("HTTP_" + name)
        return None if value is None else str(value)

    def depth(self, default: str, *allowed: str) -> str:
        """The Depth header in lower case; `default` when there is none. 400 unless allowed."""
        value = (self.header("DEPTH") or default).strip().lower()
        if value not in allowed:
            raise errors.bad_request(f"Depth can be {' or '.join(allowed)} here, not {value!r}.")
        return value

    def overwrite(self) -> bool:
        """The Overwrite header (RFC 4918, 10.6); absent means T."""
        value = (self.header("OVERWRITE") or "T").strip().upper()
        if value not in ("T", "F"):
            raise errors.bad_request(f"Overwrite can be T or F, not {value!r}.")
        return value == "T"

    def xml(self) -> Element | None:
        return read_xml(self.environ, self.realm.settings.xml_bytes)

    @cached_property
    def user_agent(self) -> str:
        return self.header("USER_AGENT") or ""

    @cached_property
    def conditions(self) -> Conditions:
        return Conditions.of(self.environ)

    @cached_property
    def if_header(self) -> ifheader.IfHeader | None:
        text = self.header("IF")
        if text is None:
            return None
        try:
            return ifheader.parse(text)
        except ValueError as error:
            raise errors.bad_request(f"The If header cannot be understood: {error}.") from None

    def destination(self) -> tuple[Share, str, bool]:
        """The share and path that the Destination header names; whether a slash ended it."""
        raw = self.header("DESTINATION")
        if not raw:
            raise errors.bad_request("The Destination header is missing.")
        url_path, has_slash = self._parse_url(raw.strip())
        if url_path is None:
            raise DAVError(502, "The Destination lies on another server.")
        share, path = self.realm.find(url_path)
        return share, path, has_slash

    def _parse_url(self, url: str) -> tuple[str | None, bool]:
        """A URL of a header as a path here; None when it is of another host or prefix.

        Split before it is unquoted, so that an escaped `?`, `;` or `#` stays in the name.
        Scheme and port are not compared: a proxy in front may have others. A query or a
        fragment names nothing here; a client that did not escape a name's `?` means another file
        than the one whose name ends before it.
        """
        if _NOT_IN_URL.search(url):
            raise errors.bad_request("A URL in a header holds what has to be escaped in one.")
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise errors.bad_request("A URL in a header cannot be understood.") from None
        if parts.scheme not in ("", "http", "https"):
            return None, False
        if host is not None and host != self._hostname():
            return None, False
        raw = parts.path
        if host is None and not raw.startswith("/"):
            raise errors.bad_request("A URL in a header is relative.")
        if _BAD_ESCAPE.search(raw):
            raise InvalidName(raw, "A % needs two hexadecimal digits after it.")
        if "%2f" in raw.lower():
            raise InvalidName(raw, "A name cannot hold a slash.")
        path = unquote_to_bytes(raw.encode("latin-1", "replace")).decode("latin-1")
        if not path.startswith(self.prefix + "/") and path != self.prefix:
            return None, False
        return parse_path(path[len(self.prefix) :] or "/")

    def _hostname(self) -> str | None:
        try:
            return urlsplit("//" + (self.header("HOST") or "")).hostname
        except ValueError:
            return None

    # What is there

    def stat(self) -> Node | None:
        """The node at the own path, or None. A file asked for with a slash is not there."""
        try:
            node = self.store.stat(self.ctx, self.path)
        except NotFound:
            return None
        return None if self.has_slash and not node.is_folder else node

    def lookup(self, url_path: str) -> Node | None:
        """The node at a path of the whole URL space, or None."""
        try:
            share, path = self.realm.find(url_path)
            return share.store.stat(self.ctx, path)
        except StoreError:
            return None

    # What may happen

    def guard(self) -> RequestGuard:
        """This request's conditions, for the store to judge."""
        header = self.if_header
        return RequestGuard(
            self.share.mount,
            self.path,
            self.conditions,
            header,
            self.locks,
            self.identity.name,
            self.lookup,
            lambda tag: self._parse_url(tag)[0],
            header.tokens() if header else frozenset(),
        )

    def require(self, action: Action, share: Share | None = None, path: str | None = None) -> None:
        """Raise 403, or 401 to who is anonymous, unless `action` is allowed at the path.

        The request's own path by default.
        """
        where = self.share if share is None else share
        url_path = paths.rebase(self.path if path is None else path, paths.ROOT, where.mount)
        if not self.realm.authority.may(self.identity, action, url_path):
            raise denied(self.identity)

    # How to name things

    def href(self, url_path: str, *, is_folder: bool) -> str:
        """The href of a path of the URL space; a folder's ends in a slash (RFC 4918, 5.2)."""
        text = self.prefix + paths.to_href(url_path)
        return text + "/" if is_folder and url_path != paths.ROOT else text


def denied(identity: Identity) -> DAVError:
    """401 asks an anonymous client who it is; a known one gets 403."""
    if identity.name is None:
        return DAVError(401, "Say who you are.")
    return DAVError(403, "You may not do this here.")
