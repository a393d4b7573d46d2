"""Signed messages that are no Responses: logout messages, metadata, redirects; ours and theirs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlsplit

import pytest
import xmlsec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from jit_middleware.errors import ConfigurationError, VerificationError
from jit_middleware.sso.saml.keys import SPKey
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.signature import (
    RedirectMessage,
    deflate,
    inflate,
    sign_enveloped,
    sign_redirect,
    verify_enveloped,
    verify_redirect,
)
from tests.adversarial_saml.mint import NS, Pair, Signing, child, clone, one, pair, signed

LOGOUT = (
    f'<samlp:LogoutRequest xmlns:samlp="{NS["samlp"]}" xmlns:saml="{NS["saml"]}" ID="_l1" Version="2.0">'
    "<saml:Issuer>https://idp.example/</saml:Issuer><saml:NameID>alice</saml:NameID></samlp:LogoutRequest>"
).encode()
METADATA = (
    b'<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://x/" ID="_m1"><Organization/>'
    b"</EntityDescriptor>"
)
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
CERTIFICATES = ("junk",)
URL = "https://idp.example/slo"


def certificates(*pairs: Pair) -> tuple[str, ...]:
    return tuple(one_pair.certificate for one_pair in pairs or (pair(),))


def theirs(xml: bytes = LOGOUT, how: Signing | None = None) -> bytes:
    root = etree.fromstring(xml)
    signed(root, how)
    return etree.tostring(root)


def strict_quote(text: str) -> str:
    return quote(text, safe="")


def query(
    *,
    xml: bytes = LOGOUT,
    name: str = "SAMLRequest",
    relay: str | None = "r 1",
    algorithm: str = RSA_SHA256,
    encode_relay: Callable[[str], str] = strict_quote,
) -> str:
    """A signed redirect's query, made without the code under test."""
    parts = [f"{name}={strict_quote(b64encode(deflate(xml)).decode())}"]
    parts += [] if relay is None else [f"RelayState={encode_relay(relay)}"]
    text = "&".join([*parts, f"SigAlg={strict_quote(algorithm)}"])
    key = load_pem_private_key(pair().private.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}&Signature={quote(b64encode(signature).decode(), safe='')}"


def refused(raw: str, *, message: str = "SAMLRequest", given: tuple[str, ...] | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_redirect(raw, message=message, certificates=certificates() if given is None else given)  # type: ignore[arg-type]
    return caught.value.reason


def enveloped_refused(xml: bytes, given: tuple[str, ...] | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_enveloped(xml, certificates() if given is None else given)
    return caught.value.reason


class TestEnveloped:
    def test_gives_the_signed_bytes_without_the_signature(self) -> None:
        root = etree.fromstring(verify_enveloped(theirs(), certificates()))
        assert [etree.QName(part).localname for part in root] == ["Issuer", "NameID"]

    def test_what_is_not_signed_is_not_in_them(self) -> None:
        xml = theirs().replace(b"<saml:NameID>", b"<saml:NameID><!-- cut -->")
        assert b"cut" not in verify_enveloped(xml, certificates())

    def test_metadata_may_hold_comments(self) -> None:
        xml = theirs(METADATA).replace(b"<Organization/>", b"<!-- federation of 4000 --><Organization/>")
        assert etree.fromstring(verify_enveloped(xml, certificates())).get("entityID") == "https://x/"

    def test_text_behind_the_signature_belongs_to_what_is_signed(self) -> None:
        def indented(signature: etree._Element) -> None:
            signature.tail = "\n  "

        for xml in (METADATA, LOGOUT, METADATA.replace(b"<Organization/>", b"\n <Organization/>")):
            assert verify_enveloped(theirs(xml, Signing(edit=indented)), certificates())

    def test_the_next_certificate_counts(self) -> None:
        xml = theirs(how=Signing(pair("next")))
        assert verify_enveloped(xml, certificates(pair(), pair("next")))

    @pytest.mark.parametrize(
        ("xml", "reason"),
        [
            (lambda: LOGOUT, Reason.SIGNATURE_MISSING),
            (lambda: theirs().replace(b"alice", b"mallory"), Reason.DIGEST_MISMATCH),
            (lambda: theirs(how=Signing(pair("stranger"))), Reason.SIGNATURE_INVALID),
            (lambda: theirs(how=Signing(digest=f"{NS['ds']}sha1")), Reason.SIGNATURE_ALGORITHM),
            (lambda: b"<!DOCTYPE x>" + theirs(), Reason.MARKUP_FORBIDDEN),
            (lambda: b"<?x y?>" + theirs(), Reason.MARKUP_FORBIDDEN),
            (lambda: theirs().decode().encode("utf-16"), Reason.ENCODING_NOT_UTF8),
            (lambda: b"", Reason.XML_MALFORMED),
        ],
    )
    def test_refusals(self, xml: object, reason: Reason) -> None:
        assert callable(xml)
        assert enveloped_refused(xml()) == reason

    def test_a_signed_part_of_an_unsigned_message_is_no_signed_message(self) -> None:
        root = etree.fromstring(LOGOUT)
        root.set("ID", "_outer")
        root.append(etree.fromstring(theirs()))
        assert enveloped_refused(etree.tostring(root)) == Reason.SIGNATURE_MISSING

    def test_a_wrapped_message_is_refused(self) -> None:
        original = etree.fromstring(theirs())
        forged = clone(original)
        signature = one(forged, "ds:Signature")
        one(forged, "saml:NameID").text = "mallory"
        forged.set("ID", "_other")
        holder = child("ds:Object")
        holder.append(original)
        signature.append(holder)
        assert enveloped_refused(etree.tostring(forged)) in {Reason.SIGNATURE_MALFORMED, Reason.SIGNATURE_REFERENCE}

    def test_what_it_says_about_keys_is_not_looked_at(self) -> None:
        where = '<ds:KeyInfo><ds:RetrievalMethod URI="file:///dev/zero"/></ds:KeyInfo>'
        assert verify_enveloped(theirs(how=Signing(key_info=where)), certificates())

    def test_a_reference_to_no_id_at_all(self) -> None:
        for uri in ("#None", "#", ""):
            xml = theirs().replace(b' ID="_l1"', b"").replace(b'URI="#_l1"', f'URI="{uri}"'.encode())
            assert enveloped_refused(xml) == Reason.SIGNATURE_REFERENCE

    @pytest.mark.parametrize(
        ("path", "inside", "reason"),
        [
            ("ds:SignatureMethod", "HMACOutputLength", Reason.SIGNATURE_ALGORITHM),
            ("ds:Transform[1]", "XPath", Reason.SIGNATURE_TRANSFORM),
            ("ds:Transform[2]", "XPath", Reason.SIGNATURE_TRANSFORM),
            ("ds:CanonicalizationMethod", "XPath", Reason.SIGNATURE_TRANSFORM),
            ("ds:Signature", "Object", Reason.SIGNATURE_MALFORMED),
            ("ds:SignedInfo", "Reference", Reason.SIGNATURE_REFERENCE),
            ("ds:Reference", "Transforms", Reason.SIGNATURE_MALFORMED),
        ],
    )
    def test_nothing_is_added_to_a_signature(self, path: str, inside: str, reason: Reason) -> None:
        root = etree.fromstring(theirs())
        one(root, path).append(child(f"ds:{inside}"))
        assert enveloped_refused(etree.tostring(root)) == reason

    def test_no_usable_certificate(self) -> None:
        assert enveloped_refused(theirs(), CERTIFICATES) == Reason.CERTIFICATE_UNUSABLE
        assert enveloped_refused(theirs(), ()) == Reason.CERTIFICATE_UNUSABLE


class TestOurs:
    @pytest.mark.parametrize("elliptic", [False, True])
    @pytest.mark.parametrize("xml", [LOGOUT, METADATA])
    def test_libxmlsec_accepts_what_we_sign(self, xml: bytes, elliptic: bool) -> None:
        ours = pair("ours-ec" if elliptic else "sp", elliptic=elliptic)
        root = etree.fromstring(sign_enveloped(xml, ours.sp_key))
        xmlsec.tree.add_ids(root, ["ID"])
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_memory(ours.certificate, xmlsec.constants.KeyDataFormatCertPem)
        context.verify(one(root, "ds:Signature"))
        assert verify_enveloped(etree.tostring(root), (ours.certificate,))

    @pytest.mark.parametrize(("xml", "place"), [(LOGOUT, 1), (METADATA, 0)])
    def test_the_signature_stands_where_the_schema_has_it(self, xml: bytes, place: int) -> None:
        root = etree.fromstring(sign_enveloped(xml, pair("sp").sp_key))
        assert etree.QName(root[place]).localname == "Signature"

    @pytest.mark.parametrize("relay", [None, "", "a b+c&d=%/ü"])
    @pytest.mark.parametrize("elliptic", [False, True])
    def test_our_redirects_verify(self, relay: str | None, elliptic: bool) -> None:
        ours = pair("ours-ec" if elliptic else "sp", elliptic=elliptic)
        url = sign_redirect(URL, "SAMLResponse", LOGOUT, relay, ours.sp_key)
        assert url.startswith(f"{URL}?SAMLResponse=")
        message = verify_redirect(urlsplit(url).query, message="SAMLResponse", certificates=(ours.certificate,))
        assert message == RedirectMessage(LOGOUT, relay)

    def test_a_url_with_a_query_keeps_it(self) -> None:
        url = sign_redirect(f"{URL}?tenant=1", "SAMLRequest", LOGOUT, None, pair("sp").sp_key)
        assert url.startswith(f"{URL}?tenant=1&SAMLRequest=")

    def test_a_key_that_cannot_be_used_is_a_fault_of_the_configuration(self) -> None:
        with pytest.raises(ConfigurationError):
            sign_enveloped(LOGOUT, SPKey("junk", pair().certificate))


class TestRedirect:
    def test_gives_the_message_and_the_relay_state(self) -> None:
        message = verify_redirect(query(), message="SAMLRequest", certificates=certificates())
        assert message == RedirectMessage(LOGOUT, "r 1")

    @pytest.mark.parametrize("encode", [lambda text: quote(text, safe="").lower(), quote_plus, quote])
    def test_the_signature_is_over_the_query_as_it_was_sent(self, encode: Callable[[str], str]) -> None:
        raw = query(relay="ü /~", encode_relay=encode)
        message = verify_redirect(raw, message="SAMLRequest", certificates=certificates())
        assert message.relay_state == "ü /~"

    def test_other_parameters_are_passed_over(self) -> None:
        assert verify_redirect(f"{query()}&tenant=1", message="SAMLRequest", certificates=certificates())

    @pytest.mark.parametrize(
        "more",
        [
            "SAMLRequest=x", "SAMLResponse=x", "SAML%52equest=x", "RelayState=x", "Signature=x", "SigAlg=x", "%53igAlg=x", "",
            "=x", "a b=x", "x=%", "x=%zz", "x=\n", "x=é", "x=\x00",
        ],
    )  # fmt: skip
    def test_a_second_meaning_is_refused(self, more: str) -> None:
        assert refused(f"{query()}&{more}") == Reason.QUERY_MALFORMED
        assert refused(f"{more}&{query()}") == Reason.QUERY_MALFORMED

    @pytest.mark.parametrize("name", ["Signature", "SigAlg"])
    def test_an_unsigned_message_is_refused(self, name: str) -> None:
        kept = [part for part in query().split("&") if not part.startswith(f"{name}=")]
        assert refused("&".join(kept)) == Reason.SIGNATURE_MISSING

    def test_the_other_kind_of_message_is_refused(self) -> None:
        assert refused(query(name="SAMLResponse")) == Reason.QUERY_MALFORMED
        assert refused("") == Reason.QUERY_MALFORMED

    @pytest.mark.parametrize(
        ("algorithm", "reason"),
        [
            (f"{NS['ds']}rsa-sha1", Reason.SIGNATURE_ALGORITHM),
            ("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", Reason.SIGNATURE_ALGORITHM),
            ("", Reason.SIGNATURE_ALGORITHM),
            ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", Reason.SIGNATURE_INVALID),
            ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", Reason.SIGNATURE_INVALID),
            ("http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", Reason.SIGNATURE_INVALID),
        ],
    )
    def test_algorithms(self, algorithm: str, reason: Reason) -> None:
        assert refused(query(algorithm=algorithm)) == reason

    def test_each_part_is_covered(self) -> None:
        for name in ("SAMLRequest", "RelayState"):
            parts = [f"{part}x" if part.startswith(f"{name}=") else part for part in query().split("&")]
            assert refused("&".join(parts)) == Reason.SIGNATURE_INVALID
        without = [part for part in query().split("&") if not part.startswith("RelayState=")]
        assert refused("&".join(without)) == Reason.SIGNATURE_INVALID

    def test_other_encodings_of_the_message_are_refused(self) -> None:
        assert refused(f"{query()}&SAMLEncoding=urn:other") == Reason.QUERY_MALFORMED

    def test_keys_of_others(self) -> None:
        assert refused(query(), given=certificates(pair("stranger"))) == Reason.SIGNATURE_INVALID
        assert refused(query(), given=CERTIFICATES) == Reason.CERTIFICATE_UNUSABLE

    def test_size(self) -> None:
        assert refused(f"SAMLRequest={'A' * 200_000}") == Reason.MESSAGE_TOO_LARGE
        assert refused(query(xml=b"x" * 65_537)) == Reason.MESSAGE_TOO_LARGE
        whole = verify_redirect(query(xml=b"x" * 65_536), message="SAMLRequest", certificates=certificates())
        assert len(whole.xml) == 65_536

    @pytest.mark.parametrize("data", [b"", b"\xff", deflate(LOGOUT)[:-3], deflate(LOGOUT) + b"x"])
    def test_only_one_whole_stream_inflates(self, data: bytes) -> None:
        with pytest.raises(VerificationError) as caught:
            inflate(data)
        assert caught.value.reason == Reason.DEFLATE_MALFORMED

    def test_secrets_do_not_show(self) -> None:
        assert "alice" not in repr(RedirectMessage(LOGOUT, None))
        assert "PRIVATE" not in repr(pair("sp").sp_key)
