"""The configuration, read again while davstore serves (SIGHUP).

What sockets and private mongods are made from stays as it is until a restart.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from davstore.auth.rules import build_authority
from davstore.commands.rehearsing import prepare_folders, try_out
from davstore.config import Config, MongoShare, load_config, read_config
from davstore.errors import ConfigError
from davstore.server.plan import Plan

_log = logging.getLogger(__name__)


class ConfigRenewal:
    """A `davstore.server.plan.Renewal`.

    `file` and `given` are what `load_config` takes. `running` is the configuration that davstore
    was started with; `embedded` has the addresses of the private mongods that run, by folder.
    """

    def __init__(
        self,
        file: Path | None,
        given: Mapping[str, Any],
        running: Config,
        embedded: Mapping[Path, str],
        make_plan: Callable[[Config], Plan],
    ) -> None:
        self._file = file
        self._given = given
        self._running = running
        self._embedded = embedded
        self._make_plan = make_plan

    def prepare(self) -> bytes:
        """The new configuration, pickled: the supervisor reads no files and waits for no disk."""
        # With the bound address in place of the one that may be asked for now: who may enter
        # depends on it. The token of Consul is part of it, so it stays in memory only.
        config = load_config(self._file, {**self._given, **self._bound()})
        self._tell_what_stays(read_config(self._file, self._given))
        config = self._with_kept(config)
        build_authority(config)
        prepare_folders(config)
        _, faults = try_out(config)
        if faults:
            raise ConfigError(faults)
        return pickle.dumps(config)

    def plan(self, prepared: bytes) -> Plan:
        config: Config = pickle.loads(prepared)  # noqa: S301 - our own child wrote it
        return self._make_plan(config)

    def _bound(self) -> dict[str, Any]:
        listen, admin = self._running.listen, self._running.admin
        bound: dict[str, Any] = {"listen.host": listen.host, "listen.port": listen.port}
        if admin is not None:
            bound |= {"admin.host": admin.host, "admin.port": admin.port}
        return bound

    def _tell_what_stays(self, asked: Config) -> None:
        running = self._running
        if asked.listen != running.listen:
            _log.warning("listen: stays as it is until davstore is started again")
        if asked.admin != running.admin:
            _log.warning("admin: stays as it is until davstore is started again")
        if asked.consul is not None and running.admin is None:
            _log.warning("consul: without the admin listener, not before davstore is started again")

    def _with_kept(self, config: Config) -> Config:
        """`config` with what stays, and with the addresses of the private mongods."""
        shares = dict(config.shares)
        unused = set(self._embedded)
        for mount, share in config.shares.items():
            if isinstance(share, MongoShare) and (folder := share.embedded) is not None:
                if folder not in self._embedded:
                    raise ConfigError(
                        [
                            f"shares.{mount}.uri: the private mongod in {str(folder)!r} does not"
                            " run yet; start davstore again"
                        ]
                    )
                unused.discard(folder)
                shares[mount] = share.model_copy(update={"uri": self._embedded[folder]})
        for folder in sorted(unused):
            _log.warning("The private mongod in %s runs until davstore is started again", folder)
        kept: dict[str, Any] = {"shares": shares}
        if self._running.admin is None:
            kept |= {"admin": None, "consul": None}
        return config.model_copy(update=kept)


def embedded_addresses(asked: Config, running: Config) -> dict[Path, str]:
    """Where the private mongods that `asked` names listen, which `running` has."""
    found: dict[Path, str] = {}
    for mount, share in asked.shares.items():
        now = running.shares[mount]
        if isinstance(share, MongoShare) and isinstance(now, MongoShare) and share.embedded:
            found[share.embedded] = now.uri
    return found
