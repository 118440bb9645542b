"""Who asks, found out before a share is even looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wsgidav.mw.base_mw import BaseMiddleware

from davstore.dav.admission import Admission
from davstore.dav.request import Environ
from davstore.dav.response import Headers


class Authenticator(BaseMiddleware):
    """`Admission` as the middleware that wsgidav wants."""

    def __init__(self, wsgidav_app: Any, next_app: Any, config: dict[str, Any]) -> None:
        super().__init__(wsgidav_app, next_app, config)
        self.admission = Admission(config["davstore.realm"])

    def __call__(
        self, environ: Environ, start_response: Callable[[str, Headers], object]
    ) -> Iterable[bytes]:
        self.admission.admit(environ)
        # What other WsgiDAV middleware looks for.
        environ["wsgidav.auth.user_name"] = environ["davstore.identity"] or ""
        response: Iterable[bytes] = self.next_app(environ, start_response)
        return response
