"""What is said for all connections, what one of them says otherwise, and what does not fit together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError
from jit_middleware.settings import ProvisioningSettings, Rate, Settings
from jit_middleware.settings import policy as p
from jit_middleware.settings.values import BadValue

ENV = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "from the provider",
}


def policy(**more: str) -> ProvisioningSettings:
    (connection,) = Settings.load(ENV | more).connections
    return connection.provisioning


def faults(env: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load(env)
    return [str(fault) for fault in refused.value.faults]


def test_a_connection_begins_with_what_is_said_for_all() -> None:
    assert policy(JIT_PROVISIONING="match_only", JIT_GROUP_ROLES='{"g-1": ["editor"]}').mode == "match_only"
    assert policy(JIT_GROUP_ROLES='{"g-1": "editor, viewer"}').group_roles == {"g-1": ("editor", "viewer")}
    assert policy() == ProvisioningSettings()


def test_a_connection_may_say_otherwise_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "jit.toml"
    file.write_text(
        """
provisioning = "create"
link_until = 2026-12-31
allowed_domains = ["example.org"]

[connections.oidc]
provisioning = "match_only"
link_policy = "confirm"
missing_groups = "strip"
allowed_domains = ["partner.example"]

[[connections.oidc.role_rules]]
id = "ops"
when = "contains(groups, 'ops')"
grant = ["operator"]
"""
    )
    settings = Settings.load(ENV | {"JIT_CONFIG": str(file)})
    (connection,) = settings.connections
    mine = connection.provisioning
    assert (settings.provisioning.mode, mine.mode) == ("create", "match_only")
    assert (mine.link_policy, mine.missing_groups, mine.allowed_domains) == ("confirm", "strip", ("partner.example",))
    assert [(rule.id, rule.grant) for rule in mine.role_rules] == [("ops", ("operator",))]
    assert mine.link_until == 1_798_761_600  # 2027-01-01T00:00:00Z: the last day counts whole


def test_a_privileged_role_is_nobodys_by_birth() -> None:
    (fault,) = faults(ENV | {"JIT_PRIVILEGED_ROLES": "admin", "JIT_DEFAULT_ROLES": "viewer, admin"})
    assert fault.startswith("JIT_DEFAULT_ROLES: it gives everybody 'admin'")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JIT_ROLE_RULES", '[{"when": "boss", "grant": ["admin"]}]'),
        ("JIT_GROUP_ROLES", '{"g-1": ["viewer", "admin"]}'),
    ],
)
def test_a_privileged_role_needs_a_connection_that_may_grant_it(variable: str, value: str) -> None:
    env = ENV | {"JIT_PRIVILEGED_ROLES": "admin", variable: value}
    (fault,) = faults(env)
    assert fault.startswith(f"{variable}: it grants 'admin', which is a privileged role")
    assert "JIT_OIDC_ALLOW_PRIVILEGED_ROLES=true" in fault
    assert Settings.load(env | {"JIT_OIDC_ALLOW_PRIVILEGED_ROLES": "true"}).connections[0].provisioning


def test_every_role_may_be_privileged_but_those_that_everybody_gets() -> None:
    every = ENV | {"JIT_PRIVILEGED_ROLES": "*", "JIT_ROLE_CATALOGUE": "viewer, editor, guest"}
    shared = {"JIT_DEFAULT_ROLES": "viewer", "JIT_MINIMAL_ROLE": "guest", "JIT_GROUP_ROLES": '{"g-1": ["viewer"]}'}
    mine = Settings.load(every | shared).connections[0].provisioning
    assert [role in mine.privileged for role in ("viewer", "guest", "editor", "*", "")] == [False, False, *[True] * 3]
    assert frozenset({"viewer", "editor"}) - mine.privileged == {"viewer"}
    (fault,) = faults(every | {"JIT_GROUP_ROLES": '{"g-1": ["editor"]}'})
    assert fault.startswith("JIT_GROUP_ROLES: it grants 'editor', which is a privileged role")
    assert "JIT_OIDC_ALLOW_PRIVILEGED_ROLES=true" in fault
    (fault,) = faults(every | {"JIT_PRIVILEGED_ROLES": "*, viewer", "JIT_DEFAULT_ROLES": "viewer"})
    assert fault.startswith("JIT_DEFAULT_ROLES: it gives everybody 'viewer', which is a privileged role")


@pytest.mark.parametrize(
    ("named", "gained", "rises"),
    [
        ((), {"admin"}, False),
        (("admin",), {"editor"}, False),
        (("admin",), {"editor", "admin"}, True),
        (("*",), {"editor"}, True),
        (("*",), {"viewer"}, True),
        (("*",), set(), False),
    ],
)
def test_what_somebody_gains_may_need_a_new_login(named: tuple[str, ...], gained: set[str], rises: bool) -> None:
    policy = ProvisioningSettings(privileged_roles=named, default_roles=("viewer",))
    assert policy.needs_new_login(gained) is rises


@pytest.mark.parametrize(
    ("variables", "is_noted"),
    [
        ({}, False),
        ({"JIT_DEFAULT_ROLES": "viewer"}, True),
        ({"JIT_GROUP_ROLES": '{"g-1": ["editor"]}'}, True),
        ({"JIT_ROLE_RULES": '[{"when": "boss", "grant": ["chief"]}]'}, True),
        ({"JIT_ROLE_CATALOGUE": "viewer, chief"}, True),
        ({"JIT_ROLE_CATALOGUE": "viewer, chief", "JIT_PRIVILEGED_ROLES": "chief"}, False),
        ({"JIT_DEFAULT_ROLES": "viewer", "JIT_PRIVILEGED_ROLES": "*"}, False),
    ],
)
def test_roles_of_which_none_is_privileged_are_noted(variables: Mapping[str, str], is_noted: bool) -> None:
    settings = Settings.load({**ENV, **variables})
    assert [note.startswith("No role is privileged (JIT_PRIVILEGED_ROLES)") for note in settings.notes()] == (
        [True] if is_noted else []
    )
    assert settings.warnings() == ()


def test_roles_of_one_connection_alone_are_noted_too(tmp_path: Path) -> None:
    file = tmp_path / "jit.toml"
    file.write_text('[connections.oidc.group_roles]\n"g-1" = ["editor"]\n')
    assert len(Settings.load(ENV | {"JIT_CONFIG": str(file)}).notes()) == 1


def test_conditions_that_compare_two_claims_are_noted() -> None:
    rules = '[{"id": "boss", "when": "hd == admin", "grant": ["chief"]}, {"when": "hd == \'x\'", "grant": ["chief"]}]'
    said = {"JIT_CLAIM_FILTER": "hd == acme", "JIT_ROLE_RULES": rules, "JIT_PRIVILEGED_ROLES": "other"}
    of_filter, of_rule = Settings.load(ENV | said).notes()
    assert of_filter.startswith("JIT_CLAIM_FILTER compares two claims, hd and acme. A text stands in single quotes")
    assert of_rule.startswith("The rule boss (JIT_ROLE_RULES) compares two claims, hd and admin.")


def test_text_without_its_quotes_is_a_fault_at_start() -> None:
    (fault,) = faults(ENV | {"JIT_CLAIM_FILTER": "hd == example.org"})
    assert fault.startswith("JIT_CLAIM_FILTER: it compares with a claim of the name 'example.org', which no provider")
    rules = '[{"when": "hd == example.org", "grant": ["chief"]}]'
    (fault,) = faults(ENV | {"JIT_ROLE_RULES": rules})
    assert fault.startswith("JIT_ROLE_RULES: in rule 1, it compares with a claim of the name 'example.org'")


def test_with_a_catalogue_every_role_must_be_in_it() -> None:
    found = faults(
        ENV
        | {
            "JIT_ROLE_CATALOGUE": "viewer, editor",
            "JIT_DEFAULT_ROLES": "veiwer",
            "JIT_GROUP_ROLES": '{"g-1": ["edit0r"]}',
            "JIT_ROLE_RULES": '[{"when": "boss", "grant": ["chief"]}]',
            "JIT_PRIVILEGED_ROLES": "admin",
            "JIT_SEATS_WHEN_FULL": "minimal_role",
            "JIT_MINIMAL_ROLE": "guest",
        }
    )
    assert sorted(fault.partition(":")[0] for fault in found) == [
        "JIT_DEFAULT_ROLES",
        "JIT_GROUP_ROLES",
        "JIT_MINIMAL_ROLE",
        "JIT_PRIVILEGED_ROLES",
        "JIT_ROLE_RULES",
    ]


def test_roles_from_claims_need_a_catalogue() -> None:
    (fault,) = faults(ENV | {"JIT_CLAIMS_ROLES": "roles"})
    assert fault.startswith("JIT_CLAIMS_ROLES: it lets the provider name any role.")
    mapping = Settings.load(ENV | {"JIT_CLAIMS_ROLES": "roles", "JIT_ROLE_CATALOGUE": "viewer"}).connections[0].claims
    assert mapping.roles == "roles"


def test_a_minimal_role_is_named_where_it_is_needed_and_is_no_privileged_one() -> None:
    (fault,) = faults(ENV | {"JIT_SEATS_WHEN_FULL": "minimal_role"})
    assert fault.startswith("JIT_MINIMAL_ROLE: it is missing")
    (fault,) = faults(ENV | {"JIT_MINIMAL_ROLE": "admin", "JIT_PRIVILEGED_ROLES": "admin"})
    assert fault.startswith("JIT_MINIMAL_ROLE: 'admin' is a privileged role.")


def test_a_link_policy_without_verified_domains_is_warned_of() -> None:
    settings = Settings.load(ENV | {"JIT_LINK_POLICY": "auto"})
    assert any("no verified domains" in warning for warning in settings.warnings())
    assert Settings.load(ENV | {"JIT_LINK_POLICY": "auto", "JIT_OIDC_VERIFIED_DOMAINS": "example.org"}).warnings() == ()


@pytest.mark.parametrize(
    ("variable", "text", "place"),
    [
        ("JIT_GROUP_ROLES", '{"g-1": ["editor"}', "line 1, column 18"),
        ("JIT_GROUP_ROLES", '{\n  "g-1": ["editor"],\n}', "line 3, column 1"),
        ("JIT_ROLE_RULES", '[{"when": "boss", grant: ["admin"]}]', "line 1, column 19"),
        ("JIT_ROLE_RULES", "[" * 3, "line 1, column 4"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(variable: str, text: str, place: str) -> None:
    (fault,) = faults(ENV | {variable: text})
    assert fault.startswith(f"{variable}: it is not JSON ({place}: ")


def test_connections_that_take_each_others_roles_are_warned_of(tmp_path: Path) -> None:
    def warnings(**sync: str) -> tuple[str, ...]:
        file = tmp_path / "jit.toml"
        connections = (
            f'[connections.{name}]\nissuer = "https://{name}.example"\nclient_id = "app"\nclient_secret = "secret"\n'
            f'role_sync = "{mode}"\n'
            for name, mode in sync.items()
        )
        file.write_text("".join(connections))
        env = {name: value for name, value in ENV.items() if not name.startswith("JIT_OIDC_")}
        return Settings.load(env | {"JIT_CONFIG": str(file)}).warnings()

    (warning,) = warnings(one="exclusive", two="exclusive", three="owned")
    assert warning.startswith("The connections one, two each make their roles the only ones (JIT_ROLE_SYNC=exclusive)")
    assert warnings(one="exclusive", two="owned", three="additive") == ()


@pytest.mark.parametrize(
    ("text", "read"), [("30/1m", Rate(30, 60)), (" 100 / 1h ", Rate(100, 3600)), ("off", None), ("none", None)]
)
def test_rates(text: str, read: Rate | None) -> None:
    assert p.rate(text) == read


@pytest.mark.parametrize("text", ["", "0/1m", "30", "30/0s", "30/1.5s", "30/32d", "-1/1m", "30/1x", 30, None, True])
def test_what_is_no_rate(text: object) -> None:
    with pytest.raises(BadValue):
        p.rate(text)


@pytest.mark.parametrize(("given", "read"), [("10", 10), (7, 7)])
def test_counts(given: object, read: int) -> None:
    assert p.count(given) == read


@pytest.mark.parametrize("given", ["0", 0, -1, True, 1.5, "ten", "", None, 10**9])
def test_what_is_no_count(given: object) -> None:
    with pytest.raises(BadValue):
        p.count(given)


@pytest.mark.parametrize("given", ["tomorrow", "2026-13-01", "31.12.2026", 20261231, None, "9999-12-31"])
def test_what_is_no_day(given: object) -> None:
    with pytest.raises(BadValue):
        p.end_of(given)


@pytest.mark.parametrize(
    "given",
    [
        [{"when": "a", "grant": ["x"], "id": "same"}, {"when": "b", "grant": ["y"], "id": "same"}],
        [{"when": "a", "grant": ["x"], "id": ""}],
        [{"when": "a", "grant": ["x"], "id": "with blank"}],
        [{"when": "a", "grant": []}],
        [{"grant": ["x"]}],
    ],
)
def test_rules_that_cannot_be_meant(given: object) -> None:
    with pytest.raises(BadValue):
        p.role_rules(given)


@pytest.mark.parametrize("given", [{"": ["x"]}, {"g": []}, {"g": 1}, ["g"], {"g" * 1025: ["x"]}])
def test_group_maps_that_cannot_be_meant(given: object) -> None:
    with pytest.raises(BadValue):
        p.group_roles(given)
