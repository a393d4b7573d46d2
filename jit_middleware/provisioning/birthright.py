"""Birthright roles: what a person gets for being who they are, recomputed from the claims at each login.

Every grant has a source. Birthright adds and removes grants of its own source only, so a role given by hand survives.
"""

from __future__ import annotations

from collections.abc import Iterable

from jit_middleware.model import Grant, VerifiedIdentity
from jit_middleware.provisioning.mapping import compiled
from jit_middleware.settings import ProvisioningSettings

SOURCE = "birthright"


class Birthright:
    """The default roles, and the rules whose condition is exactly ``true`` for the claims."""

    def __init__(self, settings: ProvisioningSettings) -> None:
        self._default = frozenset(settings.default_roles)
        self._rules = [(compiled(rule.when), frozenset(rule.grant)) for rule in settings.role_rules]

    def roles(self, identity: VerifiedIdentity) -> frozenset[str]:
        """The roles these claims earn. Only the JSON value ``true`` fires a rule: a non-empty string is no yes."""
        earned = (grant for when, grant in self._rules if when(identity.claims) is True)
        return self._default.union(*earned)


def owned_changes(held: Iterable[Grant], desired: frozenset[str], source: str) -> tuple[list[Grant], list[Grant]]:
    """What to add and what to remove so that ``source`` grants exactly ``desired``; other sources are never touched."""
    mine = {grant.role for grant in held if grant.source == source}
    add = [Grant(role, source) for role in sorted(desired - mine)]
    remove = [Grant(role, source) for role in sorted(mine - desired)]
    return add, remove


def role_names(grants: Iterable[Grant]) -> tuple[str, ...]:
    """The roles held for any reason, sorted."""
    return tuple(sorted({grant.role for grant in grants}))
