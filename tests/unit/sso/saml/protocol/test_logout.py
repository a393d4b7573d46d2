"""Single Logout: what is sent, and every way in which a message is not the one it should be."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from urllib.parse import quote_plus, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.x509 import load_pem_x509_certificate
from lxml import etree

from jit_middleware.bridge import step
from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.model import SessionRecord
from jit_middleware.settings import SAMLConnection
from jit_middleware.settings.saml import Subject
from jit_middleware.sso.saml.identity import identity_of, person_name, session_name
from jit_middleware.sso.saml.keys import SPKey
from jit_middleware.sso.saml.request import derived_id
from jit_middleware.sso.saml.signature import sign_enveloped, sign_redirect, verify_enveloped, verify_redirect
from jit_middleware.sso.strategy import LogoutAnswered, LogoutMessage, LogoutRequested, PostForm
from tests.conftest import FakeClock
from tests.unit.sso.saml.protocol.idp import (
    IDP,
    NOW,
    PERSISTENT,
    SLS,
    SP,
    Wire,
    connection,
    descriptor,
    key_pair,
    logout_request,
    logout_response,
    strategy,
    time,
    with_key,
)
from tests.unit.sso.saml.protocol.test_identity import ASSERTION

P = "{urn:oasis:names:tc:SAML:2.0:protocol}"
A = "{urn:oasis:names:tc:SAML:2.0:assertion}"
THEIRS = key_pair("idp")
MINE = (key_pair("sp").certificate_pem,)
HINT = identity_of(ASSERTION, connection(), sp_entity_id=SP).logout_hint


def session(hint: str | None = HINT) -> SessionRecord:
    return SessionRecord("s", "u", "default", "saml", IDP, "opaque-1", NOW, NOW + 60, NOW, NOW, logout_hint=hint)


def by_redirect(
    xml: bytes, *, kind: str = "SAMLRequest", relay_state: str | None = None, key: SPKey = THEIRS
) -> LogoutMessage:
    return LogoutMessage(query=urlsplit(sign_redirect(SLS, kind, xml, relay_state, key)).query)  # type: ignore[arg-type]


def by_post(
    xml: bytes, *, kind: str = "SAMLRequest", relay_state: str | None = None, key: SPKey = THEIRS
) -> LogoutMessage:
    form = {kind: b64encode(sign_enveloped(xml, key)).decode()}
    return LogoutMessage(form=form if relay_state is None else {**form, "RelayState": relay_state})


BINDINGS = pytest.mark.parametrize("sent", [by_redirect, by_post])


def judged(
    message: LogoutMessage, settings: SAMLConnection | None = None, clock: FakeClock | None = None
) -> LogoutRequested | LogoutAnswered:
    return step(strategy(settings or with_key(), clock=clock).logout_message(message))


def refusal(message: LogoutMessage, settings: SAMLConnection | None = None, clock: FakeClock | None = None) -> str:
    with pytest.raises(VerificationError) as refused:
        judged(message, settings, clock)
    return str(refused.value.reason)


# --- our request ------------------------------------------------------------------------------------------------------


def test_our_request_is_signed_and_names_person_and_session_as_they_were_given() -> None:
    url = step(strategy(with_key()).logout_phase(session(), return_url="https://app.example/", state="the state"))
    assert isinstance(url, str)
    found = verify_redirect(urlsplit(url).query, message="SAMLRequest", certificates=MINE)
    root = etree.fromstring(found.xml)
    assert found.relay_state == "the state"
    assert root.tag == f"{P}LogoutRequest"
    assert root.get("ID") == derived_id("the state")
    assert root.get("Destination") == "https://idp.example/slo"
    assert root.get("NotOnOrAfter") == time(NOW + 300)
    name = root.find(f"{A}NameID")
    assert name is not None
    assert (name.text, dict(name.attrib)) == ("opaque-1", {"Format": PERSISTENT})
    assert root.findtext(f"{P}SessionIndex") == "one"


def test_our_request_by_post_is_signed_too() -> None:
    form = step(strategy(with_key(binding="post")).logout_phase(session(), return_url="/", state="the state"))
    assert isinstance(form, PostForm)
    assert form.url == "https://idp.example/slo-post"
    assert b"opaque-1" in verify_enveloped(b64decode(dict(form.fields)["SAMLRequest"]), MINE)


def test_what_cannot_be_signed_or_is_not_offered_is_not_sent() -> None:
    def onward(settings: SAMLConnection, wire: Wire | None = None, hint: str | None = HINT) -> object:
        return step(strategy(settings, wire=wire).logout_phase(session(hint), return_url="/", state="s"))

    services = (
        '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"'
        ' Location="https://idp.example/sso"/>'
    )
    assert onward(connection()) is None
    assert onward(with_key(), hint=None) is None
    assert onward(with_key(), Wire(descriptor(services=services).encode())) is None
    with pytest.raises(ProviderUnavailable):
        onward(with_key(), Wire(down=True))


# --- the provider's request -------------------------------------------------------------------------------------------


@BINDINGS
def test_a_signed_request_names_sessions_person_and_itself(sent: object) -> None:
    found = judged(sent(logout_request(name="opaque-1"), relay_state="theirs"))  # type: ignore[operator]
    assert isinstance(found, LogoutRequested)
    assert found.idp_sessions == (session_name("opaque-1", "one"), session_name("opaque-1", None))
    assert found.idp_sessions[0] == identity_of(ASSERTION, connection(), sp_entity_id=SP).idp_session
    assert found.idp_sessions[0].startswith(found.idp_session_prefix)
    assert found.message_id == "_logout-1"
    assert found.relay_state == "theirs"
    assert (found.once.purpose, found.once.until) == ("saml_logout", NOW + 600 + 120)


def test_an_encrypted_name_is_the_name_inside() -> None:
    xml = etree.fromstring(logout_request(name="opaque-1"))
    name = xml.find(f"{A}NameID")
    assert name is not None
    content_key, nonce = bytes(range(32)), b"n" * 12
    public = load_pem_x509_certificate(MINE[0].encode()).public_key()
    assert isinstance(public, RSAPublicKey)
    wrapped = public.encrypt(content_key, OAEP(MGF1(SHA1()), SHA1(), None))
    cipher = nonce + AESGCM(content_key).encrypt(nonce, etree.tostring(name, with_tail=False), None)
    inside = (
        '<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">'
        '<xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/>'
        '<ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>'
        '<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/>'
        f"<xenc:CipherData><xenc:CipherValue>{b64encode(wrapped).decode()}</xenc:CipherValue></xenc:CipherData>"
        "</xenc:EncryptedKey></ds:KeyInfo>"
        f"<xenc:CipherData><xenc:CipherValue>{b64encode(cipher).decode()}</xenc:CipherValue></xenc:CipherData>"
        "</xenc:EncryptedData>"
    )
    holder = etree.Element(f"{A}EncryptedID")
    holder.append(etree.fromstring(inside))
    xml.replace(name, holder)
    found = judged(by_redirect(etree.tostring(xml)))
    assert isinstance(found, LogoutRequested)
    assert found.idp_session_prefix == person_name("opaque-1")


def test_a_request_without_session_index_means_all_of_the_person() -> None:
    found = judged(by_redirect(logout_request(inside="")))
    assert isinstance(found, LogoutRequested)
    assert (found.idp_sessions, found.idp_session_prefix) == ((), person_name("alice"))
    assert session_name("alice", "any").startswith(found.idp_session_prefix)
    assert judged(by_redirect(logout_request(inside="")), with_key(subject=Subject("attribute", "uid"))) == found


@BINDINGS
@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (logout_request(issuer="urn:other"), "issuer_mismatch"),
        (logout_request(destination=f"{SLS}/"), "logout_destination_mismatch"),
        (logout_request(destination="https://app.example/_jit/sls/other"), "logout_destination_mismatch"),
        (logout_request(destination=""), "logout_destination_mismatch"),
        (logout_request(until=NOW - 60), "logout_expired"),
        (logout_request(issued=NOW - 660, until=None), "issued_too_long_ago"),
        (logout_request(issued=NOW + 61), "issued_in_future"),
        (logout_request(version="1.1"), "version_unsupported"),
        (logout_request(name=""), "name_id_malformed"),
        (logout_request(inside="<saml:NameID>bob</saml:NameID>"), "subject_missing"),
        (logout_request(inside="<saml:Issuer>urn:other</saml:Issuer>"), "issuer_mismatch"),
        (logout_request(inside="<saml:EncryptedID/>"), "subject_missing"),
        (logout_request().replace(b"saml:NameID", b"saml:BaseID"), "subject_missing"),
        (logout_request().replace(b"saml:NameID", b"saml:EncryptedID"), "encryption_shape"),
        (logout_request(inside="<samlp:SessionIndex><b/>one</samlp:SessionIndex>"), "element_not_allowed"),
        (logout_request(inside="<samlp:SessionIndex>x</samlp:SessionIndex>" * 101), "xml_too_complex"),
        (logout_request().replace(b"LogoutRequest", b"AuthnRequest"), "not_a_logout_message"),
        (logout_response("_x"), "not_a_logout_message"),
    ],
)
def test_a_request_that_is_not_for_us_now_is_refused(sent: object, xml: bytes, reason: str) -> None:
    assert refusal(sent(xml)) == reason  # type: ignore[operator]


@pytest.mark.parametrize("until", [NOW + 1, NOW - 59, None])
def test_a_request_within_its_time_and_the_skew_counts(until: int | None) -> None:
    assert isinstance(judged(by_redirect(logout_request(until=until, issued=NOW - 500))), LogoutRequested)


@BINDINGS
def test_a_foreign_signature_is_refused(sent: object) -> None:
    assert refusal(sent(logout_request(), key=key_pair("other"))) == "signature_invalid"  # type: ignore[operator]


def test_an_unsigned_request_is_refused_by_both_bindings() -> None:
    deflate = zlib.compressobj(wbits=-15)
    packed = b64encode(deflate.compress(logout_request()) + deflate.flush()).decode()
    assert refusal(LogoutMessage(query=f"SAMLRequest={quote_plus(packed)}")) == "signature_missing"
    plain = b64encode(logout_request()).decode()
    assert refusal(LogoutMessage(form={"SAMLRequest": plain})) == "signature_missing"


def test_a_second_message_in_the_query_is_never_the_one_acted_on() -> None:
    signed = by_redirect(logout_request()).query
    assert signed is not None
    value = signed.partition("&")[0].partition("=")[2]
    for extra in (
        f"&SAMLRequest={value}",
        f"&SAML%52equest={value}",
        f"&SAMLResponse={value}",
        "&RelayState=a&RelayState=b",
    ):
        assert refusal(LogoutMessage(query=signed + extra)) == "query_malformed"
    assert refusal(LogoutMessage(query=f"SAML%52equest={value}&{signed}")) == "query_malformed"
    both = {"SAMLRequest": value, "SAMLResponse": value}
    assert refusal(LogoutMessage(form=both)) == "query_malformed"


def test_nothing_is_no_message() -> None:
    assert refusal(LogoutMessage(query="")) == "message_missing"
    assert refusal(LogoutMessage(form={"RelayState": "x"})) == "message_missing"


def test_floods_are_refused_before_they_are_read() -> None:
    assert refusal(LogoutMessage(form={"SAMLRequest": "A" * 100_000})) == "message_too_large"
    assert refusal(by_post(logout_request(), relay_state="x" * 1025)) == "relay_state_too_long"
    document = b"<!DOCTYPE a [<!ENTITY x 'y'>]>" + logout_request()
    assert refusal(LogoutMessage(form={"SAMLRequest": b64encode(document).decode()})) == "markup_forbidden"


def test_a_provider_that_changed_its_keys_is_asked_for_its_metadata_again() -> None:
    wire = Wire()
    ours = strategy(with_key(), wire=wire)
    step(ours.logout_message(by_redirect(logout_request())))
    wire.body = descriptor(keys=(('use="signing"', key_pair("idp-next")),)).encode()
    found = step(ours.logout_message(by_redirect(logout_request(), key=key_pair("idp-next"))))
    assert isinstance(found, LogoutRequested)
    assert len(wire.asked) == 2


# --- answers ----------------------------------------------------------------------------------------------------------


def test_our_answer_is_signed_and_goes_to_the_place_for_answers() -> None:
    ours = strategy(with_key())
    asked = step(ours.logout_message(by_redirect(logout_request(), relay_state="theirs")))
    assert isinstance(asked, LogoutRequested)
    url = step(ours.logout_answer(asked))
    assert isinstance(url, str)
    assert url.startswith("https://idp.example/slo-answer?")
    found = verify_redirect(urlsplit(url).query, message="SAMLResponse", certificates=MINE)
    root = etree.fromstring(found.xml)
    assert found.relay_state == "theirs"
    assert (root.get("InResponseTo"), root.get("Destination")) == ("_logout-1", "https://idp.example/slo-answer")
    assert str(root.get("ID")).startswith("_")
    code = root.find(f"{P}Status/{P}StatusCode")
    assert code is not None
    assert str(code.get("Value")).endswith(":Success")


@BINDINGS
def test_an_answer_is_to_the_state_it_brings_back(sent: object) -> None:
    ours = logout_response(derived_id("ours"))
    found = judged(sent(ours, kind="SAMLResponse", relay_state="ours"))  # type: ignore[operator]
    assert found == LogoutAnswered("ours", complete=True)
    other = sent(ours, kind="SAMLResponse", relay_state="other")  # type: ignore[operator]
    assert refusal(other) == "in_response_to_mismatch"
    elsewhere = logout_response(derived_id("ours"), destination="https://app.example/")
    assert refusal(sent(elsewhere, kind="SAMLResponse", relay_state="ours")) == "logout_destination_mismatch"  # type: ignore[operator]


def test_an_answer_without_relay_state_says_of_no_state_that_it_is_done() -> None:
    assert judged(by_redirect(logout_response("_x"), kind="SAMLResponse")) == LogoutAnswered(None, complete=True)


@pytest.mark.parametrize(
    ("status", "complete"),
    [
        ('<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"/>', False),
        (
            '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"><samlp:StatusCode'
            ' Value="urn:oasis:names:tc:SAML:2.0:status:PartialLogout"/></samlp:StatusCode>',
            False,
        ),
        ('<samlp:StatusCode Value=""/>', False),
        ('<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/><samlp:StatusMessage/>', True),
    ],
)
def test_only_a_whole_success_is_complete(status: str, complete: bool) -> None:
    said = judged(by_redirect(logout_response(derived_id("s"), status=status), kind="SAMLResponse", relay_state="s"))
    assert said == LogoutAnswered("s", complete=complete)


def test_an_answer_without_status_is_malformed() -> None:
    said = by_redirect(logout_response(derived_id("s"), status=""), kind="SAMLResponse", relay_state="s")
    assert refusal(said) == "status_malformed"
