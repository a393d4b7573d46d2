"""Texts that have lost their quotes: in JMESPath, ``hd == example.org`` compares two claims.

Such a comparison is never true, so people are kept out rather than let in, but only at their login. Where what stands
there can be no claim it is a fault at start; where it could be one, a note. ``@.name`` is the way to say that a claim
is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias, cast

from jit_middleware.settings.values import BadValue, shown

_Node: TypeAlias = Mapping[str, object]

_LITERALS: Final = frozenset({"true", "false", "null"})
#: What a domain ends with, and the name of a claim inside another does not. (``id`` and ``name`` are domains as well.)
_ENDINGS: Final = frozenset({"com", "edu", "example", "gov", "invalid", "mil", "net", "org"})
_SEARCH: Final = frozenset({"contains", "ends_with", "starts_with"})


def refuse_bare_texts(parsed: _Node) -> None:
    """Raises ``BadValue`` where a comparison names as a claim what can only be a text, or ``true``, ``false`` or
    ``null``."""
    for operands in _comparisons(parsed):
        names = [_bare_name(operand) for operand in operands]
        for name in names:
            if name in _LITERALS:
                problem = f"it compares with a claim of the name {name}."
                raise BadValue(problem, f"write `{name}` in backticks. (A claim of that name is @.{name}.)")
            if name is not None and ("@" in name or (None not in names and _is_domain(name))):
                problem = f"it compares with a claim of the name {shown(name)}, which no provider has."
                fix = f"write the text in single quotes, {_quoted(name)}, and see that the shell leaves them there."
                raise BadValue(problem, fix)


def compared_claims(parsed: _Node) -> Iterator[tuple[str, str]]:
    """The pairs of claims that are compared with each other, where the second is easily a text without its quotes."""
    for operands in _comparisons(parsed):
        first, second = (_bare_name(operand) for operand in operands)
        if first is not None and second is not None:
            yield first, second


def _comparisons(node: _Node) -> Iterator[Sequence[_Node]]:
    """Both sides of each, of ``==`` and the like and of functions that look for a text in another."""
    children = _children(node)
    is_search = node["type"] == "function_expression" and node["value"] in _SEARCH
    if len(children) == 2 and (is_search or node["type"] == "comparator"):
        yield children
    for child in children:
        yield from _comparisons(child)


def _bare_name(node: _Node) -> str | None:
    """``hd``, or ``example.org``; ``None`` for anything but plain names."""
    if node["type"] == "field":
        return str(node["value"])
    if node["type"] != "subexpression":
        return None
    names = [_bare_name(child) for child in _children(node)]
    return None if None in names else ".".join(cast("list[str]", names))


def _is_domain(name: str) -> bool:
    return "." in name and name.rpartition(".")[2].lower() in _ENDINGS and not {":", "/"} & set(name)


def _quoted(name: str) -> str:
    return "'" + name.replace("'", r"\'") + "'"


def _children(node: _Node) -> Sequence[_Node]:
    children = cast("Sequence[object]", node["children"])  # numbers are a slice's bounds
    return tuple(cast("_Node", child) for child in children if isinstance(child, Mapping))
