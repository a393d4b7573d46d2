"""Queries and forms, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus

_MOST_FIELDS: Final = 50
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")
"""RFC 3986 §2.3."""


def written(pairs: Iterable[tuple[str, str]]) -> str:
    """The pairs as ``application/x-www-form-urlencoded``, which is ASCII."""
    return "&".join([f"{_field(name)}={_field(value)}" for name, value in pairs])


def escaped(text: str) -> str:
    """``text`` as a value in a query: everything that is not unreserved is percent-encoded."""
    # Most of what we write are names, digits and base64url, which is told much sooner than it is escaped.
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def _field(text: str) -> str:
    return text if _UNRESERVED.fullmatch(text) else quote_plus(text)


def parameters(text: str) -> list[tuple[str, str]]:
    """The parameters of a query or an urlencoded form, in order. Raises ``ValueError`` for more than fifty."""
    return parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)


def parameters_once(text: str) -> dict[str, str]:
    """The parameters that are there once; one that is there twice is left out, so that nobody reads it otherwise.

    Empty for a text with more parameters than anybody of ours sends.
    """
    try:
        pairs = parameters(text)
    except ValueError:
        return {}
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}
