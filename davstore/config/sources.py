"""Where settings come from: a YAML file, and environment variables that begin with DAVSTORE_.

Each source gives nested mappings and remembers where every value stood, so that a fault can
say so. Values stay as they were written; the models judge them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from davstore.config.values import FileText

PREFIX = "DAVSTORE_"

#: Names the configuration file itself; the command line reads it.
FILE_VARIABLE = "DAVSTORE_CONFIG"

#: What Kubernetes sets in every container beside a service that is called "davstore".
_SERVICE_LINK = re.compile(r"DAVSTORE_(SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")
_SERVICE_LINK_URL = re.compile(r"(tcp|udp|sctp)://")

#: A setting's place: the keys from the top.
Place = tuple[str, ...]


@dataclass
class Source:
    """Settings from one place. `origins` says where a value stood; `faults` are sentences."""

    settings: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_file(file: Path) -> Source:
    """The settings in a YAML file. A key without a value counts as not given."""
    source = Source()
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        source.faults.append(f"{file}: byte {error.start + 1} is not UTF-8")
        return source
    except OSError as error:
        source.faults.append(f"{file}: cannot be read: {error.strerror}")
        return source
    try:
        _parse(text, file, source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        source.faults.append(f"{file}{where}: {error.problem or error.context}")
    except yaml.reader.ReaderError as error:
        source.faults.append(f"{file}, character {error.position + 1}: {error.reason}")
    except RecursionError:
        source.faults.append(f"{file}: is nested too deeply")
    return source


def _parse(text: str, file: Path, source: Source) -> None:
    folder = file.absolute().parent
    loader = _loader(folder)(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            source.faults.append(f"{file}: is not a mapping of settings (`key: value` lines)")
            return
        _note_lines(node, (), file, source)
        settings = _plain(loader.construct_document(node))
        source.settings = settings if isinstance(settings, dict) else {}
    finally:
        loader.dispose()


def _loader(folder: Path) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Texts remember the folder of their file, see `values.anchored`."""

    def text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> FileText:
        return FileText(str(loader.construct_scalar(node)), folder)

    def as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
        return str(loader.construct_scalar(node))

    Loader.add_constructor("tag:yaml.org,2002:str", text)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", as_written)
    return Loader


def _note_lines(node: yaml.Node, place: Place, file: Path, source: Source) -> None:
    """Remember the line of every key, and complain of keys that are given twice."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        here = f"{file}, line {key.start_mark.line + 1}"
        if name in seen:
            source.faults.append(f"{'.'.join((*place, name))}: is given twice ({here})")
        seen.add(name)
        source.origins[(*place, name)] = here
        _note_lines(value, (*place, name), file, source)


def _plain(value: object) -> object:
    """`value` with texts for keys and without keys that have no value."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def read_environment(environ: Mapping[str, str]) -> Source:
    """DAVSTORE_LISTEN__PORT is listen.port. An empty variable counts as not given.

    What is not a single value (DAVSTORE_SHARES) is written as YAML or JSON in braces.
    """
    source = Source()
    for variable, text in sorted(_relevant(environ)):
        place = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        try:
            value = _braced(text)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "is not YAML"
            source.faults.append(f"{variable}: {text!r} cannot be read: {problem}")
            continue
        source.origins[place] = variable
        if not _put(source.settings, place, value):
            source.faults.append(f"{variable}: another variable sets {'.'.join(place)} otherwise")
    return source


def _relevant(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE or not text.strip():
            continue
        link = _SERVICE_LINK.fullmatch(variable)
        if link or (variable == "DAVSTORE_PORT" and _SERVICE_LINK_URL.match(text)):
            continue
        yield variable, text


def _braced(text: str) -> object:
    return _plain(yaml.safe_load(text)) if text.lstrip().startswith(("{", "[")) else text


def read_overrides(overrides: Mapping[str, Any]) -> Source:
    """Settings by dotted key, as the command line gives them."""
    source = Source()
    for key, value in overrides.items():
        place = tuple(key.split("."))
        source.origins[place] = "command line"
        _put(source.settings, place, value)
    return source


def _put(settings: dict[str, Any], place: Place, value: object) -> bool:
    """Set the value at `place`; False when something that is no mapping is in the way."""
    for key in place[:-1]:
        settings = settings.setdefault(key, {})
        if not isinstance(settings, dict):
            return False
    known = settings.get(place[-1])
    if isinstance(known, dict) and isinstance(value, dict):
        known.update(value)
        return True
    settings[place[-1]] = value
    return known is None


def merge(sources: list[Source]) -> Source:
    """The later source wins. Sections are merged, but shares are replaced as a whole."""
    result = Source()
    for source in sources:
        for key, value in source.settings.items():
            known = result.settings.get(key)
            if key != "shares" and isinstance(known, dict) and isinstance(value, dict):
                result.settings[key] = {**known, **value}
            else:
                if key == "shares":
                    _forget(result.origins, key)
                result.settings[key] = value
        result.origins.update(source.origins)
        result.faults += source.faults
    return result


def _forget(origins: dict[Place, str], section: str) -> None:
    for place in [place for place in origins if place[0] == section]:
        del origins[place]
