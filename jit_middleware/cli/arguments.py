"""Ids on the command line: one that begins with a hyphen is an id all the same, not an option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_TAKE_AN_ID: Final = frozenset(
    {"--after", "--connection", "--idp-session", "--reference", "--role", "--session", "--type", "--user", "--valid"}
)
_OPTIONS_OF_USERS: Final = frozenset({"--help", "--id", "--json", "--revoke", "-h"})
_NAME_A_USER: Final = frozenset(
    {
        "show", "approve", "suspend", "resume", "deactivate", "reinstate", "delete", "erase", "grant", "revoke-role",
        "link",
    }
)  # fmt: skip


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
    if joined[:1] != ["users"] or _NAME_A_USER.isdisjoint(joined[1:2]):
        return joined
    options = [argument for argument in joined[2:] if _is_option(argument)]
    others = [argument for argument in joined[2:] if not _is_option(argument) and argument != "--"]
    return [*joined[:2], *options, *(["--", *others] if others else [])]


def _is_option(argument: str) -> bool:
    return argument in _OPTIONS_OF_USERS or argument.startswith(("--role=", "--connection=", "--valid="))
