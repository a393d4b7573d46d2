"""JMESPath expressions, judged when settings are read: a typing mistake shows at start, not at somebody's login."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final, Protocol, TypeAlias, cast

import jmespath
from jmespath import functions
from jmespath.exceptions import JMESPathError, ParseError

from jit_middleware.settings.bare_names import compared_claims, refuse_bare_texts
from jit_middleware.settings.values import BadValue, shown, text

_LONGEST: Final = 1000
_DEEPEST: Final = 32
_MOST_PARTS: Final = 256
_WHOLE: Final = frozenset({"current", "identity"})
_CHAINS: Final = frozenset({"subexpression", "pipe"})
_RELATIVE: Final = _CHAINS | {"projection", "value_projection", "filter_projection", "index_expression"}


#: A place in the claims, from the top down.
ClaimPath: TypeAlias = tuple[str, ...]


class Expression(Protocol):
    """A compiled JMESPath expression."""

    @property
    def parsed(self) -> Mapping[str, object]: ...

    def search(self, value: object) -> object: ...


def expression(value: object) -> str:
    """The text of a JMESPath expression that compiles, calls only functions that exist, compares with no text that has
    lost its quotes, and is not excessive: at most 1000 characters, 256 parts, nested at most 32 deep."""
    source = text(value)
    if len(source) > _LONGEST:
        raise BadValue(f"it is longer than {_LONGEST} characters.", "write a shorter JMESPath expression.")
    try:
        parsed = compiled(source).parsed
    except (JMESPathError, RecursionError) as broken:
        problem = f"{shown(source)} is not a JMESPath expression{_place(broken, source)}."
        raise BadValue(problem, "see https://jmespath.org for its grammar.") from broken
    if not _is_modest(parsed):
        problem = f"it has more than {_MOST_PARTS} parts, or they are nested more than {_DEEPEST} deep."
        raise BadValue(problem, "write a simpler JMESPath expression.")
    for name in _function_names(parsed):
        if name not in _KNOWN_FUNCTIONS:
            raise BadValue(
                f"JMESPath has no function {shown(name)}.", "see https://jmespath.org for the functions it has."
            )
    refuse_bare_texts(parsed)
    return source


def compiled(source: str) -> Expression:
    """The compiled expression; raises ``jmespath.exceptions.JMESPathError`` when it is none."""
    return cast("Expression", jmespath.compile(source))


def claims_compared(source: str) -> tuple[tuple[str, str], ...]:
    """The claims that the expression compares with each other: perhaps the second is a text without its quotes."""
    return tuple(compared_claims(compiled(source).parsed)) if source else ()


def claims_mentioned(source: str) -> frozenset[str]:
    """The top-level names the expression may look at: ``preferred_username || address.mail`` looks at
    ``preferred_username`` and ``address``."""
    return frozenset(path[0] for path in paths_mentioned(source) if path)


def paths_mentioned(source: str) -> frozenset[ClaimPath]:
    """Where the expression may look: ``groups || realm_access.roles`` looks at ``("groups",)`` and ``("realm_access",
    "roles")``, and everything below. The empty path is all claims together, as for ``keys(@)`` and ``*.name``."""
    return frozenset(_paths(compiled(source).parsed))


def looks_at(source: str, paths: Collection[ClaimPath]) -> bool:
    """Whether the expression may look at something that lies at one of these paths, above or below it."""
    return any(path[: len(other)] == other[: len(path)] for path in paths_mentioned(source) for other in paths)


def _place(broken: Exception, source: str) -> str:
    """Where the parser has stopped; nothing where it does not say."""
    if not isinstance(broken, ParseError):
        return ""
    column = int(broken.lex_position) + 1
    return " (it ends too early)" if column > len(source) else f" (column {column})"


_KNOWN_FUNCTIONS: Final = frozenset(cast("Mapping[str, object]", functions.Functions.FUNCTION_TABLE))


def _paths(node: Mapping[str, object]) -> Iterator[ClaimPath]:
    kind = node["type"]
    if kind == "field":
        yield (str(node["value"]),)
        return
    if kind in _WHOLE:
        yield ()
        return
    if kind == "expref":  # evaluated against the elements of a list, not against the claims
        return
    children = _children(node)
    if kind in _RELATIVE:  # what stands to the right looks at what the left found
        whole = sum(1 for _ in takewhile(lambda child: child["type"] in _WHOLE, children)) if kind in _CHAINS else 0
        names = tuple(_leading(children[whole:] if kind == "subexpression" else children[whole : whole + 1]))
        if names:
            yield names
            return
        children = children[whole : whole + 1] or children[:1]
    for child in children:
        yield from _paths(child)


def _leading(chain: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """The names that a chain begins with, each inside the one before; an index, a filter or a function ends them."""
    for node in chain:
        if node["type"] != "field":
            children = _children(node) if node["type"] in _RELATIVE else ()
            yield from _leading(children if node["type"] == "subexpression" else children[:1])
            return
        yield str(node["value"])


def _function_names(node: Mapping[str, object]) -> Iterator[str]:
    if node["type"] == "function_expression":
        yield str(node["value"])
    for child in _children(node):
        yield from _function_names(child)


def _is_modest(node: Mapping[str, object]) -> bool:
    waiting = [(node, 1)]
    for parts in range(_MOST_PARTS + 1):
        if not waiting:
            return True
        part, depth = waiting.pop()
        if depth > _DEEPEST or parts == _MOST_PARTS:
            return False
        waiting.extend((child, depth + 1) for child in _children(part))
    return False


def _children(node: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    children = cast("Sequence[Mapping[str, object] | int | None]", node["children"])  # numbers are a slice's bounds
    return tuple(child for child in children if isinstance(child, Mapping))
