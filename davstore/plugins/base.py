"""What a plugin is, and how those of a node are started and stopped together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

_log = logging.getLogger(__name__)


class Plugin(Protocol):
    """Something that starts with a node and stops with it, beside the serving of files."""

    #: What the log calls it.
    name: str

    def start(self) -> None:
        """Begin, in threads of its own; returns at once."""

    def leave(self) -> None:
        """The node is about to stop: withdraw it from wherever it was made known.

        Takes 2.5 s at the most. Not called when only the housekeeper starts anew.
        """

    def stop(self) -> None:
        """End what `start` began; takes 2 s at the most. What was made known stays known."""


class Plugins:
    """All plugins of a node. One that fails never disturbs another one."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins = list(plugins)

    @property
    def names(self) -> list[str]:
        return [plugin.name for plugin in self._plugins]

    def start(self) -> None:
        for plugin in self._plugins:
            _try("start", plugin, plugin.start)

    def leave(self) -> None:
        for plugin in self._plugins:
            _try("withdraw the node", plugin, plugin.leave)

    def stop(self) -> None:
        for plugin in reversed(self._plugins):
            _try("stop", plugin, plugin.stop)


def _try(what: str, plugin: Plugin, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        _log.exception("the plugin %s could not %s", plugin.name, what)
