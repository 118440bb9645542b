"""Puts one process's application together from the configuration."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from davstore import paths
from davstore.auth.rules import build_authority
from davstore.config import Config, FolderShare, MemoryShare, MongoShare
from davstore.dav.app import DavApp
from davstore.dav.provider import StoreProvider
from davstore.dav.request import DavSettings, Environ, Realm, Share
from davstore.dav.response import Headers
from davstore.errors import ConfigError, StoreError, Unavailable
from davstore.handoff import Refusal
from davstore.lazily import Lazily
from davstore.locks.base import LockStore
from davstore.locks.memory import MemoryLocks
from davstore.locks.mongo import MongoLocks
from davstore.locks.routing import Route, RoutedLocks
from davstore.locks.sqlite import SqliteLocks
from davstore.plugins.build import build_plugins
from davstore.providers.folder import FolderProvider
from davstore.providers.gridfs import GridFsProvider
from davstore.server.admin import admin_listener
from davstore.server.housekeeper import Duty
from davstore.server.tallies import Tallies
from davstore.stores.base import Closable, Context, Node, Sweepable
from davstore.stores.catalog import Catalog
from davstore.stores.memory import MemoryStore
from davstore.stores.mongo.store import MongoStore
from davstore.web import browser
from davstore.web.admin import AdminApp, build_admin
from davstore.web.rest.service import RestApp, build_rest
from davstore.web.watching import Watched, watched

_log = logging.getLogger(__name__)

#: Seconds between two rounds of the background duties.
_PAUSE = 1.0


class Application:
    """One process's application: the REST face below its prefix, WebDAV everywhere else."""

    def __init__(self, dav: DavApp, rest: RestApp | None, prefix: str) -> None:
        self.dav = dav
        self.rest = rest
        # A longer path than this is looked at closely; every other costs one comparison.
        self._beginning = f"{prefix}/v1.0.0"

    def __call__(
        self, environ: Environ, start_response: Callable[[str, Headers], object]
    ) -> Iterable[bytes]:
        rest = self.rest
        path = environ["PATH_INFO"]
        if rest is not None and path.startswith(self._beginning) and rest.base_of(path):
            return rest(environ, start_response)
        return self.dav(environ, start_response)

    def explain(self, refusal: Refusal) -> tuple[Headers, bytes] | None:
        """Of what the server refuses itself: a problem document below the REST face's prefix."""
        return None if self.rest is None else self.rest.explain(refusal)

    def close(self) -> None:
        """Give back what the shares and the locks hold; see DavApp.close."""
        self.dav.close()


def build_app(config: Config) -> Application:
    """The application of one worker; called after the fork (open SQLite files do not survive it).

    Raises ConfigError (the file of users) and StoreError (a share that cannot be opened).
    """
    providers = build_providers(config)
    locks = build_locks(config, providers)
    for mount, provider in providers.items():
        # Connected before the first request; a database that is away is waited for then.
        with contextlib.suppress(Unavailable, ConfigError):
            provider.share.store.stat(Context(), paths.ROOT)
            locks.covering(mount, time.time())
    realm = Realm(
        {mount: provider.share for mount, provider in providers.items()},
        locks,
        build_authority(config),
        _settings(config),
        folder_page,
    )
    rest = build_rest(realm, config.rest) if config.rest.enabled else None
    return Application(DavApp(providers, realm), rest, config.rest.prefix)


def build_providers(config: Config) -> dict[str, StoreProvider]:
    """One provider per share, and a folder of the shares where none is mounted at "/"."""
    providers = {mount: build_provider(config, mount) for mount in config.shares}
    if paths.ROOT not in providers:
        catalog = Catalog(list(config.shares), time.time())
        providers[paths.ROOT] = StoreProvider(Share(paths.ROOT, catalog, read_only=True))
    return providers


def build_provider(config: Config, mount: str) -> StoreProvider:
    """The provider of the share at `mount`, one of `config.shares`; opens its store."""
    share = config.shares[mount]
    if isinstance(share, FolderShare):
        return FolderProvider(
            share.root,
            state=config.state,
            mount=mount,
            durability=share.durability,
            digests=share.digests,
            read_only=share.read_only,
            quota=share.quota,
        )
    if isinstance(share, MongoShare):
        return GridFsProvider(
            share.uri,
            share.database,
            mount=mount,
            inline_max=share.inline_max,
            chunk_size=share.chunk_size,
            digests=share.digests,
            read_only=share.read_only,
            quota=share.quota,
            grace=share.grace,
            write_concern=share.write_concern,
        )
    return StoreProvider(Share(mount, MemoryStore(capacity=share.quota), share.read_only))


def build_locks(config: Config, providers: Mapping[str, StoreProvider]) -> LockStore:
    """Where the locks of these shares are: those on a MongoDB share in its database, shared by
    all nodes that serve it; all others in the state folder, shared by all workers; in memory
    when the only worker keeps everything there.
    """
    only_memory = all(isinstance(share, MemoryShare) for share in config.shares.values())
    routes = [Route(paths.ROOT, paths.ROOT, partial(_local_locks, config, only_memory))]
    for mount, provider in providers.items():
        store = provider.share.store
        if isinstance(store, MongoStore):
            routes.append(Route(mount, mount, partial(_mongo_locks, store)))
    if len(routes) == 1:
        return routes[0].open()
    return RoutedLocks(routes)


def _local_locks(config: Config, in_memory: bool) -> LockStore:
    return MemoryLocks() if in_memory else SqliteLocks(config.state / "locks.db")


def _mongo_locks(store: MongoStore) -> LockStore:
    return MongoLocks(store.database, epoch=store.lock_epoch)


def _settings(config: Config) -> DavSettings:
    return DavSettings(
        infinite_depth=config.dav.infinite_depth,
        default_lock_seconds=config.dav.default_lock_seconds,
        max_lock_seconds=config.dav.max_lock_seconds,
        xml_bytes=config.limits.xml_bytes,
        request_deadline=config.limits.request_deadline,
        hosts=config.expected_hosts,
        trusted_proxies=config.proxy.trusted,
        prefix=config.proxy.prefix,
        realm=config.auth.realm,
    )


def folder_page(
    path: str, members: Iterator[Node], query: str, prefix: str
) -> tuple[list[tuple[str, str]], Iterator[bytes]]:
    """See `davstore.dav.request.FolderPage`."""
    headers = [
        ("Content-Type", browser.CONTENT_TYPE),
        ("Content-Security-Policy", browser.CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-cache"),
    ]
    return headers, browser.render_folder(path, members, query=query, prefix=prefix)


def run_housekeeping(config: Config, duty: Duty) -> None:
    """What runs once per node: the stores' background duties, until `duty.stop` is set.

    Dies and is started again like a worker; every duty can be taken up by the next one.
    """
    with contextlib.ExitStack() as stack:
        plugins = build_plugins(config, duty.port, duty.admin)
        stack.callback(plugins.stop)
        duty.on_leaving(plugins.leave)
        plugins.start()
        # Each is opened when it can be: a folder that is away stops nobody's duties but its own.
        shares = {mount: Lazily(partial(_kept_share, config, mount)) for mount in config.shares}
        locks = Lazily(partial(_kept_locks, config, shares))
        stack.callback(_close_all, shares.values(), locks)
        if duty.admin is not None:
            app = _admin_app(config, duty, shares, locks)
            stack.enter_context(admin_listener(duty.admin, app))
        sweepers = [Sweeper(mount, partial(_sweep, share)) for mount, share in shares.items()]
        sweepers.append(Sweeper("locks", lambda now: locks.get().sweep(now)))
        while not duty.stop.wait(_PAUSE):
            for sweeper in sweepers:
                sweeper.sweep(time.time())


class Sweeper:
    """Background duties that are tried again and again; the log tells when what fails changes."""

    def __init__(self, name: str, sweep: Callable[[float], object]) -> None:
        self._name = name
        self._sweep = sweep
        self._told = ""

    def sweep(self, now: float) -> None:
        try:
            self._sweep(now)
        except (StoreError, ConfigError) as error:
            if str(error) != self._told:
                text = "the background duties of %s wait and are tried again: %s"
                _log.warning(text, self._name, error)
            self._told = str(error)
        else:
            self._told = ""


def _sweep(share: Lazily[StoreProvider], now: float) -> None:
    store = share.get().share.store
    if isinstance(store, Sweepable) and not isinstance(store, MemoryStore):
        store.sweep(now)


def _kept_share(config: Config, mount: str) -> StoreProvider:
    """As `build_provider`. Raises Unavailable while the state folder is away: it was made before
    the workers began, and they would not have the one that opening a folder share makes."""
    if isinstance(config.shares[mount], FolderShare) and not config.state.is_dir():
        raise Unavailable(paths.ROOT, "The state folder is not there.")
    return build_provider(config, mount)


def _kept_locks(config: Config, shares: Mapping[str, Lazily[StoreProvider]]) -> LockStore:
    """As `build_locks`, which need not know the folders. A database is not asked for it."""
    in_databases = [m for m, share in config.shares.items() if isinstance(share, MongoShare)]
    return build_locks(config, {mount: shares[mount].get() for mount in in_databases})


def _close_all(shares: Iterable[Lazily[StoreProvider]], locks: Lazily[LockStore]) -> None:
    if locks.opened is not None:
        locks.opened.close()
    for share in shares:
        if share.opened is not None and isinstance(share.opened.share.store, Closable):
            share.opened.share.store.close()


def _admin_app(
    config: Config,
    duty: Duty,
    shares: Mapping[str, Lazily[StoreProvider]],
    locks: Lazily[LockStore],
) -> AdminApp:
    def watch(mount: str) -> Watched:
        def held(now: float) -> int:
            return locks.get().count_share(mount, list(config.shares), now)

        return watched(config.shares[mount], lambda: shares[mount].get().share.store, held)

    return build_admin(
        {mount: watch(mount) for mount in config.shares},
        duty.tallies or Tallies(),
        duty.worker_restarts,
        duty.leaving,
        duty.stop,
    )
