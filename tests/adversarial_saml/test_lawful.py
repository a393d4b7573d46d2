"""What honest identity providers send, in all its variety, is accepted: a check that refuses everything is no check."""

from __future__ import annotations

from base64 import encodebytes

import pytest
import xmlsec
from lxml import etree

from jit_middleware.errors import ProviderRefused, VerificationError
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.response import ResponseVerifier, VerifiedAssertion
from tests.adversarial_saml.attack import both, drop, put, say
from tests.adversarial_saml.mint import (
    ACS,
    IDP,
    NOW,
    NS,
    PERSISTENT,
    REQUEST,
    SP,
    Edit,
    Element,
    Encrypting,
    Signing,
    at,
    child,
    clone,
    encrypt,
    expectations,
    minted,
    one,
    pair,
    posted,
)

NAME = "saml:Subject/saml:NameID"
MORE, MORE_2007 = "http://www.w3.org/2001/04/xmldsig-more#", "http://www.w3.org/2007/05/xmldsig-more#"
XENC, XENC11 = NS["xenc"], NS["xenc11"]
PLACEMENTS = ["assertion", "response", "response assertion"]


def accepted(verifier: ResponseVerifier, xml: bytes, **told: object) -> VerifiedAssertion:
    return verifier.verify(posted(xml), expectations(decryption_keys=(pair("sp").sp_key,), **told))


def test_everything_an_assertion_says_is_read(verifier: ResponseVerifier) -> None:
    said = accepted(verifier, minted(edit=put("saml:Assertion", ID="_a-1")))
    assert said == VerifiedAssertion(
        assertion_id="_a-1",
        issuer=IDP,
        name_id="alice-7f3a",
        name_id_format=PERSISTENT,
        name_qualifier=None,
        sp_name_qualifier=None,
        session_index="session-9",
        session_not_on_or_after=NOW + 28800,
        authn_instant=NOW - 30,
        authn_context="urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
        attributes={"urn:oid:0.9.2342.19200300.100.1.3": ("alice@corp.example",), "groups": ("staff", "admins")},
        friendly_names={"mail": "urn:oid:0.9.2342.19200300.100.1.3"},
        not_on_or_after=NOW - 2 + 600 + 120,
        issued_at=NOW - 2,
    )


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("prefixes", ["", "xs", "#default xs saml"])
def test_each_placement_of_signatures(verifier: ResponseVerifier, placement: str, prefixes: str) -> None:
    xml = minted(sign=placement, signing=Signing(prefixes=prefixes))
    assert accepted(verifier, xml).name_id == "alice-7f3a"


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(
    "how",
    [
        Encrypting,
        lambda: Encrypting(algorithm=f"{XENC11}aes128-gcm"),
        lambda: Encrypting(algorithm=f"{XENC11}aes192-gcm", digest=f"{XENC}sha256"),
        lambda: Encrypting(transport=f"{XENC11}rsa-oaep", digest=f"{XENC}sha256", mask=f"{XENC11}mgf1sha256"),
        lambda: Encrypting(transport=f"{XENC11}rsa-oaep", digest=f"{XENC}sha512", mask=f"{XENC11}mgf1sha1"),
    ],
)
def test_encrypted_assertions(verifier: ResponseVerifier, placement: str, how: type[Encrypting]) -> None:
    assert accepted(verifier, minted(sign=placement, encrypting=how())).name_id == "alice-7f3a"


@pytest.mark.parametrize("placement", ["response", "response assertion"])
@pytest.mark.parametrize("bits", ["128", "192", "256"])
def test_cbc_where_the_whole_response_is_signed(verifier: ResponseVerifier, placement: str, bits: str) -> None:
    xml = minted(sign=placement, encrypting=Encrypting(algorithm=f"{XENC}aes{bits}-cbc"))
    assert accepted(verifier, xml).attributes["groups"] == ("staff", "admins")


def test_cipher_text_made_by_libxmlsec(verifier: ResponseVerifier) -> None:
    def encrypted(root: Element) -> None:
        assertion = one(root, "saml:Assertion")
        template = xmlsec.template.encrypted_data_create(
            root, xmlsec.constants.TransformAes256Gcm, type=xmlsec.constants.TypeEncElement, ns="xenc"
        )
        xmlsec.template.encrypted_data_ensure_cipher_value(template)
        info = xmlsec.template.encrypted_data_ensure_key_info(template, ns="ds")
        wrapped = xmlsec.template.add_encrypted_key(info, xmlsec.constants.TransformRsaOaep)
        xmlsec.template.encrypted_data_ensure_cipher_value(wrapped)
        manager = xmlsec.KeysManager()
        manager.add_key(xmlsec.Key.from_memory(pair("sp").certificate, xmlsec.constants.KeyDataFormatCertPem))
        context = xmlsec.EncryptionContext(manager)
        context.key = xmlsec.Key.generate(xmlsec.constants.KeyDataAes, 256, xmlsec.constants.KeyDataTypeSession)
        data = context.encrypt_xml(template, assertion)
        parent = data.getparent()
        assert parent is not None
        holder = child("saml:EncryptedAssertion")
        parent.replace(data, holder)
        holder.append(data)

    assert accepted(verifier, minted(before_encryption=encrypted)).name_id == "alice-7f3a"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_encrypted_name(verifier: ResponseVerifier, placement: str) -> None:
    xml = minted(sign=placement, edit=lambda root: encrypt(one(root, NAME), "EncryptedID"))
    assert accepted(verifier, xml).name_id == "alice-7f3a"


def test_an_encrypted_name_in_an_encrypted_assertion(verifier: ResponseVerifier) -> None:
    xml = minted(edit=lambda root: encrypt(one(root, NAME), "EncryptedID"), encrypting=Encrypting())
    assert accepted(verifier, xml).name_id == "alice-7f3a"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        *((f"rsa-{bits}", f"{MORE}rsa-sha{bits}") for bits in (256, 384, 512)),
        *((f"pss-{bits}", f"{MORE_2007}sha{bits}-rsa-MGF1") for bits in (256, 384, 512)),
        *((f"ec-{bits}", f"{MORE}ecdsa-sha{bits}") for bits in (256, 384, 512)),
    ],
)
def test_each_algorithm_of_the_list(verifier: ResponseVerifier, key: str, algorithm: str) -> None:
    signer = pair("elliptic", elliptic=True) if key.startswith("ec") else pair()
    digest = {"256": f"{XENC}sha256", "384": f"{MORE}sha384", "512": f"{XENC}sha512"}[key[-3:]]
    xml = minted(signing=Signing(signer, algorithm, digest))
    assert accepted(verifier, xml, idp_certificates=(signer.certificate,)).name_id == "alice-7f3a"


def test_the_next_certificate_already_signs(verifier: ResponseVerifier) -> None:
    certificates = ("junk", pair("elliptic", elliptic=True).certificate, pair("next").certificate, pair().certificate)
    for signer in (pair("next"), pair()):
        assert (
            accepted(verifier, minted(signing=Signing(signer)), idp_certificates=certificates).name_id == "alice-7f3a"
        )


def test_our_next_key_already_opens(verifier: ResponseVerifier) -> None:
    keys = (pair("elliptic", elliptic=True).sp_key, pair("old sp").sp_key, pair("sp").sp_key)
    told = expectations(decryption_keys=keys)
    assert verifier.verify(posted(minted(encrypting=Encrypting())), told).name_id == "alice-7f3a"


def test_a_response_nobody_asked_for_where_that_is_allowed(verifier: ResponseVerifier) -> None:
    unasked = both(put(".", InResponseTo=None), put("saml:SubjectConfirmationData", InResponseTo=None))
    assert accepted(verifier, minted(edit=unasked), request_id=None).name_id == "alice-7f3a"


def _more(path: str, *elements: Element) -> Edit:
    return lambda root: one(root, path).extend(elements)


def _second_confirmation_holds(root: Element) -> None:
    first = one(root, "saml:SubjectConfirmation")
    first.addnext(clone(first))
    first[0].set("Recipient", "https://elsewhere.example/")


def _restricted_twice(root: Element) -> None:
    first = one(root, "saml:AudienceRestriction")
    first.addnext(clone(first))
    first.append(child("saml:Audience", "https://elsewhere.example/"))


FOREIGN = "{http://schemas.xmlsoap.org/ws/2009/09/identity/claims}OriginalIssuer"
VARIANTS: dict[str, Edit] = {
    "clocks a minute apart": both(
        put("saml:Assertion", IssueInstant=at(60)), put("saml:Conditions", NotBefore=at(60), NotOnOrAfter=at(-59))
    ),
    "a confirmation just over": put("saml:SubjectConfirmationData", NotOnOrAfter=at(-59)),
    "an assertion ten minutes old": put("saml:Assertion", IssueInstant=at(-660)),
    "fractions of a second": put("saml:Assertion", IssueInstant=at(0).replace("Z", ".1234567Z")),
    "an hour of validity": put("saml:SubjectConfirmationData", NotOnOrAfter=at(4200)),
    "an Issuer of format entity": put(
        "saml:Assertion/saml:Issuer", Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
    ),
    "Conditions without times": put("saml:Conditions", NotBefore=None, NotOnOrAfter=None),
    "OneTimeUse": _more("saml:Conditions", child("saml:OneTimeUse")),
    "two AudienceRestrictions": _restricted_twice,
    "a second confirmation that holds": _second_confirmation_holds,
    "an address": put("saml:SubjectConfirmationData", Address="192.0.2.7"),
    "no attributes": drop("saml:AttributeStatement"),
    "no session": put("saml:AuthnStatement", SessionIndex=None, SessionNotOnOrAfter=None),
    "qualifiers": put(NAME, NameQualifier=IDP, SPNameQualifier=SP),
    "a name qualified by somebody else, of a format where that means nothing": put(
        NAME, Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress", NameQualifier="https://other.example/"
    ),
    "friendly names left empty": lambda root: [
        attribute.set("FriendlyName", "") for attribute in one(root, "saml:AttributeStatement")
    ],
    "signed in by a clock a minute ahead": put("saml:AuthnStatement", AuthnInstant=at(60)),
    "a day of validity": put("saml:SubjectConfirmationData", NotOnOrAfter=at(86_460)),
    "where and by whom": lambda root: (
        one(root, "saml:AuthnStatement").insert(0, child("saml:SubjectLocality", Address="192.0.2.7")),
        one(root, "saml:AuthnContext").append(child("saml:AuthenticatingAuthority", "https://upstream.example/")),
    ),
    "an attribute of another vocabulary": lambda root: one(root, "saml:Attribute[@Name='groups']").set(FOREIGN, "x"),
    "a status message": _more("samlp:Status", child("samlp:StatusMessage", "fine")),
}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_specification_leaves_open(verifier: ResponseVerifier, variant: str, placement: str) -> None:
    assert accepted(verifier, minted(sign=placement, edit=VARIANTS[variant])).name_id == "alice-7f3a"


@pytest.mark.parametrize(
    "name", ["DOMAIN\\alice", "alice@corp.example", "Ålesund", "李小龙", "a b", "x" * 1024, "&<>\"'", "😀"]
)
def test_names_come_out_as_they_were_signed(verifier: ResponseVerifier, name: str) -> None:
    assert accepted(verifier, minted(edit=say(NAME, name))).name_id == name


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_one_attribute_for_each_value_is_one_attribute(verifier: ResponseVerifier, placement: str) -> None:
    def edit(root: Element) -> None:
        groups = one(root, "saml:Attribute[@Name='groups']")
        statement = groups.getparent()
        assert statement is not None
        for value in list(groups)[1:]:
            alone = child("saml:Attribute", Name="groups")
            alone.append(value)
            statement.append(alone)

    said = accepted(verifier, minted(sign=placement, edit=edit))
    assert said.attributes["groups"] == ("staff", "admins")


def test_values_of_attributes(verifier: ResponseVerifier) -> None:
    def edit(root: Element) -> None:
        groups = one(root, "saml:Attribute[@Name='groups']")
        nil = child("saml:AttributeValue")
        nil.set("{http://www.w3.org/2001/XMLSchema-instance}nil", "true")
        named = child("saml:AttributeValue")
        named.append(child("saml:NameID", "opaque-1"))
        groups[:] = [child("saml:AttributeValue", " x,admin\n"), nil, child("saml:AttributeValue", ""), named]
        groups.set("FriendlyName", "urn:oid:0.9.2342.19200300.100.1.3")

    said = accepted(verifier, minted(edit=edit))
    assert said.attributes["groups"] == ("x,admin", "opaque-1")
    assert said.friendly_names == {"mail": "urn:oid:0.9.2342.19200300.100.1.3"}, "a formal name is never led astray"


def test_an_issuer_on_the_response_is_needed_only_where_it_is_signed(verifier: ResponseVerifier) -> None:
    def edit(root: Element) -> None:
        root.remove(root[0])

    assert accepted(verifier, minted(sign="assertion", edit=edit)).name_id == "alice-7f3a"
    for placement in ("response", "response assertion"):
        with pytest.raises(VerificationError, match="issuer_mismatch"):
            accepted(verifier, minted(sign=placement, edit=edit))


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("issuers", [True, False])
def test_text_behind_a_signature_belongs_to_what_is_signed(
    verifier: ResponseVerifier, placement: str, issuers: bool
) -> None:
    def indented(signature: Element) -> None:
        signature.tail = "\n   "

    def edit(root: Element) -> None:
        root[0].tail = root.text = one(root, "saml:Assertion").text = "\n  "
        if not issuers and placement == "assertion":
            root.remove(root[0])

    xml = minted(sign=placement, edit=edit, signing=Signing(edit=indented, prefixes="p " * 32))
    assert accepted(verifier, xml).name_id == "alice-7f3a"


def test_a_requested_context_that_was_used(verifier: ResponseVerifier) -> None:
    used = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
    assert accepted(verifier, minted(), requested_contexts=("urn:mfa", used)).authn_context == used


def test_declaration_line_breaks_and_certificates_in_the_message(verifier: ResponseVerifier) -> None:
    body = "".join(pair("stranger").certificate.split("-----")[2].split())
    info = f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
    xml = b'<?xml version="1.0" encoding="UTF-8"?>\n' + minted(signing=Signing(key_info=info))
    wrapped = encodebytes(xml).decode().replace("\n", "\r\n")
    assert verifier.verify(wrapped, expectations()).name_id == "alice-7f3a"


@pytest.mark.parametrize(
    "acs", [ACS, "http://localhost:8000/sso/acs/corp", "http://intranet/acs", "https://127.0.0.1:8443/a"]
)
def test_each_kind_of_own_url(verifier: ResponseVerifier, acs: str) -> None:
    here = both(put(".", Destination=acs), put("saml:SubjectConfirmationData", Recipient=acs))
    assert accepted(verifier, minted(edit=here), acs_url=acs).name_id == "alice-7f3a"


def test_a_large_response(verifier: ResponseVerifier) -> None:
    def edit(root: Element) -> None:
        one(root, "saml:Attribute[@Name='groups']")[:] = [
            child("saml:AttributeValue", f"group-{number}") for number in range(1500)
        ]

    assert len(accepted(verifier, minted(edit=edit)).attributes["groups"]) == 1500


def test_the_providers_own_no_is_told_apart(verifier: ResponseVerifier) -> None:
    def refuse(root: Element) -> None:
        drop("saml:Assertion")(root)
        status = one(root, "samlp:StatusCode")
        status.set("Value", "urn:oasis:names:tc:SAML:2.0:status:Responder")
        status.append(child("samlp:StatusCode", Value="urn:oasis:names:tc:SAML:2.0:status:NoPassive"))

    with pytest.raises(ProviderRefused) as caught:
        accepted(verifier, minted(sign="", edit=refuse))
    assert (caught.value.reason, caught.value.detail) == (Reason.STATUS_NOT_SUCCESS, "NoPassive")


def test_the_verifier_keeps_nothing_of_a_message(verifier: ResponseVerifier) -> None:
    xml = minted()
    assert accepted(verifier, xml) == accepted(verifier, xml)
    assert etree.tostring(etree.fromstring(xml)) == xml
    assert expectations().request_id == REQUEST
