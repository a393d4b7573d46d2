"""From what the sources say about provisioning to one policy for each connection, and what does not fit together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from jit_middleware.settings import policy_table as pt
from jit_middleware.settings.policy import EVERY_ROLE, MissingGroups, ProvisioningSettings
from jit_middleware.settings.reading import Reading
from jit_middleware.settings.setting import Path, Setting
from jit_middleware.settings.values import shown

T = TypeVar("T")


def read_policy(reading: Reading) -> ProvisioningSettings:
    """What is said for all connections; faults are noted."""
    take = reading.take
    policy = ProvisioningSettings(
        mode=take(pt.PROVISIONING),
        initial_status=take(pt.INITIAL_STATUS),
        link_policy=take(pt.LINK_POLICY),
        link_until=take(pt.LINK_UNTIL),
        link_excluded_roles=take(pt.LINK_EXCLUDED_ROLES),
        sync=take(pt.SYNC),
        default_roles=take(pt.DEFAULT_ROLES),
        role_rules=take(pt.ROLE_RULES),
        group_roles=take(pt.GROUP_ROLES),
        role_sync=take(pt.ROLE_SYNC),
        role_catalogue=take(pt.ROLE_CATALOGUE),
        privileged_roles=take(pt.PRIVILEGED_ROLES),
        allowed_domains=take(pt.ALLOWED_DOMAINS),
        required_groups=take(pt.REQUIRED_GROUPS),
        claim_filter=take(pt.CLAIM_FILTER),
        creation_rate=take(pt.CREATION_RATE),
        creation_alarm=take(pt.CREATION_ALARM),
        seat_limit=take(pt.SEAT_LIMIT),
        seats_when_full=take(pt.SEATS_WHEN_FULL),
        minimal_role=take(pt.MINIMAL_ROLE),
    )
    _judge_shared(reading, policy)
    return policy


def policy_of(
    reading: Reading, under: Path, shared: ProvisioningSettings, missing_groups: MissingGroups | None = None
) -> ProvisioningSettings:
    """The policy of one connection: its own words over the shared ones. ``missing_groups`` is what its preset says."""

    def own(setting: Setting[T], otherwise: T) -> T:
        return reading.take(setting, under=under) if reading.has(setting, under=under) else otherwise

    policy = replace(
        shared,
        mode=own(pt.PROVISIONING, shared.mode),
        initial_status=own(pt.INITIAL_STATUS, shared.initial_status),
        link_policy=own(pt.LINK_POLICY, shared.link_policy),
        link_until=own(pt.LINK_UNTIL, shared.link_until),
        link_excluded_roles=own(pt.LINK_EXCLUDED_ROLES, shared.link_excluded_roles),
        sync=own(pt.SYNC, shared.sync),
        role_rules=own(pt.ROLE_RULES, shared.role_rules),
        group_roles=own(pt.GROUP_ROLES, shared.group_roles),
        role_sync=own(pt.ROLE_SYNC, shared.role_sync),
        allowed_domains=own(pt.ALLOWED_DOMAINS, shared.allowed_domains),
        required_groups=own(pt.REQUIRED_GROUPS, shared.required_groups),
        claim_filter=own(pt.CLAIM_FILTER, shared.claim_filter),
        allow_privileged_roles=reading.take(pt.ALLOW_PRIVILEGED_ROLES, under=under),
        missing_groups=own(pt.MISSING_GROUPS, missing_groups or shared.missing_groups),
    )
    _judge_roles(reading, under, policy)
    return policy


def judge_role_expression(reading: Reading, setting: str, policy: ProvisioningSettings) -> None:
    """Role names out of claims are free text: they need a list of those that there are."""
    if not policy.role_catalogue:
        fix = "list every role of the app in JIT_ROLE_CATALOGUE, or remove the expression."
        reading.note(setting, "it lets the provider name any role.", fix)


def _judge_shared(reading: Reading, policy: ProvisioningSettings) -> None:
    named = [role for role in policy.privileged_roles if role != EVERY_ROLE]
    for role in named:
        if role in policy.default_roles:
            problem = f"it gives everybody {shown(role)}, which is a privileged role."
            reading.note(reading.name(pt.DEFAULT_ROLES), problem, "remove it from the default roles.")
        if role == policy.minimal_role:
            problem = f"{shown(role)} is a privileged role."
            reading.note(reading.name(pt.MINIMAL_ROLE), problem, "name a role with few rights.")
    _judge_known(reading, reading.name(pt.DEFAULT_ROLES), policy.default_roles, policy)
    _judge_known(reading, reading.name(pt.PRIVILEGED_ROLES), named, policy)
    if policy.minimal_role is not None:
        _judge_known(reading, reading.name(pt.MINIMAL_ROLE), [policy.minimal_role], policy)
    if policy.seats_when_full == "minimal_role" and policy.minimal_role is None:
        problem = "it is missing, and JIT_SEATS_WHEN_FULL=minimal_role needs it."
        reading.note(reading.name(pt.MINIMAL_ROLE), problem, "name the role of people without a seat.")


def _judge_roles(reading: Reading, under: Path, policy: ProvisioningSettings) -> None:
    for setting, role in _granted(policy):
        place = reading.name(setting, under=under if reading.has(setting, under=under) else ())
        _judge_known(reading, place, [role], policy)
        if role in policy.privileged and not policy.allow_privileged_roles:
            problem = f"it grants {shown(role)}, which is a privileged role, to people of {'.'.join(under)}."
            allowed = reading.name(pt.ALLOW_PRIVILEGED_ROLES, under=under)
            reading.note(place, problem, f"remove it, or, knowing who decides at that provider, set {allowed}=true.")


def _granted(policy: ProvisioningSettings) -> Iterator[tuple[Setting[object], str]]:
    for rule in policy.role_rules:
        for role in rule.grant:
            yield pt.ROLE_RULES, role
    for roles in policy.group_roles.values():
        for role in roles:
            yield pt.GROUP_ROLES, role


def _judge_known(reading: Reading, place: str, roles: Iterable[str], policy: ProvisioningSettings) -> None:
    if not policy.role_catalogue:
        return
    for role in roles:
        if role not in policy.role_catalogue:
            fix = "correct the name, or add it to JIT_ROLE_CATALOGUE."
            reading.note(place, f"{shown(role)} is not among the roles that there are.", fix)
