"""From sources to a Config, or to everything that is wrong, at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from davstore.config import checks
from davstore.config.faults import origin, place_of, sentences
from davstore.config.model import Config
from davstore.config.sources import (
    Place,
    Source,
    merge,
    read_environment,
    read_file,
    read_overrides,
)
from davstore.errors import ConfigError

_Check = Callable[[Config], Iterable[checks.Fault]]

#: Bytes of a name that every file system takes.
_LONGEST_NAME = 200


def load_config(
    file: Path | None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The settings to serve with: command line before environment before file before defaults.

    `file` None: there is none. `overrides` are the command line's, by dotted key
    ("listen.port"). `environ` is os.environ when None. Nothing is created or changed.
    Raises ConfigError with all faults, those of this machine (missing folders, ...) included.
    """
    return _load(file, overrides or {}, environ, checks.faults)


def read_config(
    file: Path | None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """As `load_config`, but whether it can be served on this machine is not looked at."""
    return _load(file, overrides or {}, environ, lambda _: ())


def _load(
    file: Path | None,
    overrides: Mapping[str, Any],
    environ: Mapping[str, str] | None,
    check: _Check,
) -> Config:
    sources = [
        read_file(file) if file is not None else Source(),
        read_environment(os.environ if environ is None else environ),
        read_overrides(overrides),
    ]
    merged = merge(sources)
    if "state" not in merged.settings:
        merged.settings["state"] = _default_state(file, overrides)
    config, faulty, found = _validate(merged)
    if config is not None:
        found += [
            f"{'.'.join(places[0])}: {sentence}{origin(places[0], merged.origins)}"
            for places, sentence in check(config)
            if not any(_touch(place, bad) for place in places for bad in faulty)
        ]
    if merged.faults or found or config is None:
        raise ConfigError(merged.faults + found)
    return config


def _default_state(file: Path | None, overrides: Mapping[str, Any]) -> Path | str:
    """Beside the configuration file; for a folder served without one, in the user's own state.

    See the XDG base directory specification. What is remembered of one served folder must
    never be taken for another's, so each has a folder of its own there.
    """
    try:
        root = os.fsencode(os.path.realpath(overrides["shares"]["/"]["root"]))
    except (KeyError, TypeError, ValueError):  # not given, or so wrong that it will be told
        return (Path.cwd() if file is None else file.absolute().parent) / "state"
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    # A text: whether there is a home folder is judged with the other settings.
    return f"{home}/davstore/{_state_name(root)}"


def _state_name(root: bytes) -> str:
    """One name for the folder `root`, which people can read unless it is too long for that."""
    name = quote(root, safe="")
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:100]}-{hashlib.sha256(root).hexdigest()}"


def _validate(source: Source) -> tuple[Config | None, list[Place], list[str]]:
    """The Config, the places of faulty settings, and the sentences on them.

    When there are faults the Config is the one with the faulty settings left out, so that
    the rest can still be looked at; None when that cannot be had.
    """
    settings = source.settings
    faulty: list[Place] = []
    found: list[str] = []
    # Leaving a setting out can make another one faulty: a share without its root.
    for _ in range(4):
        try:
            return Config.model_validate(settings), faulty, found
        except ValidationError as error:
            found = found or sentences(error, source.origins)
            for details in error.errors(include_url=False):
                missing = details["type"] == "missing"
                place = place_of(details)[:-1] if missing else place_of(details)
                faulty.append(place)
                settings = _without(settings, place)
    return None, faulty, found


def _without(settings: dict[str, Any], place: Place) -> dict[str, Any]:
    """A copy of `settings` without the one at `place`, or without what is there instead."""
    kept = {key: value for key, value in settings.items() if key != place[0]}
    inner = settings.get(place[0])
    if len(place) > 1 and isinstance(inner, dict):
        kept[place[0]] = _without(inner, place[1:])
    return kept


def _touch(place: Place, other: Place) -> bool:
    """Whether one of the two lies within the other."""
    shorter = min(len(place), len(other))
    return place[:shorter] == other[:shorter]
