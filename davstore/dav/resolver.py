"""Finds the share that a request is for, and its request server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wsgidav.request_resolver import RequestResolver

from davstore.dav.methods.options import options
from davstore.dav.request import Environ, Realm, Request
from davstore.dav.request_server import RequestServer
from davstore.dav.response import Headers


class Resolver(RequestResolver):
    """The last of the middlewares. wsgidav's makes a RequestServer of its own class."""

    def __init__(self, wsgidav_app: Any, next_app: Any, config: dict[str, Any]) -> None:
        super().__init__(wsgidav_app, next_app, config)
        self._realm: Realm = config["davstore.realm"]
        self._servers = {
            mount: RequestServer(provider, self._realm)
            for mount, provider in wsgidav_app.provider_map.items()
        }

    def __call__(
        self, environ: Environ, start_response: Callable[[str, Headers], object]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "*":  # RFC 9110, 9.3.7: about the server as a whole
            return options(read_only=False).start(start_response)
        request = Request(environ, self._realm)
        environ["davstore.request"] = request
        return self._servers[request.share.mount](environ, start_response)
