"""JMESPath expressions, judged when settings are read: a typing mistake shows at start, not at somebody's login."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final, Protocol, cast

import jmespath
from jmespath import functions
from jmespath.exceptions import JMESPathError

from jit_middleware.settings.values import BadValue, shown, text

_LONGEST: Final = 1000
_WHOLE: Final = frozenset({"current", "identity"})
_CHAINS: Final = frozenset({"subexpression", "pipe"})
_RELATIVE: Final = _CHAINS | {"projection", "value_projection", "filter_projection", "index_expression"}


class Expression(Protocol):
    """A compiled JMESPath expression."""

    @property
    def parsed(self) -> Mapping[str, object]: ...

    def search(self, value: object) -> object: ...


def expression(value: object) -> str:
    """The text of a JMESPath expression that compiles and calls only functions that exist."""
    source = text(value)
    if len(source) > _LONGEST:
        raise BadValue(f"it is longer than {_LONGEST} characters.", "write a shorter JMESPath expression.")
    try:
        parsed = compiled(source).parsed
    except (JMESPathError, RecursionError) as broken:
        raise BadValue(
            f"{shown(source)} is not a JMESPath expression.", "see https://jmespath.org for its grammar."
        ) from broken
    for name in _function_names(parsed):
        if name not in _KNOWN_FUNCTIONS:
            raise BadValue(
                f"JMESPath has no function {shown(name)}.", "see https://jmespath.org for the functions it has."
            )
    return source


def compiled(source: str) -> Expression:
    """The compiled expression; raises ``jmespath.exceptions.JMESPathError`` when it is none."""
    return cast("Expression", jmespath.compile(source))


def claims_mentioned(source: str) -> frozenset[str]:
    """The top-level names the expression may look at: ``preferred_username || address.mail`` looks at
    ``preferred_username`` and ``address``."""
    return frozenset(_top_level(compiled(source).parsed))


_KNOWN_FUNCTIONS: Final = frozenset(cast("Mapping[str, object]", functions.Functions.FUNCTION_TABLE))


def _top_level(node: Mapping[str, object]) -> Iterator[str]:
    kind = node["type"]
    if kind == "field":
        yield str(node["value"])
        return
    if kind == "expref":  # evaluated against the elements of a list, not against the claims
        return
    children = _children(node)
    if kind in _RELATIVE:  # what stands to the right looks at what the left found
        whole = sum(1 for _ in takewhile(lambda child: child["type"] in _WHOLE, children)) if kind in _CHAINS else 0
        children = children[whole : whole + 1]
    for child in children:
        yield from _top_level(child)


def _function_names(node: Mapping[str, object]) -> Iterator[str]:
    if node["type"] == "function_expression":
        yield str(node["value"])
    for child in _children(node):
        yield from _function_names(child)


def _children(node: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    children = cast("Sequence[Mapping[str, object] | int | None]", node["children"])  # numbers are a slice's bounds
    return tuple(child for child in children if isinstance(child, Mapping))
