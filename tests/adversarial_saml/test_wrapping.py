"""Every form of signature wrapping over every placement of signatures is refused, under a name that says why."""

from __future__ import annotations

import pytest
from lxml import etree

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.exclusive import verified
from jit_middleware.sso.saml.keys import trusted_keys
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.response import ResponseVerifier
from tests.adversarial_saml.mint import NS, expectations, pair, posted
from tests.adversarial_saml.wrapping import FORMS, MALLORY, beside_encrypted, wrapped, wrapped_inside

IN_THE_CLEAR = {
    "xsw1": (Reason.ELEMENT_NOT_ALLOWED, "Response in Signature"),
    "xsw2": (Reason.ELEMENT_NOT_ALLOWED, "Response in Response"),
    "xsw3": (Reason.ASSERTION_COUNT, "2"),
    "xsw4": (Reason.ELEMENT_NOT_ALLOWED, "Assertion in Assertion"),
    "xsw5": (Reason.ASSERTION_COUNT, "2"),
    "xsw6": (Reason.ELEMENT_NOT_ALLOWED, "Assertion in Signature"),
    "xsw7": (Reason.ELEMENT_NOT_ALLOWED, "unknown element in Response"),
    "xsw8": (Reason.ELEMENT_NOT_ALLOWED, "unknown element in Signature"),
}
IN_THE_CIPHER_TEXT = {
    "xsw1": (Reason.DECRYPTION_FAILED, "another element"),
    "xsw2": (Reason.DECRYPTION_FAILED, "another element"),
    "xsw3": (Reason.DECRYPTION_FAILED, "not one element"),
    "xsw4": (Reason.ELEMENT_NOT_ALLOWED, "Assertion in Assertion"),
    "xsw5": (Reason.DECRYPTION_FAILED, "not one element"),
    "xsw6": (Reason.ELEMENT_NOT_ALLOWED, "Assertion in Signature"),
    "xsw7": (Reason.DECRYPTION_FAILED, "not one element"),
    "xsw8": (Reason.ELEMENT_NOT_ALLOWED, "unknown element in Signature"),
}
BESIDE_THE_CIPHER_TEXT = {
    **IN_THE_CLEAR,
    "xsw4": (Reason.ELEMENT_NOT_ALLOWED, "EncryptedAssertion in Assertion"),
    "xsw6": (Reason.ELEMENT_NOT_ALLOWED, "Assertion in EncryptedAssertion"),
    "xsw8": (Reason.ELEMENT_NOT_ALLOWED, "unknown element in Response"),
}
PLACEMENTS = ["assertion", "response", "response assertion"]


def refusal(verifier: ResponseVerifier, xml: bytes) -> tuple[str, str]:
    with pytest.raises(VerificationError) as caught:
        verifier.verify(posted(xml), expectations(decryption_keys=(pair("sp").sp_key,)))
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_wrapping_around_a_signature_is_refused(verifier: ResponseVerifier, form: str, placement: str) -> None:
    assert refusal(verifier, wrapped(form, placement)) == IN_THE_CLEAR[form]


@pytest.mark.parametrize("form", FORMS)
def test_wrapping_inside_the_cipher_text_is_refused(verifier: ResponseVerifier, form: str) -> None:
    assert refusal(verifier, wrapped_inside(form)) == IN_THE_CIPHER_TEXT[form]


@pytest.mark.parametrize("form", FORMS)
def test_wrapping_around_the_cipher_text_is_refused(verifier: ResponseVerifier, form: str) -> None:
    assert refusal(verifier, beside_encrypted(form)) == BESIDE_THE_CIPHER_TEXT[form]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_the_signed_bytes_never_name_somebody_else_even_without_the_guard(form: str, placement: str) -> None:
    keys = trusted_keys((pair().certificate,))
    for index, _ in enumerate(etree.fromstring(wrapped(form, placement)).iter()):
        element = list(etree.fromstring(wrapped(form, placement)).iter())[index]
        if element.find(f"{{{NS['ds']}}}Signature") is None:
            continue
        try:
            signed = verified(element, keys)
        except VerificationError:
            continue
        assert signed is not None
        assert MALLORY not in etree.tostring(signed, encoding="unicode")
