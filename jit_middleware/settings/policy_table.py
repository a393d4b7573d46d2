"""The settings of provisioning, declared once like all others; ``table`` puts them beside the rest.

What stands in ``OF_A_CONNECTION`` can be said for all connections, and otherwise for one of them in its own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jit_middleware.settings import policy as p
from jit_middleware.settings import values as v
from jit_middleware.settings.setting import Setting

_DEFAULT: Final = p.ProvisioningSettings()

PROVISIONING: Final = Setting[p.ProvisioningMode](
    ("provisioning",), v.choice("create", "match_only", "off"), "create",
    "What a first login does: `create` a user, `match_only` with users there are, or `off`.",
)  # fmt: skip
INITIAL_STATUS: Final = Setting(
    ("initial_status",), p.initial_status, _DEFAULT.initial_status,
    "Status of a new user: `active`, or `pending` until an administrator lets them in.", shown="active",
)  # fmt: skip
LINK_POLICY: Final = Setting[p.LinkPolicy](
    ("link_policy",), v.choice("never", "confirm", "auto"), "never",
    "Whether a first login may take over an account with the same e-mail address: `never`, `confirm` (the account's "
    "holder proves that it is theirs) or `auto` (where provider and domain vouch for the address).",
)  # fmt: skip
LINK_UNTIL: Final = Setting[int | None](
    ("link_until",), p.end_of, None,
    "The last day, in UTC, on which that policy holds, as `2026-12-31`; afterwards it is `never`.", shown="no end",
)  # fmt: skip
LINK_EXCLUDED_ROLES: Final = Setting[tuple[str, ...]](
    ("link_excluded_roles",), v.comma_list, (),
    "Accounts with one of these roles, or a privileged one, are never taken over by an e-mail address.",
)  # fmt: skip
SYNC: Final = Setting[p.Sync](
    ("sync",), v.choice("every_login", "first_login", "never"), "every_login",
    "When claims update the user: `every_login`, `first_login` or `never`.",
)  # fmt: skip
DEFAULT_ROLES: Final = Setting[tuple[str, ...]](("default_roles",), v.comma_list, (), "Roles every user gets.")
ROLE_RULES: Final = Setting[tuple[p.RoleRule, ...]](
    ("role_rules",), p.role_rules, (),
    'Roles by condition, `[[role_rules]]` or JSON: `[{"when": "contains(groups, \'ops\')", "grant": ["editor"]}]`.',
)  # fmt: skip
GROUP_ROLES: Final = Setting[Mapping[str, tuple[str, ...]]](
    ("group_roles",), p.group_roles, _DEFAULT.group_roles,
    'Roles by the provider\'s own id of a group, `[group_roles]` or JSON: `{"6f1c…": ["editor"]}`.', shown="none",
)  # fmt: skip
ROLE_SYNC: Final = Setting[p.RoleSync](
    ("role_sync",), v.choice("owned", "additive", "exclusive"), "owned",
    "What a login does to the roles held: adds and removes what the connection itself granted (`owned`), only adds "
    "(`additive`), or makes its own the only ones (`exclusive`).",
)  # fmt: skip
ROLE_CATALOGUE: Final = Setting[tuple[str, ...]](
    ("role_catalogue",), v.comma_list, (), "All roles that there are; with it, no other name is ever granted."
)
PRIVILEGED_ROLES: Final = Setting[tuple[str, ...]](
    ("privileged_roles",), v.comma_list, (),
    "Roles that nobody gets by birth, that only connections with `allow_privileged_roles` may grant, and that end the "
    "sessions of whoever is given one. `*`: every role but those of `JIT_DEFAULT_ROLES` and `JIT_MINIMAL_ROLE`, and "
    "any role that is given ends sessions.",
)  # fmt: skip
ALLOWED_DOMAINS: Final = Setting[tuple[str, ...]](
    ("allowed_domains",), v.domains, (), "E-mail domains that may enter, exact; empty admits all."
)
REQUIRED_GROUPS: Final = Setting[tuple[str, ...]](
    ("required_groups",), v.comma_list, (), "Groups of which a person must have at least one; empty admits all."
)
CLAIM_FILTER: Final = Setting[str](
    ("claim_filter",), p.claim_filter, "", "JMESPath that must answer `true` for everybody who enters."
)
CREATION_RATE: Final = Setting[p.Rate | None](
    ("creation_rate",), p.rate, None,
    "How many users logins may create per tenant, as `30/1m`; more are refused.", shown="no limit",
)  # fmt: skip
CREATION_ALARM: Final = Setting[p.Rate | None](
    ("creation_alarm",), p.rate, _DEFAULT.creation_alarm,
    "From how many created users per tenant on an alarm is logged and audited; `off` for none.", shown="100/1h",
)  # fmt: skip
SEAT_LIMIT: Final = Setting[int | None](
    ("seat_limit",), p.count, None, "How many active users a tenant may have.", shown="no limit"
)
SEATS_WHEN_FULL: Final = Setting[p.SeatsWhenFull](
    ("seats_when_full",), v.choice("deny", "pending", "minimal_role"), "deny",
    "What becomes of a person when no seat is free: `deny`, `pending` (until approved), or `minimal_role`.",
)  # fmt: skip
MINIMAL_ROLE: Final = Setting[str | None](
    ("minimal_role",), v.text, None, "The only role of a person without a seat, with `minimal_role` above."
)
ALLOW_PRIVILEGED_ROLES: Final = Setting[bool](
    ("allow_privileged_roles",), v.switch, False, "Let this connection grant privileged roles."
)
MISSING_GROUPS: Final = Setting[p.MissingGroups](
    ("missing_groups",), p.MISSING_GROUPS, "keep_unprivileged",
    "When this provider does not say which groups a person has: keep the ordinary roles they gave "
    "(`keep_unprivileged`), `keep` all, `strip` all, or `deny` the login.",
    shown="as the preset, else keep_unprivileged",
)  # fmt: skip

#: What may be said for one connection otherwise than for all.
OF_A_CONNECTION: Final[tuple[Setting[object], ...]] = (
    PROVISIONING, INITIAL_STATUS, LINK_POLICY, LINK_UNTIL, LINK_EXCLUDED_ROLES, SYNC, ROLE_RULES, GROUP_ROLES,
    ROLE_SYNC, ALLOWED_DOMAINS, REQUIRED_GROUPS, CLAIM_FILTER,
)  # fmt: skip
FOR_ALL: Final[tuple[Setting[object], ...]] = (
    DEFAULT_ROLES, ROLE_CATALOGUE, PRIVILEGED_ROLES, CREATION_RATE, CREATION_ALARM, SEAT_LIMIT, SEATS_WHEN_FULL,
    MINIMAL_ROLE,
)  # fmt: skip
SETTINGS: Final[tuple[Setting[object], ...]] = (*OF_A_CONNECTION, *FOR_ALL)
