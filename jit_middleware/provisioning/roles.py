"""Roles as grants with a source: what a login gives and takes, and what it must not touch.

Everybody gets the default roles, as ``birthright``. What a connection's rules, group map and roles expression make of
the claims are grants of that connection, ``idp:<connection>``. Who else granted something (an administrator, SCIM,
another connection) is not spoken for. A provider that does not tell a person's groups has not said that there are
none: what hangs on them is unknown then, and ``missing_groups`` says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import Grant, VerifiedIdentity
from jit_middleware.provisioning.expressions import Expression, compiled
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.steps import Steps
from jit_middleware.records import dataclass, record
from jit_middleware.settings import ProvisioningSettings
from jit_middleware.settings.expressions import ClaimPath, looks_at, paths_mentioned

BIRTHRIGHT: Final = "birthright"
#: The minimal role of somebody for whom there is no seat.
SEATLESS: Final = "seatless"
_SCIM: Final = "scim:"
_NO_ROLES: Final[frozenset[str]] = frozenset()
#: In SAML the groups stand here as well, whatever attribute they come from.
_GROUPS: Final = ("groups",)


@record(frozen=True, slots=True)
class Desired:
    """The roles that a login finds right, by their source.

    ``unavailable``: roles hang on groups that we were not told. ``kept`` are those of ``idp`` that stay only because of
    that, or because the claim with the roles is missing.
    """

    birthright: frozenset[str]
    idp: frozenset[str]
    unavailable: bool
    kept: frozenset[str] = _NO_ROLES


class RolePolicy:
    """The role decisions of one connection, compiled once."""

    def __init__(
        self, settings: ProvisioningSettings, *, connection: str, groups_expression: str, roles_expression: str = ""
    ) -> None:
        self._settings = settings
        self._source = f"idp:{connection}"
        self._privileged = settings.privileged
        self._catalogue = frozenset(settings.role_catalogue)
        groups: set[ClaimPath] = {_GROUPS}
        if groups_expression:
            groups |= paths_mentioned(groups_expression)
        self._rules = [
            _Rule(f"role_rule:{rule.id}", compiled(rule.when), frozenset(rule.grant), looks_at(rule.when, groups))
            for rule in settings.role_rules
        ]
        self._map = {group: frozenset(roles) for group, roles in settings.group_roles.items()}
        self._has_expression = bool(roles_expression)
        self._expression_needs_groups = bool(roles_expression) and looks_at(roles_expression, groups)
        self._needs_groups = (
            bool(self._map) or self._expression_needs_groups or any(r.needs_groups for r in self._rules)
        )

    @property
    def source(self) -> str:
        """What the grants of this connection are marked with."""
        return self._source

    def desired(self, identity: VerifiedIdentity, mapped: MappedClaims, held: Iterable[Grant], steps: Steps) -> Desired:
        """The roles these claims earn, beside those held that stay because the claims do not say.

        Raises ``NotProvisioned("groups_unavailable")`` where the connection wants logins refused then.
        """
        settings, state = self._settings, mapped.groups_state
        if state != "given" and settings.missing_groups == "deny":
            steps.note("missing_groups", "refused", state)
            raise NotProvisioned("groups_unavailable", "the provider did not say which groups this person has")
        # To be told that there are more groups than we were told is never to be told that there are none.
        unknown = state == "overage" or (state == "absent" and settings.missing_groups != "strip")
        earned, open_roles = _Earned(steps, self._allowed), set[str]()
        birthright = frozenset(settings.default_roles) - self._privileged
        if settings.default_roles:
            steps.note("role_default", "fired", _listed(birthright))
        for rule in self._rules:
            open_roles |= self._ask_rule(rule, identity, earned, unknown=unknown)
        open_roles |= self._ask_map(mapped, earned, unknown=unknown)
        mine = frozenset(grant.role for grant in held if grant.source == self._source)
        if self._has_expression and self._ask_expression(mapped, earned, unknown=unknown):
            open_roles |= mine  # a grant does not say which rule it came from
        kept = self._kept(mine & open_roles - earned.roles)
        unavailable = unknown and self._needs_groups
        if unavailable:
            steps.note("missing_groups", settings.missing_groups, f"{state}; kept: {_listed(kept) or 'nothing'}")
        return Desired(birthright, earned.roles | kept, unavailable, kept)

    def changes(self, held: Iterable[Grant], desired: Desired) -> tuple[list[Grant], list[Grant]]:
        """What to add and what to remove. ``owned`` touches grants of this connection and of birth only, ``additive``
        removes nothing, ``exclusive`` leaves no other grant but those of SCIM."""
        wanted = {Grant(role, BIRTHRIGHT) for role in desired.birthright}
        wanted |= {Grant(role, self._source) for role in desired.idp}
        had = set(held)
        match self._settings.role_sync:
            case "additive":
                over = set[Grant]()
            case "owned":
                over = {grant for grant in had if grant.source in {BIRTHRIGHT, self._source}}
            case "exclusive":
                over = {grant for grant in had if not grant.source.startswith(_SCIM)}
        return _sorted(wanted - had), _sorted(over - wanted)

    # --- one kind of rule each ------------------------------------------------------------------------------------

    def _ask_rule(self, rule: _Rule, identity: VerifiedIdentity, earned: _Earned, *, unknown: bool) -> frozenset[str]:
        """Only the JSON value ``true`` fires a rule: a text that is not empty is no yes. Answers what stays open."""
        if unknown and rule.needs_groups:
            earned.note(rule.name, "unknown")
            return rule.grant
        if rule.when(identity.claims) is True:
            earned.add(rule.name, rule.grant)
        else:
            earned.note(rule.name, "not_fired")
        return _NO_ROLES

    def _ask_map(self, mapped: MappedClaims, earned: _Earned, *, unknown: bool) -> frozenset[str]:
        """Groups are matched by their id, byte for byte. Answers what stays open."""
        if not self._map:
            return _NO_ROLES
        having = [group for group in mapped.groups or () if group in self._map]
        for group in having:  # also of a list that is only a part: what is told is told
            earned.add(f"role_map:{group}", self._map[group])
        if unknown:
            earned.note("role_map", "unknown")
            return frozenset[str]().union(*self._map.values())
        if not having:
            earned.note("role_map", "not_fired")
        return _NO_ROLES

    def _ask_expression(self, mapped: MappedClaims, earned: _Earned, *, unknown: bool) -> bool:
        """Names out of claims are free text: only those of the catalogue are taken. Answers whether it stays open."""
        rule, roles = "role_expression", mapped.roles
        missing = roles is None and self._settings.missing_groups != "strip"
        if missing or (unknown and self._expression_needs_groups):
            earned.note(rule, "unknown")
            return True
        known = self._catalogue.intersection(roles or ())
        strangers = len(roles or ()) - len(known)
        if strangers:
            earned.note(rule, "dropped_unknown_role", f"{strangers} not in JIT_ROLE_CATALOGUE")
        if known:
            earned.add(rule, known)
        else:
            earned.note(rule, "not_fired")
        return False

    def _kept(self, roles: frozenset[str]) -> frozenset[str]:
        allowed = self._allowed(roles)
        return allowed if self._settings.missing_groups == "keep" else allowed - self._privileged

    def _allowed(self, roles: frozenset[str]) -> frozenset[str]:
        return roles if self._settings.allow_privileged_roles else roles - self._privileged


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    when: Expression
    grant: frozenset[str]
    needs_groups: bool


class _Earned:
    """The roles that fired, and the record of who fired them."""

    def __init__(self, steps: Steps, allowed: Callable[[frozenset[str]], frozenset[str]]) -> None:
        self._steps = steps
        self._allowed = allowed
        self.roles = _NO_ROLES

    def note(self, rule: str, outcome: str, detail: str = "") -> None:
        self._steps.note(rule, outcome, detail)

    def add(self, rule: str, roles: frozenset[str]) -> None:
        """Take these roles from a rule that fired, without the privileged ones that this connection may not give."""
        allowed = self._allowed(roles)
        if allowed != roles:
            self.note(rule, "dropped_privileged", _listed(roles - allowed))
        if allowed:
            self.note(rule, "fired", _listed(allowed))
        self.roles |= allowed


def _listed(roles: Iterable[str]) -> str:
    return ", ".join(sorted(roles))


def _sorted(grants: Iterable[Grant]) -> list[Grant]:
    return sorted(grants, key=lambda grant: (grant.source, grant.role))
