"""JMESPath put to work on claims: always an answer in plain JSON, within a budget, whatever the claims are.

The operator writes the expressions, the provider (and so, in part, the person) fills the claims. A projection inside a
projection, ``join`` and ``[@, @]`` make much out of little, so an evaluation counts its steps and the size of all it
makes, and stops with :class:`TooCostly`. JMESPath has no regular expressions, and none are added.

What is missing is unknown, and unknown is never true, whichever way a condition is put. In JMESPath's own words a
missing claim is ``null``, and ``null == null``, ``null != 'x'`` and ``!null`` are true: a text without its quotes (the
name of a claim that nobody has) or a provider that leaves a claim out would open a gate. Here these find nothing, and
so does all that is made of them by ``!`` and ``||``, unless a literal stands to the right of ``||`` and says what the
missing claim counts for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions, signature
from jmespath.visitor import Options, TreeInterpreter

from jit_middleware.model import JSON, Claims

#: What one evaluation may spend. A step costs one; what it makes or compares, one for each value in it and for each
#: 64 characters of text.
BUDGET: Final = 250_000
_TEXT_UNIT: Final = 64
_LONGEST_INTEGER: Final = 160  # bits; a number of claims has at most 40 digits
_MAKES: Final = frozenset(
    {
        "flatten", "filter_projection", "projection", "value_projection", "slice", "multi_select_dict",
        "multi_select_list", "function_expression",
    }
)  # fmt: skip

Evaluation = Callable[[Claims], JSON]


class TooCostly(Exception):
    """The expression would take more steps, or make more, than an evaluation may."""


def evaluation(source: str) -> Evaluation:
    """The expression, ready to be asked for what it finds in claims; an empty one always finds ``None``.

    The settings have checked that it compiles. Where it meets a type it cannot work on, or finds what is no JSON, it
    finds ``None``; a condition whose answer is unknown is ``False``. The evaluation raises :class:`TooCostly`.
    """
    if not source:
        return lambda _claims: None
    parsed = cast("_Node", jmespath.compile(source).parsed)
    shortcut = _shortcut(parsed)
    if shortcut is not None:
        return shortcut

    def evaluate(claims: Claims) -> JSON:
        budget = _Budget(BUDGET)
        try:
            found = _Interpreter(budget).visit(parsed, claims)
            if found is None and _is_condition(parsed):
                return False
            return cast("JSON", found) if _is_json(found) else None
        # JMESPath lets Python's own errors through, as for a slice of step 0 or the ceiling of infinity
        except (JMESPathError, RecursionError, TypeError, ValueError, ArithmeticError):
            return None

    return evaluate


_Node = Mapping[str, object]


def _shortcut(node: _Node) -> Evaluation | None:
    """What most expressions are, asked without the interpreter and with the same answers: the name of a claim, the
    first of several that is there (``a || b``), an element in such a list (``contains(a, 'b')``)."""
    if node["type"] != "function_expression":
        return _first_of(node)
    arguments = _children(node)
    if node["value"] != "contains" or len(arguments) != 2:
        return None
    listed, sought = _first_of(arguments[0]), arguments[1]
    if listed is None or sought["type"] != "literal" or not isinstance(sought["value"], str):
        return None
    return _contains(listed, sought["value"])


def _first_of(node: _Node) -> Evaluation | None:
    if node["type"] == "field":
        name = str(node["value"])
        return lambda claims: claims.get(name)
    if node["type"] != "or_expression":
        return None
    first, second = (_first_of(child) for child in _children(node))
    if first is None or second is None:
        return None
    return lambda claims: second(claims) if _is_false(found := first(claims)) else found


def _contains(listed: Evaluation, name: str) -> Evaluation:
    def contains(claims: Claims) -> JSON:
        found = listed(claims)
        if isinstance(found, list):
            return name in found
        return False if found is None or isinstance(found, str) else None

    return contains


def _is_false(value: object) -> bool:
    """What JMESPath takes for false; a number never is."""
    return value is None or value is False or (isinstance(value, (str, list, dict)) and not value)


def _is_condition(node: _Node) -> bool:
    """Whether it asks, rather than names, something: then finding nothing means that the answer is unknown."""
    while node["type"] in {"and_expression", "or_expression"}:
        node = _children(node)[1]
    return node["type"] in {"comparator", "not_expression"} or (
        node["type"] == "function_expression" and node["value"] == "contains"
    )


def _is_missing(value: object) -> bool:
    """Whether it is ``null``, or has a part that is: ``[hd] == [absent]`` compares no more than ``hd == absent``."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if part is None:
            return True
        if isinstance(part, Mapping):
            waiting.extend(cast("Mapping[str, object]", part).values())
        elif isinstance(part, list):
            waiting.extend(cast("list[object]", part))
    return False


class _Budget:
    """What is left to spend."""

    __slots__ = ("_left",)

    def __init__(self, units: int) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Raises :class:`TooCostly` when that is more than is left."""
        self._left -= units
        if self._left < 0:
            raise TooCostly

    def weigh(self, value: object) -> None:
        """Spend what this value weighs. A part that stands in it twice is counted twice, as a reader would."""
        waiting = [value]
        while waiting:
            part = waiting.pop()
            self.spend(1)
            if isinstance(part, str):
                self.spend(len(part) // _TEXT_UNIT)
            elif isinstance(part, Mapping):
                members = cast("Mapping[str, object]", part)
                self.spend(sum(len(name) for name in members) // _TEXT_UNIT)
                waiting.extend(members.values())
            elif isinstance(part, list):
                waiting.extend(cast("list[object]", part))


class _Functions(Functions):  # type: ignore[misc]
    """JMESPath's own functions, but ``contains`` looks for an element of a list and never for a part of a text, and
    nothing is made of what is missing.

    ``contains(groups, 'admin')`` is how rules are written, and a provider that sends one text instead of a list, such
    as ``not-admin,guest``, must not fire it; nor must it fire ``!contains(groups, 'guest')``. JMESPath's ``to_array``
    and ``to_string`` make ``[null]`` and ``"null"`` of a missing claim.
    """

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget

    @signature({"types": ["array", "string", "null"]}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_contains(self, subject: JSON, search: JSON) -> bool | None:
        if not isinstance(subject, list) or _is_missing(search):
            return None
        is_switch = isinstance(search, bool)  # to Python, 1 is in [true]
        if any(each == search for each in subject if isinstance(each, bool) is is_switch):
            return True
        return None if None in subject else False

    @signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_array(self, value: JSON) -> JSON:
        return value if value is None or isinstance(value, list) else [value]

    @signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_string(self, value: JSON) -> str | None:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, separators=(",", ":"), default=str)

    @signature({"types": ["string"]}, {"types": ["array-string"]})  # type: ignore[untyped-decorator]
    def _func_join(self, separator: str, array: Sequence[str]) -> str:
        self._budget.spend(len(separator) * len(array) // _TEXT_UNIT)  # before it is made, for it may be very long
        return separator.join(array)


class _Interpreter(TreeInterpreter):  # type: ignore[misc]
    """JMESPath's own interpreter, which spends from a budget at each step and for all it makes and compares."""

    def __init__(self, budget: _Budget) -> None:
        super().__init__(Options(custom_functions=_Functions(budget)))
        self._budget = budget

    def visit(self, node: _Node, *args: object, **kwargs: object) -> object:
        self._budget.spend(1)
        found = _asked(super().visit, node, *args, **kwargs)
        if node["type"] in _MAKES:
            self._budget.weigh(found)
        return found

    def visit_comparator(self, node: _Node, value: object) -> object:
        left, right = operands = [self._weighed(child, value) for child in _children(node)]
        if (_is_missing(left) or _is_missing(right)) and not _is_about_null(node):
            return None
        if node["value"] not in {"eq", "ne"} and isinstance(left, str) is not isinstance(right, str):
            return None  # JMESPath orders numbers; text beside a number is an error of Python's
        return _asked(super().visit_comparator, _of_literals(node, operands), value)

    def visit_function_expression(self, node: _Node, value: object) -> object:
        arguments = [self._weighed(child, value) for child in _children(node)]
        if node["value"] == "contains" and self._lacks_a_list(_children(node)[0], value):
            arguments[0] = [*cast("list[object]", arguments[0]), None]
        return _asked(super().visit_function_expression, _of_literals(node, arguments), value)

    def _lacks_a_list(self, node: _Node, value: object) -> bool:
        """Whether it puts lists together, as ``[groups, roles][]``, and one is missing: JMESPath leaves that out."""
        for kind in ("projection", "flatten"):
            if node["type"] != kind:
                return False
            node = _children(node)[0]
        lists = self.visit(node, value) if node["type"] == "multi_select_list" else None
        return isinstance(lists, list) and None in cast("list[object]", lists)

    def visit_or_expression(self, node: _Node, value: object) -> object:
        """The first that is there; but where the first asks and its answer is unknown, only a yes of the other."""
        first, second = _children(node)
        found = self.visit(first, value)
        if not _is_false(found):
            return found
        other = self.visit(second, value)
        is_open = found is None and _is_condition(first) and second["type"] != "literal"
        return None if is_open and _is_false(other) else other

    def visit_not_expression(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, node: _Node, value: object
    ) -> bool | None:
        truth = self._truth(_children(node)[0], value)
        return None if truth is None else not truth

    def _truth(self, node: _Node, value: object) -> bool | None:
        """Whether it is true, and ``None`` where something is missing that could make it so."""
        if node["type"] != "or_expression":
            found = self.visit(node, value)
            return None if found is None else not _is_false(found)
        first, second = _children(node)
        left = self._truth(first, value)
        if left:
            return True
        right = self._truth(second, value)
        return right if right or left is False or second["type"] == "literal" else None

    def _weighed(self, node: _Node, value: object) -> object:
        found = self.visit(node, value)
        self._budget.weigh(found)
        return found


def _asked(visit: Callable[..., object], node: _Node, *args: object, **kwargs: object) -> object:
    return visit(node, *args, **kwargs)


def _children(node: _Node) -> Sequence[_Node]:
    return cast("Sequence[_Node]", node["children"])


def _is_about_null(comparison: _Node) -> bool:
    """Whether it compares with a ``null`` that the operator has written: then it asks whether something is missing."""
    return any(child["type"] == "literal" and _is_missing(child["value"]) for child in _children(comparison))


def _of_literals(node: _Node, values: Sequence[object]) -> _Node:
    """The node with its children worked out already."""
    literals: Sequence[_Node] = [{"type": "literal", "value": value, "children": ()} for value in values]
    return {"type": node["type"], "value": node["value"], "children": literals}


def _is_json(value: object) -> bool:
    """Whether it can be stored and compared: no ``nan``, no infinity, no number that grew beyond all claims, no part
    of an expression. (The weight of what is asked is bounded already.)"""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        match part:
            case None | bool() | str():
                pass
            case int():
                if part.bit_length() > _LONGEST_INTEGER:
                    return False
            case float():
                if not math.isfinite(part):
                    return False
            case list():
                waiting.extend(cast("list[object]", part))
            case Mapping():
                waiting.extend(cast("Mapping[str, object]", part).values())
            case _:
                return False
    return True
