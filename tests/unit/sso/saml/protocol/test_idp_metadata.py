"""The provider's metadata: which provider, which keys, which addresses, and whose word it is."""

from __future__ import annotations

import pytest

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.idp_metadata import POST, REDIRECT, IdPMetadata, read_document
from jit_middleware.sso.saml.signature import sign_enveloped
from tests.unit.sso.saml.protocol.idp import IDP, NOW, descriptor, federation, key_pair, time

FEDERATION_KEY = key_pair("federation")
BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"


def read(document: str | bytes, *, entity_id: str | None = None, signed_by: tuple[str, ...] = ()) -> IdPMetadata:
    data = document.encode() if isinstance(document, str) else document
    return read_document(data, entity_id=entity_id, certificates=signed_by, now=NOW)


def refusal(document: str | bytes, *, entity_id: str | None = None, signed_by: tuple[str, ...] = ()) -> str:
    with pytest.raises(VerificationError) as refused:
        read(document, entity_id=entity_id, signed_by=signed_by)
    return str(refused.value.reason)


def service(location: str) -> str:
    return f'<md:SingleSignOnService Binding="{BINDING}" Location="{location}"/>'


def test_addresses_keys_and_wishes_are_read() -> None:
    found = read(descriptor(role='WantAuthnRequestsSigned="true"'))
    assert found.entity_id == IDP
    assert found.sign_on == {REDIRECT: "https://idp.example/sso?tenant=1", POST: "https://idp.example/sso-post"}
    assert found.logout[REDIRECT].location == "https://idp.example/slo"
    assert found.logout[REDIRECT].response_location == "https://idp.example/slo-answer"
    assert found.logout[POST].response_location == "https://idp.example/slo-post"
    assert [pem.split() for pem in found.certificates] == [key_pair("idp").certificate_pem.split()]
    assert found.wants_signed_requests
    assert (found.valid_until, found.cache_for) == (None, None)


def test_several_signing_certificates_count_and_encryption_ones_do_not() -> None:
    old, new, other = key_pair("idp"), key_pair("idp-next"), key_pair("other")
    found = read(descriptor(keys=(('use="signing"', old), ("", new), ('use="encryption"', other))))
    assert len(found.certificates) == 2


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf" + descriptor().encode()).entity_id == IDP


def test_the_shortest_cache_duration_and_the_earliest_end_count() -> None:
    inner = descriptor(
        attributes=f'cacheDuration="PT6H" validUntil="{time(NOW + 500)}"', role='cacheDuration="PT1H30M"'
    )
    found = read(federation(inner, attributes=f'validUntil="{time(NOW + 100)}" cacheDuration="P1DT0.5S"'))
    assert (found.valid_until, found.cache_for) == (NOW + 100, 5400)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (descriptor(attributes=f'validUntil="{time(NOW)}"'), "metadata_expired"),
        (federation(descriptor(), attributes=f'validUntil="{time(NOW - 1)}"'), "metadata_expired"),
        (descriptor(attributes='validUntil="soon"'), "metadata_malformed"),
        (descriptor(attributes='validUntil="2030-01-01T00:00:00"'), "metadata_malformed"),
        (descriptor(attributes='cacheDuration="P"'), "metadata_malformed"),
        (descriptor(attributes='cacheDuration="-P1D"'), "metadata_malformed"),
        (descriptor(keys=()), "metadata_malformed"),
        (descriptor(services=""), "metadata_malformed"),
        (descriptor(entity_id=""), "metadata_malformed"),
        (descriptor(protocol="urn:oasis:names:tc:SAML:1.1:protocol"), "metadata_no_idp"),
        (descriptor(services=service("http://idp.example/sso")), "metadata_endpoint_forbidden"),
        (descriptor(services=service("javascript:alert(1)")), "metadata_endpoint_forbidden"),
        (descriptor(services=service("https://user@idp.example/")), "metadata_endpoint_forbidden"),
        (descriptor(services=service("https://idp.example/#top")), "metadata_endpoint_forbidden"),
        (descriptor(services=service("https:///sso")), "metadata_endpoint_forbidden"),
        (descriptor(services=service("https://idp.example/a b")), "metadata_endpoint_forbidden"),
        ("<a xmlns='urn:x'/>", "metadata_malformed"),
        ("no XML", "xml_malformed"),
        ('<!DOCTYPE a [<!ENTITY x "y">]>' + descriptor(), "markup_forbidden"),
        (federation(), "metadata_entity_ambiguous"),
        (federation(descriptor(), descriptor("urn:other")), "metadata_entity_ambiguous"),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(document: str | bytes, reason: str) -> None:
    assert refusal(document) == reason


def test_http_is_an_address_on_this_machine_only() -> None:
    assert read(descriptor(services=service("http://localhost:8080/sso"))).sign_on == {
        REDIRECT: "http://localhost:8080/sso"
    }


def test_a_federation_is_asked_by_entity_id() -> None:
    document = federation(descriptor("urn:a"), federation(descriptor("urn:b")).decode())
    assert read(document, entity_id="urn:b").entity_id == "urn:b"
    assert refusal(document, entity_id="urn:c") == "metadata_entity_unknown"
    assert refusal(descriptor(), entity_id=f"{IDP}/") == "metadata_entity_unknown"


def test_an_entity_id_that_two_providers_claim_is_nobodys() -> None:
    document = federation(descriptor("urn:a"), descriptor("urn:a", keys=(("", key_pair("other")),)))
    assert refusal(document, entity_id="urn:a") == "metadata_entity_unknown"


def test_with_a_certificate_unsigned_metadata_is_refused() -> None:
    mine = (FEDERATION_KEY.certificate_pem,)
    assert refusal(descriptor(), signed_by=mine) == "metadata_unsigned"
    assert refusal(federation(descriptor()), signed_by=mine) == "metadata_unsigned"


def test_signed_metadata_is_read_from_what_was_signed() -> None:
    signed = sign_enveloped(descriptor(attributes='ID="_1"').encode(), FEDERATION_KEY)
    mine = (key_pair("other").certificate_pem, FEDERATION_KEY.certificate_pem)
    assert read(signed, signed_by=mine).entity_id == IDP
    assert refusal(signed, signed_by=mine[:1]) == "signature_invalid"
    assert refusal(signed.replace(b"sso-post", b"sso-evil"), signed_by=mine) == "digest_mismatch"


def test_an_entity_that_is_signed_by_itself_counts_without_its_federation() -> None:
    signed = sign_enveloped(descriptor(attributes='ID="_1"').encode(), FEDERATION_KEY).decode()
    mine = (FEDERATION_KEY.certificate_pem,)
    document = federation(descriptor("urn:unsigned"), signed)
    assert read(document, entity_id=IDP, signed_by=mine).entity_id == IDP
    assert refusal(document, entity_id="urn:unsigned", signed_by=mine) == "metadata_unsigned"
    assert refusal(document.replace(b"sso-post", b"sso-evil"), entity_id=IDP, signed_by=mine) == "digest_mismatch"
