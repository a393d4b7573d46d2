"""``claims.<field>`` as an expression or as a table, and what of it counts for a connection."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError
from jit_middleware.settings import ClaimMapping, FieldPolicy, Settings
from jit_middleware.settings.claims import ClaimSource, claim, claim_fields, field_policy
from jit_middleware.settings.saml_presets import PRESETS
from jit_middleware.settings.values import BadValue

ENV = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "from the provider",
}


def mapping(overrides: Mapping[str, object] | None = None, /, **env: str) -> ClaimMapping:
    return Settings.load({**ENV, **env}, overrides=overrides).connections[0].claims


def faults(overrides: Mapping[str, object] | None = None, /, **env: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as refused:
        mapping(overrides, **env)
    return {fault.setting: f"{fault.problem} {fault.fix}" for fault in refused.value.faults}


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("email", "mail || email", ClaimSource("mail || email")),
        ("email", {"from": "mail"}, ClaimSource("mail")),
        ("email", '{"from": "mail", "normalise": "trim, lower"}', ClaimSource("mail", normalise=("trim", "lower"))),
        ("email", {"authority": "idp", "on_missing": "clear"}, ClaimSource(authority="idp", on_missing="clear")),
        ("display_name", {"default": "Somebody"}, ClaimSource(default="Somebody")),
        ("display_name", {"required": "yes"}, ClaimSource(required=True)),
        ("username", {"authority": "idp", "required": True}, ClaimSource(authority="idp", required=True)),
        ("groups", {"default": []}, ClaimSource(default=())),
        ("groups", {"default": "staff, all"}, ClaimSource(default=("staff, all",))),
        ("roles", {"from": "roles", "default": ["reader"]}, ClaimSource("roles", default=("reader",))),
    ],
)
def test_a_field_is_an_expression_or_a_table(field: str, value: object, found: ClaimSource) -> None:
    assert claim(field)(value) == found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", {"form": "mail"}),
        ("email", {"from": "a["}),
        ("email", {"from": 7}),
        ("email", '{"from": "mail"'),
        ("email", "{x: mail}"),
        ("email", {"default": "all@example.org"}),
        ("username", {"default": "guest"}),
        ("username", {"authority": "app"}),
        ("username", {"authority": "scim"}),
        ("username", {"on_missing": "clear"}),
        ("display_name", {"default": ["a"]}),
        ("display_name", {"default": ""}),
        ("display_name", {"default": 7}),
        ("email", {"normalise": ["domain"]}),
        ("groups", {"normalise": ["domain"]}),
        ("email", {"normalise": ["casefold"]}),
        ("email", {"authority": "provider"}),
        ("email", {"on_missing": "drop"}),
        ("email", {"required": "perhaps"}),
        ("groups", {"authority": "idp"}),
        ("roles", {"on_missing": "clear"}),
        ("groups", {"default": [1]}),
        ("display_name", {"default": "x", "required": True}),
        ("email", {"authority": "app", "on_missing": "clear"}),
        ("email", 7),
        ("email", ["mail"]),
    ],
)
def test_what_cannot_be_said_of_a_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(BadValue):
        claim(field)(value)


def test_further_fields_are_expressions_or_tables() -> None:
    assert claim_fields(
        {"team": "org.team", "company": {"from": "email", "normalise": ["domain"], "default": ["x"]}}
    ) == {
        "team": ClaimSource("org.team"),
        "company": ClaimSource("email", normalise=("domain",), default=("x",)),
    }


@pytest.mark.parametrize("value", [{"a b": "x"}, {"a": "x["}, {"a": {"of": "x"}}, {"a": 1}, {"a": ["x"]}, "[]", "{"])
def test_further_fields_that_cannot_be_are_refused(value: object) -> None:
    with pytest.raises(BadValue):
        claim_fields(value)


def test_nothing_said_is_no_policy_but_a_username_is_given_once() -> None:
    nothing = mapping()
    assert nothing == ClaimMapping()
    assert field_policy(nothing, "email") == FieldPolicy()
    assert field_policy(nothing, "username").authority == "first_write"


def test_a_connection_says_its_own_over_what_all_have_key_by_key() -> None:
    toml = {
        "claims": {
            "email": {"from": "mail", "normalise": ["trim"], "required": True},
            "fields": {"team": {"from": "org.team", "default": "none"}, "office": "office"},
        },
        "connections": {
            "oidc": {
                "claims": {
                    "email": {"normalise": ["lower"]},
                    "display_name": {"authority": "app"},
                    "username": {"normalise": ["lower"]},
                    "fields": {"team": {"authority": "first_write"}},
                }
            }
        },
    }
    own = mapping(toml)
    assert (own.username, own.email, own.display_name) == ("preferred_username || email || sub", "mail", "name")
    assert dict(own.fields) == {"team": "org.team"}
    assert dict(own.policies) == {
        "email": FieldPolicy(required=True, normalise=("lower",)),
        "display_name": FieldPolicy(authority="app"),
        "username": FieldPolicy(normalise=("lower",), authority="first_write"),
        "fields.team": FieldPolicy(default="none", authority="first_write"),
    }


def test_a_policy_without_an_expression_keeps_that_of_the_preset() -> None:
    saml = {
        "JIT_PUBLIC_URL": ENV["JIT_PUBLIC_URL"],
        "JIT_SECRET_KEY": ENV["JIT_SECRET_KEY"],
        "JIT_SAML_IDP_METADATA": "https://idp.example.org/metadata",
        "JIT_SAML_PRESET": "okta",
        "JIT_CLAIMS_EMAIL": '{"required": true}',
    }
    claims = Settings.load(saml).connections[0].claims
    assert claims.email == PRESETS["okta"].email
    assert claims.policies["email"].required is True


def test_a_further_field_that_comes_from_nowhere_is_a_fault() -> None:
    said = faults(JIT_CLAIMS_FIELDS='{"team": {"default": "none"}}')
    assert "team" in said["JIT_CLAIMS_FIELDS"]
    assert "add from" in said["JIT_CLAIMS_FIELDS"]


def test_a_fault_in_a_table_names_the_key_and_the_place() -> None:
    said = faults({"connections": {"oidc": {"claims": {"email": {"normalise": "upper"}}}}})
    assert said["connections.oidc.claims.email in overrides"].startswith("in normalise,")
    assert faults(JIT_CLAIMS_EMAIL='{"required": "perhaps"}')["JIT_CLAIMS_EMAIL"].startswith("in required,")


def test_what_a_policy_requires_is_worth_asking_the_userinfo_endpoint_for() -> None:
    assert "name" not in Settings.load(ENV).connections[0].needed_claims  # type: ignore[union-attr]
    required = Settings.load({**ENV, "JIT_CLAIMS_DISPLAY_NAME": '{"required": true}'})
    assert "name" in required.connections[0].needed_claims  # type: ignore[union-attr]


def test_an_expression_in_a_table_counts_as_one_on_its_own() -> None:
    assert mapping(JIT_CLAIMS_GROUPS='{"from": "realm_access.roles"}').groups == "realm_access.roles"
    connection = Settings.load({**ENV, "JIT_CLAIMS_GROUPS": '{"from": "realm_access.roles"}'}).connections[0]
    assert "realm_access" in connection.needed_claims  # type: ignore[union-attr]


@pytest.mark.parametrize("heading", ["## Mapping", "## Roles"])
def test_the_examples_of_the_documentation_load(heading: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "provisioning.md").read_text("utf-8")
    section = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    assert examples
    for example in examples:
        Settings.load(ENV, overrides=tomllib.loads(example))
