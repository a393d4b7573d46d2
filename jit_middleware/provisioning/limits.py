"""How large the claims of one person may be: judged before any expression sees them.

What a verifier let through is signed, and still it may be a claim bomb: somebody's own entry in a directory, or a
provider gone wrong. Beyond these sizes nothing is mapped and nobody is signed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, Claims

#: Lists and objects inside each other.
DEEPEST_CLAIMS: Final = 32
#: Values in all: each entry of a list and each member of an object is one.
MOST_VALUES: Final = 20_000
#: Characters of one text, and of all texts and names together.
LONGEST_TEXT: Final = 262_144
MOST_TEXT: Final = 2_097_152

#: A longer list of groups is no list of groups that we were told in full.
MOST_GROUPS: Final = 2_000
LONGEST_GROUP: Final = 1_024
LARGEST_ATTRIBUTE: Final = 4_096


def check_claims(claims: Claims) -> None:
    """Raises ``NotProvisioned("claims_too_large")``, saying which limit, when the claims exceed one."""
    values = text = 0
    waiting: list[tuple[JSON, int]] = [(claims, 1)]
    while waiting:
        part, depth = waiting.pop()
        values += 1
        if isinstance(part, str):
            if len(part) > LONGEST_TEXT:
                raise _too_large("one text", LONGEST_TEXT, "characters")
            text += len(part)
        elif part is None or isinstance(part, int | float):
            continue
        elif isinstance(part, Mapping):
            text += sum(map(len, part))
            waiting.extend((inner, depth + 1) for inner in part.values())
        else:
            waiting.extend((inner, depth + 1) for inner in part)
        if values + len(waiting) > MOST_VALUES:
            raise _too_large("the claims", MOST_VALUES, "values")
        if text > MOST_TEXT:
            raise _too_large("all texts", MOST_TEXT, "characters")
        if depth > DEEPEST_CLAIMS and isinstance(part, Mapping | list | tuple):
            raise _too_large("the nesting", DEEPEST_CLAIMS, "levels")


def _too_large(what: str, limit: int, unit: str) -> NotProvisioned:
    return NotProvisioned("claims_too_large", f"{what} exceeds {limit} {unit}")
