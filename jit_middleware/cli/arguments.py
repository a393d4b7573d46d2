"""Ids on the command line: one that begins with a hyphen is an id all the same, not an option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_TAKE_AN_ID: Final = frozenset({"--after", "--session", "--type", "--user"})
_OPTIONS_OF_USERS: Final = frozenset({"--help", "--id", "--json", "-h"})


def with_ids_protected(given: Sequence[str]) -> list[str]:
    """The same arguments, written so that ``argparse`` takes no id for an option.

    Ids are random text, or another store's keys. ``--user -x`` becomes ``--user=-x``, and in ``users show -x`` the id
    moves behind ``--``.
    """
    joined: list[str] = []
    rest = iter(given)
    for argument in rest:
        value = next(rest, None) if argument in _TAKE_AN_ID else None
        whole = argument if value is None else f"{argument}={value}"
        joined.append(whole.removesuffix("=--"))  # argparse (Python 3.11) makes an empty list of it
    if joined[:1] != ["users"] or joined[1:2] == ["list"]:
        return joined
    options = [argument for argument in joined[2:] if argument in _OPTIONS_OF_USERS]
    others = [argument for argument in joined[2:] if argument not in _OPTIONS_OF_USERS and argument != "--"]
    return [*joined[:2], *options, *(["--", *others] if others else [])]
