"""Queries and forms: what is there exactly once."""

from __future__ import annotations

from urllib.parse import parse_qsl

_MOST_FIELDS = 50


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
