"""The second opinion: it must agree, it is asked in our words, and nobody else's python3-saml changes by it."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError, LoginError, VerificationError
from jit_middleware.sso.saml.keys import trusted_keys
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.response import ResponseVerifier
from jit_middleware.sso.saml.toolkit import Opened, Toolkit
from tests.adversarial_saml.mint import ACS, Signing, expectations, minted, one, pair, posted


@pytest.fixture(scope="module")
def toolkit() -> Toolkit:
    return Toolkit()


def confirmed(toolkit: Toolkit, xml: bytes, *, name: str = "alice-7f3a", key: str = "idp", **told: object) -> None:
    root = importlib.import_module("lxml.etree").fromstring(xml)
    seen = (one(root, "saml:Assertion").get("ID", ""), name)
    toolkit.confirm(xml, expectations(**told), seen, trusted_keys((pair(key).certificate,)), Opened())


def refusal(toolkit: Toolkit, xml: bytes, **told: object) -> str:
    with pytest.raises(VerificationError) as caught:
        confirmed(toolkit, xml, **told)  # type: ignore[arg-type]
    return caught.value.reason


def test_it_agrees_with_an_honest_message(toolkit: Toolkit) -> None:
    confirmed(toolkit, minted(sign="response assertion"))


@pytest.mark.parametrize("sign", ["assertion", "response"])
def test_it_verifies_the_signature_by_itself(toolkit: Toolkit, sign: str) -> None:
    changed = minted(sign=sign).replace(b"alice@", b"mallory@")
    assert refusal(toolkit, changed) == Reason.VERIFIERS_DISAGREE
    assert refusal(toolkit, minted(sign=sign, signing=Signing(pair("stranger")))) == Reason.VERIFIERS_DISAGREE


def test_it_must_see_the_same_person(toolkit: Toolkit) -> None:
    assert refusal(toolkit, minted(), name="mallory") == Reason.VERIFIERS_DISAGREE


def test_it_checks_our_url_audience_and_request_by_itself(toolkit: Toolkit) -> None:
    for told in ({"acs_url": f"{ACS}/other"}, {"sp_entity_id": "https://other/"}, {"request_id": "_other"}):
        assert refusal(toolkit, minted(), **told) == Reason.VERIFIERS_DISAGREE


def test_it_goes_by_the_time_it_is_told(toolkit: Toolkit) -> None:
    confirmed(toolkit, minted(), now=expectations().now + 300)
    assert refusal(toolkit, minted(), now=expectations().now + 361) == Reason.VERIFIERS_DISAGREE


def test_what_was_not_opened_for_it_stays_closed(toolkit: Toolkit) -> None:
    holder = b"<saml:EncryptedAssertion><xenc:EncryptedData xmlns:xenc='http://www.w3.org/2001/04/xmlenc#'/></saml:EncryptedAssertion>"
    xml = minted().replace(b"</samlp:Response>", holder + b"</samlp:Response>")
    assert refusal(toolkit, xml) == Reason.VERIFIERS_DISAGREE


def test_a_malformed_message_is_a_refusal_and_no_crash(toolkit: Toolkit) -> None:
    keys = trusted_keys((pair().certificate,))
    for xml in (b"", b"<a>", b"<!DOCTYPE a><a/>", b"<a/>"):
        with pytest.raises(VerificationError):
            toolkit.confirm(xml, expectations(), ("", ""), keys, Opened())


def test_settings_it_does_not_take_are_a_fault_of_the_configuration(toolkit: Toolkit) -> None:
    with pytest.raises(ConfigurationError):
        confirmed(toolkit, minted(), acs_url="no url")


def test_the_installed_package_stays_as_it_was() -> None:
    ResponseVerifier()
    response = importlib.import_module("onelogin.saml2.response")
    utils = importlib.import_module("onelogin.saml2.utils")
    xml = importlib.import_module("onelogin.saml2.xml_utils")
    constants = importlib.import_module("onelogin.saml2.constants")
    assert response.OneLogin_Saml2_Utils is utils.OneLogin_Saml2_Utils
    assert response.OneLogin_Saml2_XML is xml.OneLogin_Saml2_XML
    assert constants.OneLogin_Saml2_Constants.ALLOWED_CLOCK_DRIFT == 300
    assert Path(response.__file__).name == "response.py"


def test_many_threads_share_one_verifier() -> None:
    verifier = ResponseVerifier()
    honest = [(posted(minted(sign=sign)), True) for sign in ("assertion", "response") * 20]
    forged = [(posted(minted().replace(b"alice-", b"mallory-")), False) for _ in range(20)]

    def accepted(form: str) -> bool:
        try:
            return verifier.verify(form, expectations()).name_id == "alice-7f3a"
        except LoginError:
            return False

    mixed = [case for group in zip(honest[:20], forged, honest[20:], strict=True) for case in group]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(accepted, [form for form, _ in mixed])) == [good for _, good in mixed]
