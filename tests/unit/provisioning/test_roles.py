"""Roles as grants with a source: what fires, what is unknown, and what a login must not touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, Grant, VerifiedIdentity
from jit_middleware.provisioning.mapping import ClaimMapper
from jit_middleware.provisioning.roles import Desired, RolePolicy
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ClaimMapping, ProvisioningSettings, RoleRule
from jit_middleware.settings.policy import MissingGroups, RoleSync

OPS = RoleRule("contains(groups, 'ops')", ("operator",), "ops")
STAFF = RoleRule("department == 'it'", ("staff",), "rule-2")
ROOT = RoleRule("contains(groups, 'root')", ("admin",), "root")
MISSING: dict[str, JSON] = {}
OVERAGE: dict[str, JSON] = {"_claim_names": {"groups": "src1"}}


def decide(
    settings: ProvisioningSettings,
    claims: dict[str, JSON],
    held: Iterable[Grant] = (),
    *,
    mapping: ClaimMapping | None = None,
) -> tuple[Desired, list[str]]:
    mapping = mapping or ClaimMapping()
    identity = VerifiedIdentity("okta", "https://login.example", "s1", {"sub": "s1", **claims})
    steps = Steps()
    policy = RolePolicy(settings, connection="okta", groups_expression=mapping.groups, roles_expression=mapping.roles)
    desired = policy.desired(identity, ClaimMapper(mapping).map(identity), held, steps)
    return desired, [str(step) for step in steps.taken]


def grants(source: str, *roles: str) -> list[Grant]:
    return [Grant(role, source) for role in roles]


def test_default_roles_are_by_birth_and_rules_are_the_connections() -> None:
    settings = ProvisioningSettings(default_roles=("member",), role_rules=(OPS, STAFF))
    desired, steps = decide(settings, {"groups": ["ops"], "department": "hr"})
    assert desired == Desired(frozenset({"member"}), frozenset({"operator"}), unavailable=False)
    assert steps == ["role_default: fired (member)", "role_rule:ops: fired (operator)", "role_rule:rule-2: not_fired"]


@pytest.mark.parametrize("answer", ["yes", 1, ["x"], {"a": 1}, "true", None, False])
def test_only_the_json_value_true_fires_a_rule(answer: JSON) -> None:
    settings = ProvisioningSettings(role_rules=(RoleRule("flag", ("x",), "r"),))
    assert decide(settings, {"flag": answer})[0].idp == frozenset()
    assert decide(settings, {"flag": True})[0].idp == {"x"}


@pytest.mark.parametrize("when", ["hd == admin", "hd == example.org", "hd != 'x'", "!blocked", "!(hd == 'x')"])
def test_a_rule_about_a_claim_that_is_missing_does_not_fire(when: str) -> None:
    assert decide(ProvisioningSettings(role_rules=(RoleRule(when, ("x",), "r"),)), {})[0].idp == frozenset()


@pytest.mark.parametrize(
    ("groups", "fired"),
    [
        (["6f1c"], True),
        ("6f1c", True),
        (["6F1C"], False),
        (["6f1c,other"], False),
        (["6f1"], False),
        (["6f1c "], False),
        ([["6f1c"]], False),
        ([{"id": "6f1c"}], False),
        ({"6f1c": True}, False),
    ],
    ids=repr,
)
def test_groups_are_matched_by_their_id_byte_for_byte(groups: JSON, fired: bool) -> None:
    settings = ProvisioningSettings(group_roles={"6f1c": ("editor", "viewer"), "other": ("admin",)})
    desired, steps = decide(settings, {"groups": groups})
    assert desired.idp == (frozenset({"editor", "viewer"}) if fired else frozenset())
    assert ("role_map:6f1c: fired (editor, viewer)" in steps) is fired


def test_a_map_without_one_of_the_groups_says_so() -> None:
    settings = ProvisioningSettings(group_roles={"6f1c": ("editor",)})
    assert decide(settings, {"groups": []})[1] == ["role_map: not_fired"]


# --- names that the provider gives -------------------------------------------------------------------------------------

BY_NAME = ClaimMapping(roles="app_roles")


@pytest.mark.parametrize(
    ("found", "roles"),
    [
        (["editor", "viewer"], ["editor", "viewer"]),
        ("editor", ["editor"]),
        (["EDITOR", "editor ", "root"], []),
        ([], []),
    ],
    ids=repr,
)
def test_names_out_of_claims_count_when_the_catalogue_has_them(found: JSON, roles: list[str]) -> None:
    settings = ProvisioningSettings(role_catalogue=("editor", "viewer"))
    assert decide(settings, {"app_roles": found}, mapping=BY_NAME)[0].idp == set(roles)


def test_strange_names_are_counted_and_never_repeated() -> None:
    settings = ProvisioningSettings(role_catalogue=("editor",))
    steps = decide(settings, {"app_roles": ["editor", "x\\nrole_default: fired", "root"]}, mapping=BY_NAME)[1]
    assert steps == [
        "role_expression: dropped_unknown_role (2 not in JIT_ROLE_CATALOGUE)",
        "role_expression: fired (editor)",
    ]


def test_a_missing_roles_claim_takes_no_role_away() -> None:
    settings = ProvisioningSettings(role_catalogue=("editor", "admin"), privileged_roles=("admin",))
    held = grants("idp:okta", "editor", "admin") + grants("manual", "viewer")
    desired, steps = decide(settings, {}, held, mapping=BY_NAME)
    assert (desired.idp, desired.kept, desired.unavailable) == ({"editor"}, {"editor"}, False)
    assert steps == ["role_expression: unknown"]
    strict = ProvisioningSettings(role_catalogue=("editor",), missing_groups="strip")
    assert decide(strict, {}, held, mapping=BY_NAME)[0].idp == frozenset()


# --- privileged roles --------------------------------------------------------------------------------------------------


def test_privileged_roles_are_dropped_from_wherever_they_come() -> None:
    settings = ProvisioningSettings(
        default_roles=("member", "admin"),
        role_rules=(RoleRule("`true`", ("admin", "staff"), "all"),),
        group_roles={"g": ("admin",)},
        role_catalogue=("member", "admin", "staff"),
        privileged_roles=("admin",),
    )
    held = grants("idp:okta", "admin")
    desired, steps = decide(settings, {"groups": ["g"], "app_roles": ["admin"]}, held, mapping=BY_NAME)
    assert (desired.birthright, desired.idp) == ({"member"}, {"staff"})
    assert steps == [
        "role_default: fired (member)",
        "role_rule:all: dropped_privileged (admin)",
        "role_rule:all: fired (staff)",
        "role_map:g: dropped_privileged (admin)",
        "role_expression: dropped_privileged (admin)",
    ]


def test_where_every_role_is_privileged_a_connection_grants_what_everybody_has_and_no_other() -> None:
    settings = ProvisioningSettings(
        default_roles=("member",), group_roles={"g": ("member", "staff")}, privileged_roles=("*",)
    )
    desired, steps = decide(settings, {"groups": ["g"]})
    assert (desired.birthright, desired.idp) == ({"member"}, {"member"})
    assert "role_map:g: dropped_privileged (staff)" in steps
    may = replace(settings, allow_privileged_roles=True)
    assert decide(may, {"groups": ["g"]})[0].idp == {"member", "staff"}
    held = grants("idp:okta", "member", "staff")
    assert decide(may, MISSING, held)[0].kept == {"member"}, "kept as what is not privileged"


def test_a_connection_that_may_grants_privileged_roles() -> None:
    settings = ProvisioningSettings(
        role_rules=(ROOT,), privileged_roles=("admin",), allow_privileged_roles=True, default_roles=("admin",)
    )
    desired, _ = decide(settings, {"groups": ["root"]})
    assert (desired.birthright, desired.idp) == (frozenset(), {"admin"})


# --- groups that we were not told --------------------------------------------------------------------------------------

HELD = (
    grants("idp:okta", "operator", "admin", "staff", "old") + grants("birthright", "member") + grants("manual", "chief")
)


def missing(how: MissingGroups, *, allow: bool = True) -> ProvisioningSettings:
    return ProvisioningSettings(
        default_roles=("member",),
        role_rules=(OPS, STAFF, ROOT),
        privileged_roles=("admin",),
        allow_privileged_roles=allow,
        missing_groups=how,
    )


@pytest.mark.parametrize(
    ("how", "claims", "allow", "left"),
    [
        ("keep_unprivileged", MISSING, True, {"operator"}),
        ("keep_unprivileged", OVERAGE, True, {"operator"}),
        ("keep", MISSING, True, {"operator", "admin"}),
        ("keep", OVERAGE, True, {"operator", "admin"}),
        ("keep", OVERAGE, False, {"operator"}),
        ("strip", MISSING, True, set()),
        ("strip", OVERAGE, True, {"operator"}),
    ],
)
def test_what_hangs_on_groups_that_we_were_not_told(
    how: MissingGroups, claims: dict[str, JSON], allow: bool, left: set[str]
) -> None:
    desired, steps = decide(missing(how, allow=allow), claims, HELD)
    unknown = how != "strip" or claims is OVERAGE
    assert (desired.idp, desired.kept, desired.unavailable) == (left, left, unknown)
    assert ("role_rule:ops: unknown" in steps) is unknown
    assert "role_rule:rule-2: not_fired" in steps
    assert any(step.startswith(f"missing_groups: {how}") for step in steps) is unknown


def test_an_empty_list_of_groups_is_none_of_this() -> None:
    desired, _ = decide(missing("keep"), {"groups": []}, HELD)
    assert (desired.idp, desired.unavailable) == (frozenset(), False)


@pytest.mark.parametrize("claims", [MISSING, OVERAGE], ids=["missing", "overage"])
def test_a_connection_may_refuse_people_whose_groups_are_not_told(claims: dict[str, JSON]) -> None:
    with pytest.raises(NotProvisioned, match="groups_unavailable"):
        decide(missing("deny"), claims, HELD)
    assert decide(missing("deny"), {"groups": ["ops"]}, HELD)[0].idp == {"operator"}


def test_nothing_is_unavailable_where_nothing_hangs_on_groups() -> None:
    settings = ProvisioningSettings(default_roles=("member",), role_rules=(STAFF,))
    desired, steps = decide(settings, {"department": "it"})
    assert (desired.idp, desired.unavailable) == ({"staff"}, False)
    assert steps == ["role_default: fired (member)", "role_rule:rule-2: fired (staff)"]


@pytest.mark.parametrize(
    ("when", "unknown"),
    [
        ("contains(realm_access.roles, 'x')", True),
        ("!contains(realm_access.roles || `[]`, 'x')", True),
        ("length(keys(@)) > `0`", True),
        ("contains(groups, 'x')", True),
        ("realm_access.name == null", False),
        ("sub == 's1'", False),
    ],
)
def test_a_rule_is_unknown_when_it_looks_where_the_groups_would_be(when: str, unknown: bool) -> None:
    settings = ProvisioningSettings(role_rules=(RoleRule(when, ("x",), "r"),))
    mapping = ClaimMapping(groups="realm_access.roles")
    desired, steps = decide(settings, {}, grants("idp:okta", "x"), mapping=mapping)
    assert ("role_rule:r: unknown" in steps, desired.unavailable) == (unknown, unknown)
    new, _ = decide(settings, {}, (), mapping=mapping)
    assert new.kept == frozenset()
    assert not (unknown and new.idp)


def test_a_group_that_is_told_counts_also_when_others_are_not() -> None:
    settings = ProvisioningSettings(group_roles={"a": ("reader",), "b": ("editor",), "c": ("writer",)})
    claims: dict[str, JSON] = {**OVERAGE, "groups": ["a"]}
    desired, steps = decide(settings, claims, grants("idp:okta", "editor", "other"))
    assert (desired.idp, desired.kept, desired.unavailable) == ({"reader", "editor"}, {"editor"}, True)
    assert steps == [
        "role_map:a: fired (reader)",
        "role_map: unknown",
        "missing_groups: keep_unprivileged (overage; kept: editor)",
    ]


def test_in_saml_a_rule_on_another_attribute_does_not_hang_on_groups() -> None:
    mapping = ClaimMapping(groups='attributes."http://schemas/groups"')
    rules = (
        RoleRule("attributes.department[0] == 'it'", ("staff",), "a"),
        RoleRule("contains(groups, 'x')", ("y",), "b"),
    )
    claims: dict[str, JSON] = {"attributes": {"department": ["it"]}}
    desired, steps = decide(ProvisioningSettings(role_rules=rules), claims, mapping=mapping)
    assert desired.idp == {"staff"}
    assert "role_rule:b: unknown" in steps


# --- what a login does to the grants held ------------------------------------------------------------------------------

ALL = [
    *grants("birthright", "member", "past"),
    *grants("idp:okta", "operator", "gone"),
    *grants("idp:other", "guest"),
    *grants("scim:okta", "team"),
    *grants("manual", "chief", "operator"),
]
DESIRED = Desired(frozenset({"member"}), frozenset({"operator", "staff"}), unavailable=False)


@pytest.mark.parametrize(
    ("sync", "removed"),
    [
        ("owned", [Grant("past", "birthright"), Grant("gone", "idp:okta")]),
        ("additive", []),
        (
            "exclusive",
            [
                Grant("past", "birthright"),
                Grant("gone", "idp:okta"),
                Grant("guest", "idp:other"),
                Grant("chief", "manual"),
                Grant("operator", "manual"),
            ],
        ),
    ],
)
def test_a_sync_removes_what_is_its_own_to_remove(sync: RoleSync, removed: list[Grant]) -> None:
    policy = RolePolicy(ProvisioningSettings(role_sync=sync), connection="okta", groups_expression="groups")
    assert policy.changes(ALL, DESIRED) == ([Grant("staff", "idp:okta")], removed)
