"""SAML connections: what is read, what is refused, and what belongs to the other protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.settings import OIDCConnection, ProvisioningSettings, SAMLConnection, Settings
from jit_middleware.settings.saml import Subject, certificates, entity_id, metadata_source, private_keys
from jit_middleware.settings.saml_presets import COMMON_NAMES, PRESETS
from jit_middleware.settings.table import OIDC_CONNECTION, SAML_CONNECTION, variable, variables
from jit_middleware.settings.values import BadValue

KEY = "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM"
THREE = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": KEY,
    "JIT_SAML_IDP_METADATA": "https://idp.example.org/metadata",
}
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----"


def load(**env: str | None) -> Settings:
    merged = {**THREE, **env}
    return Settings.load({name: value for name, value in merged.items() if value is not None})


def saml(**env: str | None) -> SAMLConnection:
    (connection,) = load(**env).connections
    assert isinstance(connection, SAMLConnection)
    return connection


def faults(**env: str | None) -> dict[str, Fault]:
    with pytest.raises(ConfigurationError) as refused:
        load(**env)
    return {fault.setting: fault for fault in refused.value.faults}


def test_three_variables_reach_a_login() -> None:
    assert saml() == SAMLConnection("saml", "https://idp.example.org/metadata", claims=COMMON_NAMES)
    assert saml().metadata_url == "https://idp.example.org/metadata"
    assert saml().subject == Subject("persistent")
    assert not saml().allow_idp_initiated


def test_signed_metadata_of_whomever_is_warned_of() -> None:
    (warning,) = load(JIT_SAML_METADATA_CERT=CERTIFICATE).warnings()
    assert warning.startswith("The metadata of saml has to be signed, but idp_entity_id (JIT_SAML_IDP_ENTITY_ID)")
    assert load(JIT_SAML_METADATA_CERT=CERTIFICATE, JIT_SAML_IDP_ENTITY_ID="urn:idp").warnings() == ()
    assert load().warnings() == ()


def test_every_saml_variable_is_taken() -> None:
    found = saml(
        JIT_SAML_IDP_ENTITY_ID="urn:idp",
        JIT_SAML_METADATA_CERT=CERTIFICATE,
        JIT_SAML_SP_ENTITY_ID="urn:us",
        JIT_SAML_SP_KEY=PRIVATE + "\n" + PRIVATE.replace("MIIB", "MIIE"),
        JIT_SAML_SP_CERT=CERTIFICATE,
        JIT_SAML_SUBJECT="attribute:urn:oid:1.2.3",
        JIT_SAML_NAME_ID_FORMAT="transient",
        JIT_SAML_BINDING="post",
        JIT_SAML_SIGN_REQUESTS="on",
        JIT_SAML_SIGN_METADATA="on",
        JIT_SAML_METADATA_VALID_FOR="30d",
        JIT_SAML_FORCE_AUTHN="on",
        JIT_SAML_IS_PASSIVE="on",
        JIT_SAML_AUTHN_CONTEXTS="urn:a urn:b",
        JIT_SAML_ALLOW_IDP_INITIATED="on",
        JIT_SAML_PRESET="entra",
        JIT_SAML_LABEL="Campus",
        JIT_SAML_TENANT="t",
        JIT_SAML_CLOCK_SKEW="2m",
        JIT_SAML_VERIFIED_DOMAINS="example.org",
    )
    assert found == SAMLConnection(
        name="saml",
        provisioning=ProvisioningSettings(missing_groups="strip"),
        idp_metadata="https://idp.example.org/metadata",
        idp_entity_id="urn:idp",
        metadata_certificates=(CERTIFICATE,),
        sp_entity_id="urn:us",
        sp_keys=(PRIVATE, PRIVATE.replace("MIIB", "MIIE")),
        sp_certificates=(CERTIFICATE,),
        subject=Subject("attribute", "urn:oid:1.2.3"),
        name_id_format="transient",
        binding="post",
        sign_requests=True,
        sign_metadata=True,
        metadata_valid_for=2_592_000,
        force_authn=True,
        is_passive=True,
        authn_contexts=("urn:a", "urn:b"),
        allow_idp_initiated=True,
        preset="entra",
        label="Campus",
        tenant="t",
        clock_skew=120,
        verified_domains=("example.org",),
        claims=PRESETS["entra"],
    )
    assert "MIIB" not in repr(found)


def test_every_setting_of_both_protocols_has_a_variable_of_its_own() -> None:
    names = [variable(setting) for setting in OIDC_CONNECTION]
    names += [variable(setting, protocol="saml") for setting in SAML_CONNECTION]
    assert len(set(names)) == len(names)
    assert set(names) <= set(variables())


@pytest.mark.parametrize(
    ("subject", "asked"), [("persistent", "persistent"), ("email", "email"), ("attribute:uid", "none")]
)
def test_the_name_id_that_the_subject_needs_is_asked_for(subject: str, asked: str) -> None:
    assert saml(JIT_SAML_SUBJECT=subject).name_id_format == asked


@pytest.mark.parametrize(
    ("env", "setting", "said"),
    [
        ({"JIT_SAML_IDP_METADATA": None, "JIT_SAML_BINDING": "post"}, "JIT_SAML_IDP_METADATA", "missing"),
        ({"JIT_SAML_IDP_METADATA": "http://idp.example.org/m"}, "JIT_SAML_IDP_METADATA", "loopback"),
        ({"JIT_SAML_IDP_METADATA": "/no/such/file.xml"}, "JIT_SAML_IDP_METADATA", "no file"),
        ({"JIT_SAML_IDP_METADATA": "ftp://idp.example.org/m"}, "JIT_SAML_IDP_METADATA", "https://"),
        ({"JIT_SAML_IDP_METADATA": "https://u@idp.example.org/m"}, "JIT_SAML_IDP_METADATA", "user name"),
        ({"JIT_SAML_IDP_ENTITY_ID": "a b"}, "JIT_SAML_IDP_ENTITY_ID", "entityID"),
        ({"JIT_SAML_SP_ENTITY_ID": "x" * 1025}, "JIT_SAML_SP_ENTITY_ID", "entityID"),
        ({"JIT_SAML_SUBJECT": "transient"}, "JIT_SAML_SUBJECT", "another one at each login"),
        ({"JIT_SAML_SUBJECT": "uid"}, "JIT_SAML_SUBJECT", "attribute:NAME"),
        ({"JIT_SAML_SUBJECT": "attribute:"}, "JIT_SAML_SUBJECT", "attribute:NAME"),
        ({"JIT_SAML_NAME_ID_FORMAT": "transient"}, "JIT_SAML_NAME_ID_FORMAT", "persistent"),
        ({"JIT_SAML_SUBJECT": "email", "JIT_SAML_NAME_ID_FORMAT": "persistent"}, "JIT_SAML_NAME_ID_FORMAT", "email"),
        ({"JIT_SAML_SP_KEY": PRIVATE}, "JIT_SAML_SP_CERT", "missing"),
        ({"JIT_SAML_SP_CERT": CERTIFICATE}, "JIT_SAML_SP_KEY", "missing"),
        ({"JIT_SAML_SP_KEY": "secret-text"}, "JIT_SAML_SP_KEY", "PEM"),
        ({"JIT_SAML_SP_KEY": CERTIFICATE}, "JIT_SAML_SP_KEY", "private key"),
        ({"JIT_SAML_SP_CERT": PRIVATE}, "JIT_SAML_SP_CERT", "certificate"),
        ({"JIT_SAML_SIGN_REQUESTS": "on"}, "JIT_SAML_SP_KEY", "JIT_SAML_SIGN_REQUESTS"),
        ({"JIT_SAML_SIGN_METADATA": "on"}, "JIT_SAML_SP_KEY", "JIT_SAML_SIGN_METADATA"),
        ({"JIT_SAML_PRESET": "auth0"}, "JIT_SAML_PRESET", "entra"),
        ({"JIT_SAML_CLOCK_SKEW": "10m"}, "JIT_SAML_CLOCK_SKEW", "300s"),
        ({"JIT_SAML_ISSUER": "https://idp.example.org"}, "JIT_SAML_ISSUER", "no such setting"),
    ],
)
def test_a_fault_names_its_setting_and_the_fix(env: dict[str, str | None], setting: str, said: str) -> None:
    found = faults(**env)
    assert said in str(found[setting])
    assert not any("secret-text" in str(fault) for fault in found.values())


def test_http_is_fine_on_loopback_and_a_query_in_any_address() -> None:
    assert (
        saml(JIT_SAML_IDP_METADATA="http://localhost:8080/m?appid=1").metadata_url == "http://localhost:8080/m?appid=1"
    )


def test_metadata_may_be_a_file_or_the_document_itself(tmp_path: Path) -> None:
    place = tmp_path / "idp.xml"
    place.write_text("<x/>")
    assert (saml(JIT_SAML_IDP_METADATA=str(place)).metadata_url, metadata_source(str(place))) == (None, str(place))
    inline = saml(JIT_SAML_IDP_METADATA='\n <a b="https://c"/> ')
    assert (inline.idp_metadata, inline.metadata_is_inline, inline.metadata_url) == ('<a b="https://c"/>', True, None)
    assert saml(JIT_SAML_IDP_METADATA=None, JIT_SAML_IDP_METADATA_FILE=str(place)).idp_metadata == "<x/>"


def test_a_file_named_in_toml_starts_from_there(tmp_path: Path) -> None:
    (tmp_path / "idp.xml").write_text("<x/>")
    (tmp_path / "jit.toml").write_text('[connections.campus]\nidp_metadata = "idp.xml"\n')
    found = saml(JIT_SAML_IDP_METADATA=None, JIT_CONFIG=str(tmp_path / "jit.toml"))
    assert (found.name, found.idp_metadata, found.label) == ("campus", str(tmp_path / "idp.xml"), "Campus")


def test_both_protocols_stand_side_by_side() -> None:
    found = load(
        JIT_OIDC_ISSUER="https://op.example.org",
        JIT_OIDC_CLIENT_ID="app",
        JIT_OIDC_CLIENT_SECRET="s3cret",
        JIT_SAML_LABEL="Campus",
        JIT_OIDC_LABEL="Staff",
    ).connections
    assert {(type(each), each.name, each.label) for each in found} == {
        (OIDCConnection, "oidc", "Staff"),
        (SAMLConnection, "saml", "Campus"),
    }


def test_a_setting_of_the_other_protocol_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "jit.toml").write_text(
        '[connections.a]\nprotocol = "saml"\nidp_metadata = "https://i.example/"\nscopes = "openid"\n'
        '[connections.b]\nissuer = "https://o.example"\nclient_id = "x"\nclient_secret = "y"\nforce_authn = true\n'
    )
    found = faults(JIT_SAML_IDP_METADATA=None, JIT_CONFIG=str(tmp_path / "jit.toml"))
    assert "SAML" in found["connections.a.scopes in jit.toml"].problem
    assert "OpenID Connect" in found["connections.b.force_authn in jit.toml"].problem


def test_own_expressions_win_over_shared_ones_and_these_over_a_preset(tmp_path: Path) -> None:
    (tmp_path / "jit.toml").write_text(
        '[claims]\nemail = "shared"\nusername = "shared"\n'
        '[connections.campus]\nidp_metadata = "https://i.example/"\npreset = "okta"\nclaims = { username = "own" }\n'
    )
    claims = saml(JIT_SAML_IDP_METADATA=None, JIT_CONFIG=str(tmp_path / "jit.toml")).claims
    assert (claims.username, claims.email, claims.groups) == ("own", "shared", PRESETS["okta"].groups)


@pytest.mark.parametrize("value", ["urn:x:y", "https://sp.example/saml?a=b#c", "spn:00000000-0000", "app"])
def test_an_entity_id_is_kept_as_it_is(value: str) -> None:
    assert entity_id(value) == value


def test_pem_is_found_among_other_lines_and_in_toml_lists() -> None:
    assert certificates(f"subject=x\n{CERTIFICATE}\n\n{CERTIFICATE}") == (CERTIFICATE, CERTIFICATE)
    assert certificates([CERTIFICATE]) == (CERTIFICATE,)
    assert private_keys(PRIVATE.replace("\n", "\\n")) == (PRIVATE,)
    for wrong in ("", "x", 5, PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE")):
        with pytest.raises(BadValue):
            private_keys(wrong)
