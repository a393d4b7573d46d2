"""Presets for OpenID providers: what they decide, what the operator decides over them, and wrong names."""

from __future__ import annotations

from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.oidc_presets import NO_PRESET, PRESETS
from jit_middleware.settings.saml_presets import PRESETS as SAML_PRESETS

ACCESS = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": "from the provider",
}


def oidc(**env: str) -> OIDCConnection:
    (connection,) = Settings.load(ACCESS | env).connections
    assert isinstance(connection, OIDCConnection)
    return connection


def fault(**env: str) -> Fault:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load(ACCESS | env)
    (found,) = refused.value.faults
    return found


def test_without_a_preset_the_standard_claims_are_mapped() -> None:
    assert NO_PRESET.claims == ClaimMapping()
    assert oidc() == OIDCConnection(
        "oidc", "https://login.example.org", "app", "from the provider",
        needed_claims=("email", "preferred_username"),
    )  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_decides_what_nobody_else_does(name: str) -> None:
    found, preset = oidc(JIT_OIDC_PRESET=name), PRESETS[name]
    assert found.claims == preset.claims
    assert found.scopes == ("openid", "email", "profile")
    assert found.optional_scopes == preset.scopes
    assert found.userinfo == preset.userinfo
    assert set(preset.needed) <= set(found.needed_claims)
    assert found.provisioning.missing_groups == preset.missing_groups


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_takes_a_role_or_a_further_field_out_of_the_claims(name: str) -> None:
    assert PRESETS[name].claims.roles == ""
    assert PRESETS[name].claims.fields == {}


def test_every_expression_that_is_set_wins_over_the_preset_and_the_others_stay() -> None:
    found = oidc(JIT_OIDC_PRESET="google", JIT_CLAIMS_GROUPS="memberships", JIT_CLAIMS_DISPLAY_NAME="given_name")
    assert found.claims == ClaimMapping(username="email || sub", groups="memberships", display_name="given_name")


def test_scopes_userinfo_and_missing_groups_that_are_set_win_over_the_preset() -> None:
    found = oidc(
        JIT_OIDC_PRESET="entra",
        JIT_OIDC_USERINFO="auto",
        JIT_OIDC_MISSING_GROUPS="deny",
    )
    assert (found.userinfo, found.provisioning.missing_groups) == ("auto", "deny")
    found = oidc(JIT_OIDC_PRESET="dex", JIT_OIDC_SCOPES="openid email")
    assert (found.scopes, found.optional_scopes) == (("openid", "email"), ())


def test_the_toml_key_means_the_presets_of_the_connections_own_protocol(tmp_path: Path) -> None:
    file = tmp_path / "jit.toml"
    file.write_text(
        """
        [connections.staff]
        issuer = "https://login.example.org"
        client_id = "app"
        client_secret = "from the provider"
        preset = "auth0"

        [connections.partners]
        issuer = "https://id.partner.example"
        client_id = "app"
        client_secret = "from the provider"
        preset = "dex"
        claims = { groups = "teams" }

        [connections.campus]
        protocol = "saml"
        idp_metadata = "https://idp.campus.example/metadata"
        preset = "shibboleth"
        """
    )
    env = {name: value for name, value in ACCESS.items() if not name.startswith("JIT_OIDC_")}
    staff, partners, campus = Settings.load(env | {"JIT_CONFIG": str(file)}).connections
    assert isinstance(staff, OIDCConnection)
    assert isinstance(partners, OIDCConnection)
    assert isinstance(campus, SAMLConnection)
    assert staff.claims == PRESETS["auth0"].claims
    assert (partners.claims, partners.optional_scopes) == (ClaimMapping(groups="teams"), ("groups",))
    assert campus.claims == SAML_PRESETS["shibboleth"]


@pytest.mark.parametrize(
    ("name", "problem", "fix"),
    [
        ("Entra", "'Entra' is not the name of a preset.", "did you mean entra?"),
        ("authentic", "'authentic' is not the name of a preset.", "did you mean authentik?"),
        ("gitlub", "'gitlub' is not the name of a preset.", "did you mean gitlab?"),
        ("ping", "'ping' is not the name of a preset.", "write entra, okta, google, auth0,"),
        ("adfs", "'adfs' is not the name of a preset for OpenID Connect, only for SAML.", "write entra,"),
        ("shibboleth", "only for SAML", "write entra,"),
    ],
)
def test_a_wrong_name_is_a_fault_with_the_right_one(name: str, problem: str, fix: str) -> None:
    found = fault(JIT_OIDC_PRESET=name)
    assert found.setting == "JIT_OIDC_PRESET"
    assert problem in found.problem
    assert found.fix.startswith(fix)


def test_every_preset_of_both_protocols_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "providers.md").read_text("utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == list(PRESETS)
    named = page.partition("The SAML presets are")[2].partition(";")[0]
    assert [name for name in SAML_PRESETS if f"`{name}`" not in named] == []
