"""Whatever is granted, claimed and configured: a login touches only grants that are its own to touch."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import Grant, VerifiedIdentity
from jit_middleware.provisioning.mapping import ClaimMapper
from jit_middleware.provisioning.roles import RolePolicy
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ClaimMapping, ProvisioningSettings, RoleRule
from jit_middleware.settings.policy import MissingGroups, RoleSync

ROLES = ("a", "b", "c", "admin", "root")
GROUPS = ("g1", "g2", "g3")
SOURCES = ("birthright", "idp:okta", "idp:other", "idp:okta-2", "scim:okta", "manual")
CONDITIONS = ("contains(groups, 'g1')", "!contains(groups, 'g2')", "flag", "length(@) > `1`", "`true`")
OVERAGE = {"_claim_names": {"groups": "s"}}

roles = st.lists(st.sampled_from(ROLES), unique=True, max_size=3).map(tuple)
held = st.frozensets(st.builds(Grant, st.sampled_from(ROLES), st.sampled_from(SOURCES)))
rules = st.lists(
    st.builds(RoleRule, st.sampled_from(CONDITIONS), roles.filter(bool), st.sampled_from(("x", "y"))), max_size=3
)
policies = st.builds(
    ProvisioningSettings,
    default_roles=roles,
    role_rules=rules.map(tuple),
    group_roles=st.dictionaries(st.sampled_from(GROUPS), roles, max_size=3),
    role_sync=st.sampled_from(get_args(RoleSync)),
    role_catalogue=roles,
    privileged_roles=st.sampled_from(((), ("admin",), ("admin", "root"))),
    allow_privileged_roles=st.booleans(),
    missing_groups=st.sampled_from(get_args(MissingGroups)),
)
claims = st.fixed_dictionaries(
    {},
    optional={
        "groups": st.lists(st.sampled_from(GROUPS)) | st.sampled_from([None, "g1", {"g1": True}, ["g1", 1]]),
        "flag": st.booleans(),
        "app_roles": st.lists(st.sampled_from((*ROLES, "stranger"))) | st.none(),
        "_claim_names": st.just({"groups": "s"}),
    },
)


def decided(
    settings: ProvisioningSettings, said: dict[str, object], grants: frozenset[Grant]
) -> tuple[list[Grant], list[Grant]] | None:
    """What the login adds and removes; ``None`` when it is refused."""
    mapping = ClaimMapping(roles="app_roles")
    identity = VerifiedIdentity("okta", "https://login.example", "s1", {"sub": "s1", **said})  # type: ignore[dict-item]
    policy = RolePolicy(settings, connection="okta", groups_expression=mapping.groups, roles_expression=mapping.roles)
    mapped = ClaimMapper(mapping).map(identity)
    if settings.missing_groups == "deny" and mapped.groups_state != "given":
        with pytest.raises(NotProvisioned, match="groups_unavailable"):
            policy.desired(identity, mapped, grants, Steps())
        return None
    return policy.changes(grants, policy.desired(identity, mapped, grants, Steps()))


@given(policies, claims, held)
def test_a_login_adds_only_grants_of_its_own_and_removes_no_other_unless_it_decides_alone(
    settings: ProvisioningSettings, said: dict[str, object], grants: frozenset[Grant]
) -> None:
    changes = decided(settings, said, grants)
    if changes is None:
        return
    add, remove = changes
    assert {grant.source for grant in add} <= {"birthright", "idp:okta"}
    assert not grants & set(add)
    assert set(remove) <= grants
    touched = {grant.source for grant in remove}
    match settings.role_sync:
        case "additive":
            assert touched == set()
        case "owned":
            assert touched <= {"birthright", "idp:okta"}
        case "exclusive":
            assert not any(source.startswith("scim:") for source in touched)


@given(policies, claims, held)
def test_privileged_roles_are_never_granted_without_the_operators_word(
    settings: ProvisioningSettings, said: dict[str, object], grants: frozenset[Grant]
) -> None:
    changes = decided(settings, said, grants)
    if changes is None:
        return
    privileged = {grant for grant in changes[0] if grant.role in settings.privileged_roles}
    assert settings.allow_privileged_roles or privileged == set()
    assert "birthright" not in {grant.source for grant in privileged}
    if settings.role_sync != "additive" and not settings.allow_privileged_roles:
        left = grants - set(changes[1])
        assert not {grant for grant in left if grant.source == "idp:okta" and grant.role in settings.privileged_roles}


@given(policies, claims, held)
def test_the_same_login_again_changes_nothing(
    settings: ProvisioningSettings, said: dict[str, object], grants: frozenset[Grant]
) -> None:
    changes = decided(settings, said, grants)
    if changes is None:
        return
    add, remove = changes
    assert decided(settings, said, grants.difference(remove).union(add)) == ([], [])


@given(policies, claims, held)
def test_to_be_told_no_groups_grants_nothing_that_a_told_list_would_have_to_earn(
    settings: ProvisioningSettings, said: dict[str, object], grants: frozenset[Grant]
) -> None:
    """An overage adds no role that hangs on groups: only those that neither rule nor map need groups for."""
    changes = decided(settings, {**{k: v for k, v in said.items() if k != "groups"}, **OVERAGE}, grants)
    if changes is None:
        return
    free = {role for rule in settings.role_rules if rule.when in {"flag", "`true`"} for role in rule.grant}
    added = {grant.role for grant in changes[0] if grant.source == "idp:okta"}
    assert added <= free | set(settings.role_catalogue)


@given(policies, claims, held)
def test_names_out_of_claims_grant_nothing_outside_the_catalogue(
    settings: ProvisioningSettings, said: dict[str, object], grants: frozenset[Grant]
) -> None:
    changes = decided(settings, said, grants)
    if changes is None:
        return
    configured = {role for rule in settings.role_rules for role in rule.grant}
    configured |= {role for named in settings.group_roles.values() for role in named}
    added = {grant.role for grant in changes[0] if grant.source == "idp:okta"}
    assert added <= configured | set(settings.role_catalogue)
    assert "stranger" not in added
