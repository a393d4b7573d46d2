"""What the provider says about a person, as the claims that a mapping's JMESPath expressions see.

``attributes`` holds every attribute by its formal name, always as a list. Attributes whose name is a plain word (and
the FriendlyName of the others, where no attribute has it as its formal name) stand at the top as well: one value as
text, several as a list. ``groups`` is what the mapping makes of the groups, and a list also when there is one: a rule
that looks for a group must not look into the name of another. ``name_id``, ``name_id_format`` and ``subject`` are ours
and never an attribute's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from jit_middleware.model import JSON, Claims
from jit_middleware.settings.evaluation import TooCostly, evaluation
from jit_middleware.sso.saml.expectations import VerifiedAssertion

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def claims_of(assertion: VerifiedAssertion, subject: str, groups: str) -> Claims:
    """The claims of a verified assertion; ``groups`` is the JMESPath expression that finds the groups."""
    claims: dict[str, JSON] = {}
    for friendly, name in assertion.friendly_names.items():
        if _PLAIN.fullmatch(friendly):
            claims[friendly] = _one_or_all(assertion.attributes.get(name, ()))
    for name, values in assertion.attributes.items():
        if _PLAIN.fullmatch(name):
            claims[name] = _one_or_all(values)
    claims["attributes"] = {name: list(values) for name, values in assertion.attributes.items()}
    claims["name_id"] = assertion.name_id
    claims["name_id_format"] = assertion.name_id_format
    claims["subject"] = subject
    found = searched(groups, claims)
    if isinstance(found, str):
        claims["groups"] = [found]
    elif found is not None:
        claims["groups"] = found
    return claims


def searched(expression: str, claims: Claims) -> JSON:
    """What a JMESPath expression of the settings finds in the claims; ``None`` where it meets what it cannot use, or
    would take too long (provisioning asks it again, and refuses the login by name)."""
    try:
        return evaluation(expression)(claims)
    except TooCostly:
        return None


def _one_or_all(values: Sequence[str]) -> JSON:
    return values[0] if len(values) == 1 else list(values)
