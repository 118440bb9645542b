"""The WebDAV application: wsgidav's, with our routing, middlewares and error answers."""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wsgidav.dav_error import DAVError
from wsgidav.wsgidav_app import WsgiDAVApp

from davstore import paths
from davstore.dav import response
from davstore.dav.authenticator import Authenticator
from davstore.dav.errors import as_dav_error
from davstore.dav.lock_manager import LockManager
from davstore.dav.provider import StoreProvider
from davstore.dav.proxy import Proxies
from davstore.dav.request import Environ, Realm
from davstore.dav.resolver import Resolver
from davstore.dav.response import Headers
from davstore.errors import ConfigError, StoreError, Unavailable
from davstore.stores.base import Closable

_log = logging.getLogger(__name__)


def before_fork() -> None:
    """Have Python find out what it runs on, which wsgidav tells its log in every application.

    Python asks another program (`uname -p`) and remembers the answer: once is enough.
    """
    platform.platform(aliased=True)


class DavApp(WsgiDAVApp):
    """Serves `providers`, by mount path. Built in the worker, after the fork."""

    def __init__(self, providers: Mapping[str, StoreProvider], realm: Realm) -> None:
        super().__init__(
            {
                "provider_mapping": dict(providers),
                "middleware_stack": [Authenticator, Resolver],
                "lock_storage": False,
                "property_manager": False,
                "http_authenticator": {"accept_basic": False},  # ours decides
                "logging": {"enable": False},
                "verbose": 0,
                "davstore.realm": realm,
            }
        )
        self._realm = realm
        self._proxies = Proxies.of(realm.settings.trusted_proxies, realm.settings.prefix)
        locks = LockManager(realm.locks)
        for provider in self.provider_map.values():
            provider.set_lock_manager(locks)

    def __call__(
        self, environ: Environ, start_response: Callable[[str, Headers], object]
    ) -> Iterable[bytes]:
        """Every error that is raised before the answer begins becomes an answer here.

        What the server's body reader raises (a client that is gone) passes: there is nobody
        to answer, and the upload has been thrown away on the way.
        """
        if self._proxies is not None:
            self._proxies.apply(environ)
        environ["wsgidav.config"] = self.config
        environ["wsgidav.app"] = self
        try:
            body: Iterable[bytes] = self.application(environ, start_response)
        except DAVError as error:
            answer = response.of_error(self._ask_who(error))
        except StoreError as error:
            answer = response.of_error(as_dav_error(error, self._hrefs(environ)))
        except ConfigError as error:
            # A share that connects when it is first asked, and now finds its settings wrong.
            _log.error("a share cannot be used: %s", "; ".join(error.faults))
            answer = response.of_error(as_dav_error(Unavailable(paths.ROOT)))
        else:
            return body
        if environ["REQUEST_METHOD"] == "HEAD":
            answer.body = ()
        return answer.start(start_response)

    def close(self) -> None:
        """Give back what the shares and the locks hold, once nothing is answered any more.

        One that fails does not keep the others from it. Whoever dies before this leaves what a
        crash leaves, and the next start puts it right.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._realm.locks.close)
            for share in self._realm.shares.values():
                if isinstance(share.store, Closable):
                    stack.callback(share.store.close)

    def _ask_who(self, error: DAVError) -> DAVError:
        """A 401 always says how to answer it (RFC 9110, 11.6.1)."""
        if error.value == 401 and not error.add_headers:
            authenticator = self.application
            assert isinstance(authenticator, Authenticator)
            return authenticator.admission.challenge(error.context_info or "")
        return error

    @staticmethod
    def _hrefs(environ: dict[str, Any]) -> Callable[[str], str]:
        """Locks' roots are paths of the URL space already."""
        prefix = environ.get("SCRIPT_NAME", "")
        return lambda path: prefix + paths.to_href(path)
