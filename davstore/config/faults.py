"""What pydantic finds wrong, as sentences that name key, value and where it stood."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from davstore.config.model import Config
from davstore.config.sources import PREFIX, Place

#: The discriminator's values, which pydantic puts into an error's location.
_STORES = ("folder", "mongo", "memory")

_MEANINGS = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is too large",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "float_parsing": "is not a number",
    "string_type": "is not a text",
    "string_pattern_mismatch": "holds a character that cannot stand here",
    "byte_size": "is not a size; write bytes, or 64KiB, 1MiB, 20GB",
    "byte_size_unit": "is not a size; write bytes, or 64KiB, 1MiB, 20GB",
    "greater_than": "has to be greater than {gt}",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "too_short": "is empty; at least one is needed",
    "literal_error": "has to be one of {expected}",
    "union_tag_invalid": "is not a kind of store; there are {expected_tags}",
    "model_type": "is not a section with settings of its own (`key: value` lines)",
    "model_attributes_type": "is neither a folder nor a section with settings of its own",
    "union_tag_not_found": "is neither a folder nor a section with settings of its own",
    "dict_type": "is not a mapping of paths to shares",
    "tuple_type": "is not a list",
}


def place_of(details: ErrorDetails) -> Place:
    """The setting's place, without what pydantic adds for a union's member."""
    location = [str(part) for part in details["loc"]]
    if len(location) > 2 and location[0] == "shares" and location[2] in _STORES:
        del location[2]
    if location[-1] == "[key]":
        del location[-1]
    if details["type"] == "union_tag_invalid":
        location.append("store")
    return tuple(location)


def sentences(error: ValidationError, origins: Mapping[Place, str]) -> list[str]:
    """One sentence per fault, in the order of the settings."""
    return [_sentence(details, origins) for details in error.errors(include_url=False)]


def _sentence(details: ErrorDetails, origins: Mapping[Place, str]) -> str:
    place = place_of(details)
    key = ".".join(place)
    kind = details["type"]
    if kind == "missing":
        return f"{key}: is missing{origin(place[:-1], origins)}"
    value = details["input"]
    if kind == "union_tag_invalid":
        value = details["ctx"]["tag"]
    where = origin(place, origins)
    if kind == "extra_forbidden":
        return (
            f"{key}: {_shown(value)} is set, but there is no such setting{_similar(place)}{where}"
        )
    if kind == "value_error":
        meaning = str(details["ctx"]["error"])
        # A fault of a whole section names the value itself.
        return f"{key}: {'' if isinstance(value, dict) else _shown(value) + ' '}{meaning}{where}"
    meaning = _MEANINGS.get(kind, f"is wrong: {details['msg']}").format(**details.get("ctx", {}))
    return f"{key}: {_shown(value)} {meaning}{where}"


def _shown(value: object) -> str:
    text = repr(str(value)) if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else text[:200] + "..."


def origin(place: Place, origins: Mapping[Place, str]) -> str:
    """Where the setting, or the nearest thing around it, was given; "" for a default."""
    while place:
        if place in origins:
            return f" ({origins[place]})"
        place = place[:-1]
    return ""


def _similar(place: Place) -> str:
    close = difflib.get_close_matches(place[-1], _fields_at(place[:-1]), n=1, cutoff=0.6)
    # DAVSTORE_LISTEN_PORT for DAVSTORE_LISTEN__PORT; else a setting of another section.
    other = [key for key in _all_keys() if place == (key.replace(".", "_"),)]
    if not close and not other:
        other = [key for key in _all_keys() if key.split(".")[-1] == place[-1]]
    if other:
        return f"; did you mean {other[0]} ({PREFIX}{other[0].upper().replace('.', '__')})?"
    return f"; did you mean {'.'.join((*place[:-1], close[0]))}?" if close else ""


def _fields_at(place: Sequence[str]) -> list[str]:
    """The names of the settings in the section at `place`."""
    models: list[type[BaseModel]] = [Config]
    parts = list(place)
    while parts:
        part = parts.pop(0)
        annotations = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if part == "shares" and parts:
            parts.pop(0)
        models = [model for annotation in annotations for model in _models_in(annotation)]
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated, dict):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []


def _all_keys() -> list[str]:
    sections = (name for name in Config.model_fields if name != "shares")
    return [f"{section}.{name}" for section in sections for name in _fields_at((section,))]
