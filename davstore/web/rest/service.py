"""The REST face as one WSGI application: routing and errors are Flask's."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter
from wsgidav.dav_error import DAVError

from davstore import paths
from davstore.config import Rest
from davstore.dav.admission import Admission
from davstore.dav.proxy import Proxies
from davstore.dav.request import Environ, Realm
from davstore.dav.response import Headers
from davstore.errors import ConfigError, StoreError, Unavailable
from davstore.handoff import Refusal
from davstore.server.body import BodyError
from davstore.web.rest import (
    asked,
    files,
    folders,
    help,
    original,
    parts,
    problems,
    search,
    transfers,
    tus,
)
from davstore.web.rest.answers import Answer
from davstore.web.rest.describing import VERSIONS
from davstore.web.rest.origins import Origins
from davstore.web.rest.problems import Problem

_log = logging.getLogger(__name__)

#: The endpoints, one blueprint per file.
BLUEPRINTS = (
    files.blueprint,
    folders.blueprint,
    help.blueprint,
    original.blueprint,
    parts.blueprint,
    search.blueprint,
    transfers.blueprint,
    tus.blueprint,
)

StartResponse = Callable[..., Any]

#: Browsers keep to the type that an answer says it has.
NOSNIFF: Headers = [("X-Content-Type-Options", "nosniff")]

#: The path of a request target, as it came: "/path?query" or "http://host/path".
_PATH = re.compile(r"(?:https?://[^/?#]*)?(/[^?#]*)", re.IGNORECASE)


class TargetConverter(BaseConverter):
    """The rest of the path, whatever it holds: what it names is judged as every path is."""

    regex = r"[\s\S]*"
    part_isolating = False
    weight = 200


class RestApp:
    """Answers what lies below `base`, such as "/filestorage/v1.0.0", for each version."""

    def __init__(self, flask_app: flask.Flask, realm: Realm, prefix: str) -> None:
        self._flask = flask_app
        self._proxies = Proxies.of(realm.settings.trusted_proxies, realm.settings.prefix)
        self._bases = tuple(f"{prefix}/{version}" for version in VERSIONS)

    def base_of(self, path: str) -> str | None:
        """What `path` begins with when it is this face's; None when it is not."""
        for base in self._bases:
            if path.startswith(base) and path[len(base) : len(base) + 1] in ("", "/"):
                return base
        return None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        base = self.base_of(path) or ""
        if self._proxies is not None:
            self._proxies.apply(environ)
        outer = environ.get("SCRIPT_NAME", "")
        environ[asked.PREFIX_KEY] = outer
        environ["SCRIPT_NAME"] = outer + base
        environ["PATH_INFO"] = path[len(base) :] or "/"
        return self._flask(environ, start_response)

    def explain(self, refusal: Refusal) -> tuple[Headers, bytes] | None:
        """The problem document of what the server refuses itself; None when it is not about this
        face. Nobody has looked at the path, which may be the very thing that is wrong."""
        match = _PATH.match(refusal.target)
        path = unquote(match[1], errors="replace") if match else ""
        if self.base_of(path) is None:
            return None
        problem = problems.of_server(refusal)
        return [("Content-Type", problems.MEDIA_TYPE), *NOSNIFF], problem.body()


def build_rest(realm: Realm, settings: Rest) -> RestApp:
    """The face over the shares of `realm`."""
    app = flask.Flask("davstore", static_folder=None, root_path="/")
    app.response_class = Answer
    app.config["PROPAGATE_EXCEPTIONS"] = True
    # An empty name in a path, or a slash at its end, is for the endpoint to judge.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.url_map.redirect_defaults = False
    app.url_map.converters["target"] = TargetConverter
    app.extensions["davstore"] = realm
    app.extensions["davstore.rest"] = settings
    _secure(app, Admission(realm), Origins(settings.origins))
    _explain(app, Admission(realm))
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return RestApp(app, realm, settings.prefix)


def _secure(app: flask.Flask, admission: Admission, origins: Origins) -> None:
    """Who may come in, in this order: the host that is meant, the page that sends, the user."""

    @app.before_request
    def admit() -> Answer | None:
        environ = asked.environ()
        admission.check_hosts(environ)
        preflight = origins.preflight(environ)
        if preflight is not None:
            return Answer(status=204, headers=preflight)
        admission.admit(environ)
        origins.check(environ)
        return None

    @app.after_request
    def show(response: Answer) -> Answer:
        for name, value in origins.shown(asked.environ()):
            response.headers.add(name, value)
        for name, value in NOSNIFF:
            response.headers.setdefault(name, value)
        return response


def _explain(app: flask.Flask, admission: Admission) -> None:
    """Make a problem document of everything that is raised."""

    @app.errorhandler(Problem)
    def of_problem(error: Problem) -> Answer:
        return error.response()

    @app.errorhandler(StoreError)
    def of_store(error: StoreError) -> Answer:
        return problems.of_store(error).response()

    @app.errorhandler(ConfigError)
    def of_config(error: ConfigError) -> Answer:
        # A share that connects when it is first asked, and now finds its settings wrong.
        _log.error("a share cannot be used: %s", "; ".join(error.faults))
        return problems.of_store(Unavailable(paths.ROOT)).response()

    @app.errorhandler(DAVError)
    def of_dav(error: DAVError) -> Answer:
        if error.value == 401 and not error.add_headers:
            return problems.of_dav(admission.challenge(error.context_info or "")).response()
        return problems.of_dav(error).response()

    @app.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> Answer:
        return problems.of_http(error).response()

    @app.errorhandler(Exception)
    def of_bug(error: Exception) -> Answer:
        if isinstance(error, BodyError):
            raise error  # the server knows what to answer, if there is anybody left to hear it
        _log.exception("a request of the REST face failed")
        sentence = "Something went wrong here; the server's log has more."
        return Problem(500, "internal", sentence).response()
