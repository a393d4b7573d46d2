"""What becomes of a verified identity, as the operator decides it: the types, and the readers of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal

from jit_middleware.model import Status
from jit_middleware.records import dataclass
from jit_middleware.settings.expressions import expression
from jit_middleware.settings.values import BadValue, choice, comma_list, rows, seconds, shown, table

ProvisioningMode = Literal["create", "match_only", "off"]
LinkPolicy = Literal["never", "confirm", "auto"]
Sync = Literal["every_login", "first_login", "never"]
RoleSync = Literal["owned", "additive", "exclusive"]
MissingGroups = Literal["keep_unprivileged", "keep", "strip", "deny"]
SeatsWhenFull = Literal["deny", "pending", "minimal_role"]
Authority = Literal["idp", "scim", "app", "first_write"]
OnMissing = Literal["keep", "clear"]
Normaliser = Literal["trim", "lower", "nfc", "domain"]

MISSING_GROUPS: Callable[[object], MissingGroups] = choice("keep_unprivileged", "keep", "strip", "deny")

#: In ``privileged_roles``: no role is ordinary.
EVERY_ROLE: Final = "*"
_RULE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_RATE: Final = re.compile(r"([1-9]\d{0,8})\s*/\s*(\S+)", re.ASCII)
_LONGEST_GROUP: Final = 1024
_NO_GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """How one field of the user is filled, beside the expression that it comes from.

    ``authority`` names who owns the field: a login writes what is the provider's (``idp``) at every sync, what belongs
    to the ``first_write`` only while it is empty, and what belongs to the ``app`` or to ``scim`` never. ``on_missing``
    says what becomes of a field of the provider's whose claim is gone.
    """

    default: str | tuple[str, ...] | None = None
    required: bool = False
    normalise: tuple[Normaliser, ...] = ()
    authority: Authority = "idp"
    on_missing: OnMissing = "keep"


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Who matches the JMESPath condition ``when`` gets the roles ``grant``; ``id`` names the rule in the audit
    trail."""

    when: str
    grant: tuple[str, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` times in ``seconds``."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


@dataclass(frozen=True, slots=True)
class RoleSet:
    """Roles that are ``named``, and if ``all_but`` is there, every other but those in it.

    One is asked about by ``in``; what of some roles is not in it is ``roles - these``.
    """

    named: frozenset[str]
    all_but: frozenset[str] | None = None

    def __contains__(self, role: object) -> bool:
        return role in self.named or (self.all_but is not None and role not in self.all_but)

    def __rsub__(self, roles: frozenset[str]) -> frozenset[str]:
        others = roles - self.named
        return others if self.all_but is None else others & self.all_but


@dataclass(frozen=True, slots=True)
class ProvisioningSettings:
    """What becomes of a verified identity: whether it gets a user, which roles, and who is kept out.

    Each connection has one of these: what its own table says, and for the rest what is said for all. ``link_until`` is
    seconds since the epoch. ``seat_limit`` counts the active users of a tenant; ``minimal_role`` is what a person gets
    while no seat is free.
    """

    mode: ProvisioningMode = "create"
    initial_status: Status = Status.ACTIVE
    link_policy: LinkPolicy = "never"
    link_until: int | None = None
    link_excluded_roles: tuple[str, ...] = ()
    sync: Sync = "every_login"
    default_roles: tuple[str, ...] = ()
    role_rules: tuple[RoleRule, ...] = ()
    group_roles: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_GROUPS)
    role_sync: RoleSync = "owned"
    role_catalogue: tuple[str, ...] = ()
    privileged_roles: tuple[str, ...] = ()
    allow_privileged_roles: bool = False
    missing_groups: MissingGroups = "keep_unprivileged"
    allowed_domains: tuple[str, ...] = ()
    required_groups: tuple[str, ...] = ()
    claim_filter: str = ""
    creation_rate: Rate | None = None
    creation_alarm: Rate | None = Rate(100, 3600)
    seat_limit: int | None = None
    seats_when_full: SeatsWhenFull = "deny"
    minimal_role: str | None = None

    @property
    def privileged(self) -> RoleSet:
        """The roles that are privileged. With ``*`` all are but what everybody gets, unless it is named too."""
        named = frozenset(self.privileged_roles) - {EVERY_ROLE}
        if EVERY_ROLE not in self.privileged_roles:
            return RoleSet(named)
        return RoleSet(named, frozenset((*self.default_roles, *filter(None, [self.minimal_role]))))

    @property
    def never_taken_over(self) -> RoleSet:
        """The roles whose holders' accounts are not taken over by an e-mail address."""
        privileged = self.privileged
        return replace(privileged, named=privileged.named | frozenset(self.link_excluded_roles))

    def needs_new_login(self, gained: Collection[str]) -> bool:
        """Whether the sessions of somebody who gains these roles have to end. With ``*`` for any role, also one that
        others have from birth: the sessions there are were made without it."""
        if EVERY_ROLE in self.privileged_roles:
            return bool(gained)
        return any(role in self.privileged_roles for role in gained)


# --- readers ------------------------------------------------------------------------------------------------------


def role_rules(value: object) -> tuple[RoleRule, ...]:
    """Rules as ``[[role_rules]]`` tables or JSON: each a condition and what it grants, with an id if it is given one.

    A rule without an id is named by its place, ``rule-1``.
    """
    rules = tuple(_role_rule(row, number) for number, row in enumerate(rows(value), start=1))
    ids = [rule.id for rule in rules]
    for rule_id in ids:
        if ids.count(rule_id) > 1:
            raise BadValue(f"the id {shown(rule_id)} is given to two rules.", "give each rule an id of its own.")
    return rules


def _role_rule(row: Mapping[str, object], number: int) -> RoleRule:
    if not {"when", "grant"} <= set(row) <= {"when", "grant", "id"}:
        raise BadValue(
            f"rule {number} has other keys than when, grant and id.", 'write {"when": "...", "grant": ["..."]}.'
        )
    rule_id = row.get("id", f"rule-{number}")
    if not isinstance(rule_id, str) or not _RULE_ID.fullmatch(rule_id):
        raise BadValue(f"{shown(rule_id)} cannot be the id of a rule.", "use letters, digits and _.:- only.")
    try:
        rule = RoleRule(when=expression(row["when"]), grant=comma_list(row["grant"]), id=rule_id)
    except BadValue as bad:
        raise BadValue(f"in rule {number}, {bad.problem}", bad.fix) from bad
    if not rule.grant:
        raise BadValue(f"rule {number} grants nothing.", "name at least one role in grant.")
    return rule


def group_roles(value: object) -> Mapping[str, tuple[str, ...]]:
    """Roles by the provider's own id of a group, as a table or JSON: ``{"<group id>": ["role", …]}``."""
    found: dict[str, tuple[str, ...]] = {}
    for group, roles in table(value).items():
        if not 0 < len(group) <= _LONGEST_GROUP:
            raise BadValue(f"{shown(group)} cannot be the id of a group.", "write the id as the provider sends it.")
        try:
            found[group] = comma_list(roles)
        except BadValue as bad:
            raise BadValue(f"for the group {shown(group)}, {bad.problem}", bad.fix) from bad
        if not found[group]:
            raise BadValue(f"the group {shown(group)} grants nothing.", "name at least one role for it.")
    return MappingProxyType(found)


def claim_filter(value: object) -> str:
    """The condition that everybody who enters has to meet."""
    return expression(value)


def rate(value: object) -> Rate | None:
    """``100/1h``: how many in how long; ``off`` for none."""
    if isinstance(value, str) and value.strip() in {"off", "none"}:
        return None
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise BadValue(f"{shown(value)} is not a rate.", "write how many in how long, as 30/1m or 100/1h, or off.")
    window = seconds(match[2])
    if not 1 <= window <= 31 * 86_400 or window != int(window):
        raise BadValue(f"{shown(match[2])} is no window for a rate.", "write whole seconds up to 31d, as 1m or 1h.")
    return Rate(int(match[1]), int(window))


def count(value: object) -> int:
    """A number of things, at least one."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,8}", value.strip(), re.ASCII) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 10**9:
        raise BadValue(f"{shown(value)} is not a number of things.", "write a whole number from 1 on.")
    return number


def end_of(value: object) -> int:
    """The end of a day in UTC, as ``2026-12-31``; seconds since the epoch."""
    day = value if isinstance(value, date) and not isinstance(value, datetime) else None
    if isinstance(value, str):
        try:
            day = date.fromisoformat(value.strip())
        except ValueError:
            day = None
    if day is None:
        raise BadValue(f"{shown(value)} is not a day.", "write it as 2026-12-31.")
    try:
        return int((datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)).timestamp())
    except OverflowError:
        raise BadValue(f"{shown(value)} is too far away.", "write an earlier day.") from None


def initial_status(value: object) -> Status:
    """The status a new account begins with."""
    match value.strip() if isinstance(value, str) else value:
        case "active":
            return Status.ACTIVE
        case "pending":
            return Status.PENDING
        case _:
            raise BadValue(f"{shown(value)} is not one of its values.", "write active or pending.")
