"""The operator's expressions at a login: one that grows beyond its budget refuses the login, by name.

To answer nothing would be to decide: a gate could open, a role could stay or go, by nothing but the size of a claim.
"""

from __future__ import annotations

from typing import Protocol

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, Claims
from jit_middleware.settings.evaluation import TooCostly, evaluation


class Expression(Protocol):
    """A compiled JMESPath expression."""

    def __call__(self, claims: Claims, /) -> JSON:
        """What it finds, in plain JSON. Raises ``NotProvisioned("expression_too_costly")``."""
        ...


def compiled(source: str) -> Expression:
    """The expression, or one that always finds ``None`` for an empty source.

    The settings have checked that it compiles. An expression that meets a type it cannot work on finds ``None``.
    """
    evaluate = evaluation(source)

    def expression(claims: Claims) -> JSON:
        try:
            return evaluate(claims)
        except TooCostly:
            raise NotProvisioned("expression_too_costly", f"with these claims, the expression {source}") from None

    return expression
