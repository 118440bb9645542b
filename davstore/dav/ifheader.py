"""The `If` header (RFC 4918, 10.4): its grammar, and when it holds.

If           = 1*No-tag-list | 1*Tagged-list
No-tag-list  = List
Tagged-list  = Resource-Tag 1*List
List         = "(" 1*Condition ")"
Condition    = ["Not"] (State-token | "[" entity-tag "]")
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

#: One token of the header: a coded URL, an entity tag, a parenthesis or the word Not.
_TOKEN = re.compile(
    r"""\s*(?:<(?P<url>[^<>\s]*)>|\[\s*(?P<etag>(?:W/)?"[^"]*"|[^\]\s"]+)\s*\]"""
    r"""|(?P<open>\()|(?P<close>\))|(?P<not>Not)(?=[\s<\[]))""",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """`value` is a lock token's URI, or an entity tag as it was written."""

    is_etag: bool
    value: str
    negated: bool


@dataclass(frozen=True, slots=True)
class ConditionList:
    """All conditions have to hold for the resource `tag` (None: the request's own)."""

    tag: str | None
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class IfHeader:
    lists: tuple[ConditionList, ...]

    def tokens(self) -> frozenset[str]:
        """Every state token that was submitted, whether or not its list holds."""
        return frozenset(
            condition.value
            for each in self.lists
            for condition in each.conditions
            if not condition.is_etag
        )

    def holds(self, test: Callable[[str | None, Condition], bool]) -> bool:
        """Whether any list holds (10.4.3). `test` says if a condition, taken without its
        Not, is true of the resource with that tag."""
        return any(
            all(test(each.tag, condition) is not condition.negated for condition in each.conditions)
            for each in self.lists
        )


def parse(text: str) -> IfHeader:
    """Raises ValueError when `text` is not of the grammar."""
    lists: list[ConditionList] = []
    tag: str | None = None
    is_alone = False
    at = 0
    while at < len(text.rstrip()):
        match = _next(text, at)
        at = match.end()
        if match["url"] is not None:
            if lists and tag is None:
                raise ValueError("tagged and untagged lists are mixed")
            if is_alone:
                break
            tag = match["url"]
            is_alone = True
        elif match["open"] is not None:
            conditions, at = _parse_list(text, at)
            lists.append(ConditionList(tag, conditions))
            is_alone = False
        else:
            raise ValueError(f"a list was expected at {match.group().strip()!r}")
    if not lists or is_alone:
        raise ValueError("a list is missing")
    return IfHeader(tuple(lists))


def _parse_list(text: str, at: int) -> tuple[tuple[Condition, ...], int]:
    conditions: list[Condition] = []
    negated = False
    while True:
        match = _next(text, at)
        at = match.end()
        if match["close"] is not None:
            if not conditions or negated:
                raise ValueError("a list is incomplete")
            return tuple(conditions), at
        if match["not"] is not None and not negated:
            negated = True
            continue
        if match["url"] is not None:
            conditions.append(Condition(False, match["url"], negated))
        elif match["etag"] is not None:
            conditions.append(Condition(True, match["etag"], negated))
        else:
            raise ValueError("a condition was expected")
        negated = False


def _next(text: str, at: int) -> re.Match[str]:
    match = _TOKEN.match(text, at)
    if match is None:
        raise ValueError(f"{text[at : at + 20]!r} cannot be understood")
    return match
