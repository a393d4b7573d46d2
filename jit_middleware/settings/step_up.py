"""Which paths ask for more than a session: the rules, and the reader of their value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from jit_middleware.http.paths import validate_pattern
from jit_middleware.records import dataclass
from jit_middleware.settings.values import BadValue, blank_list, comma_list, positive_seconds, rows, shown

#: What can stand between quotes in WWW-Authenticate, and between blanks in ``acr_values``.
_ACR: Final = re.compile(r"[!#-\[\]-~]{1,255}")
_KEYS: Final = frozenset({"paths", "acr", "max_age"})
_LONGEST: Final = 31 * 86_400
_EXAMPLE: Final = 'write {"paths": ["/admin/*"], "acr": ["..."], "max_age": "15m"}.'
_LIST: Final = 'write a list of rules: [{"paths": ["/admin/*"], "acr": ["..."], "max_age": "15m"}].'


@dataclass(frozen=True, slots=True)
class StepUpRule:
    """On these ``paths`` the login's ``acr`` must be one of those named (empty: any), and the person must have
    authenticated at most ``max_age`` seconds ago (``None``: whenever)."""

    paths: tuple[str, ...]
    acr: tuple[str, ...] = ()
    max_age: int | None = None


def step_up_rules(value: object) -> tuple[StepUpRule, ...]:
    """Rules as ``[[step_up]]`` tables or JSON: each with paths, and an acr or a max_age or both."""
    try:
        given = rows(value)
    except BadValue as bad:
        raise BadValue(bad.problem, _LIST) from bad
    return tuple(_rule(row, number) for number, row in enumerate(given, start=1))


def _rule(row: Mapping[str, object], number: int) -> StepUpRule:
    if "paths" not in row or not _KEYS.issuperset(row):
        raise BadValue(f"rule {number} has other keys than paths, acr and max_age, or no paths.", _EXAMPLE)
    try:
        rule = StepUpRule(
            paths=_paths(row["paths"]),
            acr=_acr(row["acr"]) if "acr" in row else (),
            max_age=positive_seconds(row["max_age"]) if "max_age" in row else None,
        )
    except BadValue as bad:
        raise BadValue(f"in rule {number}, {bad.problem}", bad.fix) from bad
    if not rule.acr and rule.max_age is None:
        raise BadValue(f"rule {number} asks for nothing.", "give it an acr, a max_age or both.")
    if rule.max_age is not None and rule.max_age > _LONGEST:
        raise BadValue(f"the max_age of rule {number} is longer than any session.", "write at most 31d.")
    return rule


def _paths(value: object) -> tuple[str, ...]:
    patterns = comma_list(value)
    for pattern in patterns:
        problem = validate_pattern(pattern)
        if problem is not None:
            raise BadValue(problem, "write /exact or /prefix/*.")
    if not patterns:
        raise BadValue("it names no path.", "write /exact or /prefix/*.")
    return patterns


def _acr(value: object) -> tuple[str, ...]:
    names = blank_list(value)
    for name in names:
        if not _ACR.fullmatch(name):
            raise BadValue(f"{shown(name)} cannot be an acr.", "write it as the provider does, in printable ASCII.")
    if not names:
        raise BadValue("it names no acr.", "name at least one, or leave acr out.")
    return names


def covers(pattern: str, path: str) -> bool:
    """Whether the rule for this pattern is meant by the path, however an app reads it.

    Without case, and with or without a slash at the end: the app may not tell these apart, and asking once too often
    does no harm. Both are folded already.
    """
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1]) or path == pattern[:-2]
    return (path.removesuffix("/") or "/") == (pattern.removesuffix("/") or "/")
