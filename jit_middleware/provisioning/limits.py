"""How large the claims of one person may be: judged before any expression sees them.

What a verifier let through is signed, and still it may be a claim bomb: somebody's own entry in a directory, or a
provider gone wrong. Beyond these sizes nothing is mapped and nobody is signed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

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

_SCALARS: Final = (int, float)  # bool among them

Container: TypeAlias = Mapping[str, JSON] | Sequence[JSON]


def check_claims(claims: Claims) -> None:
    """Raises ``NotProvisioned("claims_too_large")``, saying which limit, when the claims exceed one."""
    values, text, depth = 1, 0, 0
    level: list[Container] = [claims]
    while level:
        depth += 1
        if depth > DEEPEST_CLAIMS:
            raise _too_large("the nesting", DEEPEST_CLAIMS, "levels")
        below: list[Container] = []
        for part in level:
            values += len(part)
            if values > MOST_VALUES:
                raise _too_large("the claims", MOST_VALUES, "values")
            inner: Iterable[JSON] = part
            if isinstance(part, Mapping):
                text += sum(map(len, part))
                inner = part.values()
            for value in inner:
                if isinstance(value, str):
                    if len(value) > LONGEST_TEXT:
                        raise _too_large("one text", LONGEST_TEXT, "characters")
                    text += len(value)
                elif not (value is None or isinstance(value, _SCALARS)):
                    below.append(value)
            if text > MOST_TEXT:
                raise _too_large("all texts", MOST_TEXT, "characters")
        level = below


def _too_large(what: str, limit: int, unit: str) -> NotProvisioned:
    return NotProvisioned("claims_too_large", f"{what} exceeds {limit} {unit}")
