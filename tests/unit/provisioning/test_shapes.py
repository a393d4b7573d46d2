"""What the usual providers send, by their own documentation, and what a preset alone makes of it.

Each file in ``tests/data/shapes`` is one token or assertion with its sources and what an administrator expects of it. It
goes through the real code of its protocol. A value is invented, a name and a type never is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import pytest
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.model import JSON, VerifiedIdentity
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.provisioning.groups import groups_state
from jit_middleware.provisioning.mapping import ClaimMapper
from jit_middleware.settings import OIDCConnection, SAMLConnection, Settings
from jit_middleware.settings.expressions import claims_mentioned
from jit_middleware.settings.oidc_presets import PRESETS as OIDC_PRESETS
from jit_middleware.settings.saml_presets import PRESETS as SAML_PRESETS
from jit_middleware.sso.oidc import identity as oidc
from jit_middleware.sso.oidc.id_token import check_parties
from jit_middleware.sso.oidc.metadata import read_metadata
from jit_middleware.sso.oidc.userinfo import Userinfo
from jit_middleware.sso.saml import identity as saml
from jit_middleware.sso.saml.expectations import Expectations, VerifiedAssertion
from jit_middleware.sso.saml.person import read_attributes, read_name
from tests.conftest import FakeClock

SHAPES = Path(__file__).parents[2] / "data" / "shapes"
IDP, SP = "https://idp.example.org", "https://app.example.org/_jit/metadata/saml"
NS = "urn:oasis:names:tc:SAML:2.0:assertion"
ACCESS = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
}
OIDC_ACCESS = {"JIT_OIDC_CLIENT_SECRET": "from the provider"}
SAML_ACCESS = {"JIT_SAML_IDP_METADATA": "https://idp.example.org/metadata"}
Shape = Mapping[str, object]


def shapes() -> list[object]:
    files = sorted(SHAPES.glob("*.json"))
    assert len(files) >= 30
    return [pytest.param(json.loads(file.read_text("utf-8")), id=file.stem) for file in files]


@dataclass(frozen=True)
class Seen:
    """What was made of a shape, in the words of its expectations."""

    subject: str
    username: str
    email: str | None
    email_verified: bool
    display_name: str | None
    groups: list[str] | None
    groups_available: str
    attributes: Mapping[str, JSON]


def seen(shape: Shape, **more: str) -> Seen:
    connection = connection_of(shape, **more)
    of = from_id_token if isinstance(connection, OIDCConnection) else from_assertion
    identity = of(shape, connection)  # type: ignore[arg-type]
    mapped = ClaimMapper(connection.claims, connection.verified_domains).map(identity)
    looked_at = claims_mentioned(connection.claims.groups)
    return Seen(
        subject=identity.subject,
        username=mapped.username,
        email=mapped.email,
        email_verified=mapped.email_verified,
        display_name=mapped.display_name,
        groups=None if mapped.groups is None else list(mapped.groups),
        groups_available=groups_state(identity.claims, mapped.groups, looked_at),
        attributes=dict(mapped.attributes),
    )


def connection_of(shape: Shape, **more: str) -> OIDCConnection | SAMLConnection:
    """The connection that these settings make: the preset, what reaches the provider, and nothing else."""
    said = cast("dict[str, str]", shape.get("settings", {}))
    env = ACCESS | said | more
    if shape["protocol"] == "oidc":
        claims = cast("dict[str, str]", shape["claims"])
        env |= OIDC_ACCESS | {"JIT_OIDC_ISSUER": claims["iss"], "JIT_OIDC_CLIENT_ID": claims["aud"]}
        env["JIT_OIDC_PRESET"] = str(shape["preset"])
    else:
        env |= SAML_ACCESS | {"JIT_SAML_PRESET": str(shape["preset"])}
    (connection,) = Settings.load(env).connections
    return connection


class UserinfoEndpoint:
    """Answers with the shape's userinfo; a shape without it is one where nobody needs to ask."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def fetch(self, request: Fetch) -> Fetched:
        assert self._answer is not None, "the ID token was enough"
        return Fetched(200, {"content-type": "application/json"}, json.dumps(self._answer).encode())


def from_id_token(shape: Shape, connection: OIDCConnection) -> VerifiedIdentity:
    claims = dict(cast("dict[str, JSON]", shape["claims"]))
    check_parties(claims, connection.issuer, connection.client_id)
    endpoints = {
        name: f"https://idp.example.org/{name}"
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint")
    }
    metadata = read_metadata({"issuer": connection.issuer, **endpoints}, connection.issuer)
    no_keys = cast("object", None)  # only signed userinfo needs them
    userinfo = Userinfo(connection, no_keys, UserinfoEndpoint(shape.get("userinfo")), clock=FakeClock())  # type: ignore[arg-type]
    whole = step(userinfo.complete(claims, "access token", metadata))
    return oidc.identity_of(whole, connection, "the ID token")


def from_assertion(shape: Shape, connection: SAMLConnection) -> VerifiedIdentity:
    element = assertion_of(cast("Mapping[str, Mapping[str, str]]", shape["claims"]))
    name = read_name(
        element.find(f"{{{NS}}}Subject/{{{NS}}}NameID"),
        Expectations(IDP, (), SP, "https://app.example.org/_jit/acs/saml", "_r1", now=0),
    )
    attributes, friendly_names = read_attributes(element)
    verified = VerifiedAssertion(
        assertion_id="_a1",
        issuer=IDP,
        name_id=name.text,
        name_id_format=name.format,
        name_qualifier=name.qualifier,
        sp_name_qualifier=name.sp_qualifier,
        session_index="_s1",
        session_not_on_or_after=None,
        authn_instant=0,
        authn_context=None,
        attributes=attributes,
        friendly_names=friendly_names,
        not_on_or_after=300,
    )
    return saml.identity_of(verified, connection, sp_entity_id=SP)


def assertion_of(claims: Mapping[str, object]) -> etree._Element:
    """The assertion of a shape, as XML."""
    root = etree.Element(f"{{{NS}}}Assertion")
    named = cast("dict[str, str]", claims["name_id"])
    name = etree.SubElement(etree.SubElement(root, f"{{{NS}}}Subject"), f"{{{NS}}}NameID", Format=named["format"])
    name.text = named["value"]
    statement = etree.SubElement(root, f"{{{NS}}}AttributeStatement")
    for said in cast("list[dict[str, str]]", claims["attributes"]):
        attribute = etree.SubElement(statement, f"{{{NS}}}Attribute", Name=said["name"])
        for key, xml in (("name_format", "NameFormat"), ("friendly_name", "FriendlyName")):
            if key in said:
                attribute.set(xml, said[key])
        for value in said["values"]:
            etree.SubElement(attribute, f"{{{NS}}}AttributeValue").text = value
    return root


@pytest.mark.parametrize("shape", shapes())
def test_a_preset_alone_maps_as_the_vendors_documentation_says(shape: Shape) -> None:
    expected = dict(cast("dict[str, object]", shape["expected"]))
    del expected["email_verified_in_named_domain"]
    assert asdict(seen(shape)) == expected


@pytest.mark.parametrize("shape", shapes())
def test_naming_the_domain_vouches_for_an_address_that_the_provider_says_nothing_about(shape: Shape) -> None:
    expected = cast("dict[str, object]", shape["expected"])
    domain = str(expected["email"] or "x@example.org").partition("@")[2]
    found = seen(shape, **{f"JIT_{str(shape['protocol']).upper()}_VERIFIED_DOMAINS": domain})
    assert found.email_verified is expected["email_verified_in_named_domain"]


@pytest.mark.parametrize("shape", shapes())
def test_every_shape_names_the_documentation_it_is_taken_from(shape: Shape) -> None:
    sources = cast("list[str]", shape["source"])
    assert any(source.startswith("https://") for source in sources)


def test_every_preset_has_a_shape() -> None:
    found = {(str(shape["protocol"]), str(shape["preset"])) for shape in map(json.loads, map(_text, SHAPES.iterdir()))}
    wanted = {("oidc", name) for name in OIDC_PRESETS} | {("saml", name) for name in SAML_PRESETS}
    assert found == wanted


def _text(file: Path) -> str:
    return file.read_text("utf-8")
