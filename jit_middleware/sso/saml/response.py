"""The verification boundary: a posted SAMLResponse goes in, a ``VerifiedAssertion`` comes out, or one class of error.

The order is the argument. The guard judges the shape before anything is computed. Our own verifier gives back the
bytes that were signed, and from here on only those are read: an encrypted assertion is taken from the verified
Response, a name from the verified assertion. Then the exact checks. Last, python3-saml and libxmlsec must accept the
same message and see the same person in it: the library with the larger surface sees only what already verified.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.decryption import open_encrypted
from jit_middleware.sso.saml.exclusive import signature_of, verified
from jit_middleware.sso.saml.expectations import Expectations, VerifiedAssertion
from jit_middleware.sso.saml.guard import MOST_CHARACTERS, check_opened, check_response
from jit_middleware.sso.saml.keys import SPKey, TrustedKey, trusted_keys
from jit_middleware.sso.saml.names import assertion
from jit_middleware.sso.saml.person import read_attributes, read_name, read_session_index
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.recheck import check_assertion, check_authentication, check_message
from jit_middleware.sso.saml.toolkit import Opened, Toolkit
from jit_middleware.sso.saml.tree import Element, decode_base64, read_xml

__all__ = ["Expectations", "ResponseVerifier", "SPKey", "VerifiedAssertion"]

_ASSERTION: Final = assertion("Assertion")
_ENCRYPTED: Final = assertion("EncryptedAssertion")


class ResponseVerifier:
    """Verifies SAML Responses, of any connection: what differs comes with the ``Expectations``.

    Schemas and keys are read once and kept. A verification is pure computation: no network, no file, about a
    millisecond; it may run in any thread.
    """

    def __init__(self) -> None:
        self._toolkit = Toolkit()

    def verify(self, saml_response_b64: str, expected: Expectations) -> VerifiedAssertion:
        """The assertion in this Response, every check passed.

        Raises ``VerificationError`` with the ``Reason``, ``ProviderRefused`` when the provider itself says no, and
        ``ConfigurationError`` when a key of ours cannot be used.
        """
        xml = _decoded(saml_response_b64)
        keys = trusted_keys(expected.idp_certificates)
        if not keys:
            raise VerificationError(Reason.CERTIFICATE_UNUSABLE)
        root = read_xml(xml)
        ids = check_response(root)
        response, believed, opened = _signed_parts(root, ids, keys, expected)
        check_message(response, expected)
        issued, until = check_assertion(believed, expected)
        statement = _only_statement(believed)
        signed_in, context, ends = check_authentication(statement, expected)
        name_id, opened_name = _name_id(believed, ids, expected)
        name = read_name(name_id, expected)
        attributes, friendly_names = read_attributes(believed)
        identifier = believed.get("ID", "")
        self._toolkit.confirm(xml, expected, (identifier, name.text), keys, Opened(opened, opened_name))
        return VerifiedAssertion(
            assertion_id=identifier,
            issuer=expected.idp_entity_id,
            name_id=name.text,
            name_id_format=name.format,
            name_qualifier=name.qualifier,
            sp_name_qualifier=name.sp_qualifier,
            session_index=read_session_index(statement),
            session_not_on_or_after=ends,
            authn_instant=signed_in,
            authn_context=context,
            attributes=attributes,
            friendly_names=friendly_names,
            not_on_or_after=until,
            issued_at=issued,
        )


def _decoded(saml_response_b64: str) -> bytes:
    if not saml_response_b64:
        raise VerificationError(Reason.MESSAGE_MISSING)
    if len(saml_response_b64) > MOST_CHARACTERS:
        raise VerificationError(Reason.MESSAGE_TOO_LARGE)
    return decode_base64(saml_response_b64)


def _signed_parts(
    root: Element, ids: set[str], keys: tuple[TrustedKey, ...], expected: Expectations
) -> tuple[Element, Element, Element | None]:
    """The Response and the assertion to go on with, and the assertion in the clear if it was encrypted.

    The assertion is always read from signed bytes, its own or else the Response's; the Response where it is signed.
    """
    # An inner signature may count on prefixes declared around it that the canonical Response no longer declares.
    untouched = deepcopy(root).find(_ASSERTION) if signature_of(root) is not None else None
    outer = verified(root, keys)
    response = root if outer is None else outer
    plain, opened = response.find(_ASSERTION), None
    if plain is None:
        encrypted = next(response.iterchildren(_ENCRYPTED))
        plain = open_encrypted(encrypted, expected.decryption_keys, signed_outside=outer is not None)
        check_opened(plain, "Assertion", ids)
        opened = deepcopy(plain)
    inner = verified(plain if untouched is None else untouched, keys)
    if inner is None and outer is None:
        raise VerificationError(Reason.SIGNATURE_MISSING)
    # SAML Profiles §4.1.4.2 with erratum E26: who sends it must be named where the message is signed or encrypted.
    if (outer is not None or opened is not None) and response.find(assertion("Issuer")) is None:
        raise VerificationError(Reason.ISSUER_MISMATCH, "a signed or encrypted Response without Issuer")
    return response, plain if inner is None else inner, opened


def _only_statement(believed: Element) -> Element:
    statements = list(believed.iterchildren(assertion("AuthnStatement")))
    if len(statements) != 1:
        raise VerificationError(Reason.AUTHN_STATEMENT_COUNT, str(len(statements)))
    return statements[0]


def _name_id(believed: Element, ids: set[str], expected: Expectations) -> tuple[Element, Element | None]:
    """The one name of the subject, opened if it is encrypted: the signature over the assertion covers it."""
    names = [
        child
        for subject in believed.iterchildren(assertion("Subject"))
        for child in subject
        if child.tag != assertion("SubjectConfirmation")
    ]
    if len(names) != 1:
        raise VerificationError(Reason.SUBJECT_MISSING, f"{len(names)} names")
    if names[0].tag == assertion("NameID"):
        return names[0], None
    opened = open_encrypted(names[0], expected.decryption_keys, signed_outside=True)
    check_opened(opened, "NameID", ids)
    return opened, opened
