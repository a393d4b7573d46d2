"""What we send: login requests by both bindings, signed and not, our metadata, and our keys."""

from __future__ import annotations

import zlib
from base64 import b64decode
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.errors import ConfigurationError
from jit_middleware.settings.saml import Subject
from jit_middleware.sso.saml.signature import verify_enveloped, verify_redirect
from jit_middleware.sso.saml.sp_keys import key_pairs
from jit_middleware.sso.strategy import LoginState, PostForm
from tests.unit.sso.saml.protocol.idp import (
    ACS,
    LOGIN,
    NOW,
    PERSISTENT,
    SLS,
    SP,
    Wire,
    bare,
    connection,
    descriptor,
    key_pair,
    strategy,
    time,
    with_key,
)

P = "{urn:oasis:names:tc:SAML:2.0:protocol}"
A = "{urn:oasis:names:tc:SAML:2.0:assertion}"
M = "{urn:oasis:names:tc:SAML:2.0:metadata}"
MINE = (key_pair("sp").certificate_pem,)


def redirected(url: object) -> tuple[etree._Element, dict[str, list[str]]]:
    assert isinstance(url, str)
    query = parse_qs(urlsplit(url).query)
    return etree.fromstring(zlib.decompress(b64decode(query["SAMLRequest"][0]), -15)), query


def request_of(login: LoginState = LOGIN, **changes: object) -> etree._Element:
    return redirected(step(strategy(connection(**changes)).request_phase(login)))[0]


def test_a_request_by_redirect_says_who_asks_whom_and_where_to_answer() -> None:
    url = step(strategy().request_phase(LOGIN))
    root, query = redirected(url)
    assert isinstance(url, str)
    assert url.startswith("https://idp.example/sso?tenant=1&SAMLRequest=")
    assert query["RelayState"] == [LOGIN.state]
    assert "Signature" not in query
    assert root.tag == f"{P}AuthnRequest"
    assert root.get("Version") == "2.0"
    assert root.get("IssueInstant") == time(NOW)
    assert root.get("Destination") == "https://idp.example/sso?tenant=1"
    assert root.get("AssertionConsumerServiceURL") == ACS
    assert root.get("ProtocolBinding") == "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
    assert root.findtext(f"{A}Issuer") == SP
    policy = root.find(f"{P}NameIDPolicy")
    assert policy is not None
    assert (policy.get("Format"), policy.get("AllowCreate")) == (PERSISTENT, "true")
    assert (root.get("ForceAuthn"), root.get("IsPassive")) == (None, None)
    assert root.find(f"{P}RequestedAuthnContext") is None


def test_the_id_follows_from_the_nonce_and_does_not_show_it() -> None:
    other = LoginState("saml", LOGIN.state, "another nonce", "unused", "/", NOW)
    first, again, second = request_of(), request_of(), request_of(other)
    assert first.get("ID") == again.get("ID") != second.get("ID")
    assert "nonce" not in etree.tostring(first).decode()


def test_the_wishes_of_the_connection_are_in_the_request() -> None:
    root = request_of(
        force_authn=True, is_passive=True, authn_contexts=("urn:a", "urn:b"), name_id_format="none",
        sp_entity_id="urn:us",
    )  # fmt: skip
    assert (root.get("ForceAuthn"), root.get("IsPassive")) == ("true", "true")
    contexts = root.find(f"{P}RequestedAuthnContext")
    assert contexts is not None
    assert contexts.get("Comparison") == "exact"
    assert [each.text for each in contexts] == ["urn:a", "urn:b"]
    assert root.find(f"{P}NameIDPolicy") is None
    assert root.findtext(f"{A}Issuer") == "urn:us"


def test_somebody_else_signs_in_anew_and_never_passively() -> None:
    other = LoginState("saml", LOGIN.state, "n", "unused", "/", NOW, someone_else=True)
    root = request_of(other, is_passive=True)
    assert (root.get("ForceAuthn"), root.get("IsPassive")) == ("true", None)


@pytest.mark.parametrize(
    ("wished", "wanted", "signed"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_a_redirect_is_signed_when_either_side_wants_it(wished: bool, wanted: bool, signed: bool) -> None:
    role = 'WantAuthnRequestsSigned="true"' if wanted else ""
    wire = Wire(descriptor(role=role).encode())
    url = step(strategy(with_key(sign_requests=wished), wire=wire).request_phase(LOGIN))
    assert isinstance(url, str)
    assert ("Signature=" in url) == signed
    if signed:
        query = urlsplit(url).query.partition("&")[2]
        found = verify_redirect(query, message="SAMLRequest", certificates=MINE)
        assert found.relay_state == LOGIN.state


def test_without_a_key_a_provider_that_wants_signatures_is_asked_unsigned() -> None:
    wire = Wire(descriptor(role='WantAuthnRequestsSigned="true"').encode())
    assert "Signature=" not in str(step(strategy(wire=wire).request_phase(LOGIN)))


def test_a_request_by_post_is_a_form_with_an_enveloped_signature() -> None:
    form = step(strategy(with_key(binding="post", sign_requests=True)).request_phase(LOGIN))
    assert isinstance(form, PostForm)
    assert form.url == "https://idp.example/sso-post"
    fields = dict(form.fields)
    assert fields["RelayState"] == LOGIN.state
    root = etree.fromstring(verify_enveloped(b64decode(fields["SAMLRequest"]), MINE))
    assert root.get("Destination") == "https://idp.example/sso-post"


def test_the_only_binding_that_is_offered_is_used() -> None:
    services = (
        '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"'
        ' Location="https://idp.example/only"/>'
    )
    form = step(strategy(wire=Wire(descriptor(services=services).encode())).request_phase(LOGIN))
    assert isinstance(form, PostForm)
    assert form.url == "https://idp.example/only"


# --- our metadata -----------------------------------------------------------------------------------------------------


def metadata(settings: object = None) -> etree._Element:
    return etree.fromstring(step(strategy(settings).metadata()).body)  # type: ignore[arg-type]


def test_metadata_without_a_key_says_who_we_are_and_where_to_answer() -> None:
    root = metadata()
    assert root.get("entityID") == SP
    assert root.get("validUntil") is None
    role = root.find(f"{M}SPSSODescriptor")
    assert role is not None
    assert (role.get("AuthnRequestsSigned"), role.get("WantAssertionsSigned")) == ("false", "true")
    assert [child.tag for child in role] == [f"{M}NameIDFormat", f"{M}AssertionConsumerService"]
    assert role[1].get("Location") == ACS


def test_metadata_with_keys_has_all_certificates_and_the_logout_service() -> None:
    old, new = key_pair("sp"), key_pair("sp-next")
    root = metadata(
        connection(
            sp_keys=(old.private_key_pem,),
            sp_certificates=(new.certificate_pem, old.certificate_pem),
            sign_requests=True,
            metadata_valid_for=3600,
            subject=Subject("attribute", "uid"),
            name_id_format="none",
        )
    )
    role = root.find(f"{M}SPSSODescriptor")
    assert role is not None
    assert role.get("AuthnRequestsSigned") == "true"
    assert root.get("validUntil") == time(NOW + 3600)
    shown = [each.text for each in role.iter("{http://www.w3.org/2000/09/xmldsig#}X509Certificate")]
    assert shown == [bare(new), bare(old)] * 2
    assert [each.get("use") for each in role.findall(f"{M}KeyDescriptor")] == ["signing"] * 2 + ["encryption"] * 2
    assert [each.get("Location") for each in role.findall(f"{M}SingleLogoutService")] == [SLS, SLS]
    assert role.find(f"{M}NameIDFormat") is None


def test_metadata_is_signed_on_wish_by_the_key_in_use() -> None:
    body = step(strategy(with_key(sign_metadata=True)).metadata()).body
    assert b"AssertionConsumerService" in verify_enveloped(body, MINE)
    assert b"Signature" not in step(strategy(with_key()).metadata()).body


# --- our keys ---------------------------------------------------------------------------------------------------------


def test_keys_find_their_certificates_in_any_order() -> None:
    old, new = key_pair("sp"), key_pair("sp-next")
    pairs = key_pairs(
        connection(
            sp_keys=(new.private_key_pem, old.private_key_pem),
            sp_certificates=(old.certificate_pem, new.certificate_pem),
        )
    )
    assert [pair.certificate_pem for pair in pairs] == [new.certificate_pem, old.certificate_pem]


def faults_of(**changes: object) -> str:
    with pytest.raises(ConfigurationError) as refused:
        strategy(connection(**changes))
    return str(refused.value)


def test_keys_that_cannot_be_used_are_refused_at_start_with_setting_and_fix() -> None:
    key, weak = key_pair("sp"), key_pair("weak", 1024)
    assert "no certificate belongs to the key" in faults_of(
        sp_keys=(key.private_key_pem,), sp_certificates=(key_pair("other").certificate_pem,)
    )
    assert "fewer than 2048 bits" in faults_of(sp_keys=(weak.private_key_pem,), sp_certificates=(weak.certificate_pem,))
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    assert "connections.saml.sp_cert" in faults_of(sp_keys=(key.private_key_pem,), sp_certificates=(broken,))
    junk = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    assert "AAAA" not in faults_of(sp_keys=(junk,), sp_certificates=(key.certificate_pem,))
