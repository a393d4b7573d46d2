"""The guard: what a Response may look like at all. It stands before every library and cannot be switched off.

A table says which element may hold which others and which XML attributes each may have; everything else is refused.
That closes signature wrapping by structure (an assertion has one place, and there is one), and keeps references,
transforms, key retrieval and foreign content away from the code that would follow them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from jit_middleware.errors import ProviderRefused, VerificationError
from jit_middleware.sso.saml.exclusive import read_envelope
from jit_middleware.sso.saml.names import (
    ASSERTION,
    DSIG,
    EXC_C14N,
    PROTOCOL,
    SUCCESS,
    XENC,
    XENC11,
    XML,
    assertion,
    dsig,
    protocol,
    xenc,
)
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element, local_name

#: Characters of base64 that may be sent: refused before anything is decoded.
MOST_CHARACTERS: Final = 256 * 1024

_RESPONSE: Final = protocol("Response")
_ASSERTION: Final = assertion("Assertion")
_ENCRYPTED: Final = assertion("EncryptedAssertion")
_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,255}")
_NAMED_STATUS: Final = re.compile(r"urn:oasis:names:tc:SAML:2\.0:status:([A-Za-z]{1,64})")


def check_response(root: Element) -> set[str]:
    """Give the IDs of a Response, and refuse one of any shape but the plain one: see the table below.

    Raises ``ProviderRefused`` when the provider says that it did not sign the person in, ``VerificationError`` for
    everything else.
    """
    if root.tag != _RESPONSE:
        raise VerificationError(Reason.NOT_A_RESPONSE)
    _check_status(root)
    ids = check_shape(root)
    kinds = [child.tag for child in root if child.tag in {_ASSERTION, _ENCRYPTED}]
    if len(kinds) != 1:
        raise VerificationError(Reason.ASSERTION_COUNT, str(len(kinds)))
    signed = [read_envelope(parent) for parent in (root, *root.iterchildren(_ASSERTION))]
    if kinds == [_ASSERTION] and not any(signed):
        raise VerificationError(Reason.SIGNATURE_MISSING)
    return ids


def check_opened(element: Element, kind: str, ids: set[str]) -> None:
    """The same for what came out of an encrypted element: it is of this ``kind``, and adds its IDs to ``ids``."""
    if element.tag != assertion(kind):
        raise VerificationError(Reason.DECRYPTION_FAILED, "another element")
    check_shape(element, ids)
    read_envelope(element)


def check_shape(root: Element, ids: set[str] | None = None) -> set[str]:
    """Only elements where the table has them, with its XML attributes, text only in leaves, and every ID once."""
    seen = set[str]() if ids is None else ids
    _check_element(root, str(root.tag), seen)
    return seen


def _check_element(element: Element, tag: str, seen: set[str]) -> None:
    """One element and all below it; the table bounds the depth, and where it does not, the parser does."""
    children, attributes = _ALLOWED[tag]
    _check_attributes(element, attributes, seen)
    blank = True
    for child in element:
        inner = str(child.tag)
        if inner not in children:
            raise VerificationError(Reason.ELEMENT_NOT_ALLOWED, f"{_shown(child)} in {local_name(element)}")
        tail = child.tail
        blank = blank and (not tail or tail.isspace())
        _check_element(child, inner, seen)
    text = element.text
    # Indentation between elements; in a leaf, text is what the element is for.
    if len(element) and not (blank and (not text or text.isspace())):
        raise VerificationError(Reason.TEXT_NOT_ALLOWED, local_name(element))


def _check_attributes(element: Element, allowed: frozenset[str], seen: set[str]) -> None:
    identifier = None
    for name, value in element.items():
        if name not in allowed:
            _check_foreign(element, name, allowed)
        elif name in {"ID", "Id"}:
            identifier = value
            _check_id(value, seen)
    if identifier is None and "ID" in allowed:
        raise VerificationError(Reason.ID_MALFORMED, f"none on {local_name(element)}")


def _check_foreign(element: Element, name: str, allowed: frozenset[str]) -> None:
    """Names of other vocabularies only where SAML leaves room for them (SAML Core §2.7.3.1), and none that any reader
    could take for an identifier or for the base of one."""
    if not name.startswith("{"):
        raise VerificationError(Reason.ATTRIBUTE_NOT_ALLOWED, f"on {local_name(element)}")
    namespace, _, local = name[1:].partition("}")
    if _FOREIGN not in allowed or namespace == XML or local.lower() == "id":
        raise VerificationError(Reason.ATTRIBUTE_NOT_ALLOWED, f"foreign on {local_name(element)}")


def _check_id(value: str, seen: set[str]) -> None:
    if not _ID.fullmatch(value):
        raise VerificationError(Reason.ID_MALFORMED)
    if value in seen:
        raise VerificationError(Reason.ID_DUPLICATE)
    seen.add(value)


def _check_status(root: Element) -> None:
    """One top-level status code, and it is Success (SAML Core §3.2.2.2)."""
    codes = [code for status in root.iterchildren(protocol("Status")) for code in status if code.tag == _STATUS_CODE]
    if len(codes) != 1 or not codes[0].get("Value"):
        raise VerificationError(Reason.STATUS_MALFORMED)
    if codes[0].get("Value") == SUCCESS:
        return
    # The second level says more: NoPassive, AuthnFailed, RequestDenied (SAML Core §3.2.2.2).
    deepest = next(codes[0].iterchildren(_STATUS_CODE), codes[0])
    named = _NAMED_STATUS.fullmatch(deepest.get("Value", ""))
    raise ProviderRefused(Reason.STATUS_NOT_SUCCESS, named[1] if named else "")


def _shown(element: Element) -> str:
    """The local name if the vocabulary is known, nothing of the sender's own choosing otherwise."""
    return local_name(element) if element.tag in _ALLOWED else "unknown element"


_STATUS_CODE: Final = protocol("StatusCode")
_FOREIGN: Final = "*"
_NOTHING: Final = ((), "")


_Allowed: TypeAlias = tuple[frozenset[str], frozenset[str]]


def _table(**vocabularies: Mapping[str, tuple[tuple[str, ...], str]]) -> dict[str, _Allowed]:
    return {
        f"{{{_NAMESPACES[vocabulary]}}}{name}": (frozenset(children), frozenset(attributes.split()))
        for vocabulary, elements in vocabularies.items()
        for name, (children, attributes) in elements.items()
    }


_NAMESPACES: Final = {
    "samlp": PROTOCOL,
    "saml": ASSERTION,
    "ds": DSIG,
    "xenc": XENC,
    "xenc11": XENC11,
    "exc": EXC_C14N,
}
_NAME_ATTRIBUTES: Final = "Format NameQualifier SPNameQualifier SPProvidedID"
_ENCRYPTED_ATTRIBUTES: Final = "Id Type MimeType Encoding"
_ENCRYPTED_CHILDREN: Final = (xenc("EncryptionMethod"), dsig("KeyInfo"), xenc("CipherData"))

#: element → (elements it may hold, XML attributes it may have; ``*``: also those of other vocabularies).
_ALLOWED: Final = _table(
    samlp={
        "Response": (
            (assertion("Issuer"), dsig("Signature"), protocol("Status"), _ASSERTION, _ENCRYPTED),
            "ID Version IssueInstant Destination InResponseTo Consent",
        ),
        "Status": ((_STATUS_CODE, protocol("StatusMessage"), protocol("StatusDetail")), ""),
        "StatusCode": ((_STATUS_CODE,), "Value"),
        "StatusMessage": _NOTHING,
        "StatusDetail": _NOTHING,
    },
    saml={
        "Issuer": ((), _NAME_ATTRIBUTES),
        "Assertion": (
            (
                assertion("Issuer"),
                dsig("Signature"),
                assertion("Subject"),
                assertion("Conditions"),
                assertion("AuthnStatement"),
                assertion("AttributeStatement"),
            ),
            "ID Version IssueInstant",
        ),
        "EncryptedAssertion": ((xenc("EncryptedData"),), ""),
        "EncryptedID": ((xenc("EncryptedData"),), ""),
        "Subject": ((assertion("NameID"), assertion("EncryptedID"), assertion("SubjectConfirmation")), ""),
        "NameID": ((), _NAME_ATTRIBUTES),
        "SubjectConfirmation": ((assertion("SubjectConfirmationData"),), "Method"),
        "SubjectConfirmationData": ((), "NotBefore NotOnOrAfter Recipient InResponseTo Address"),
        "Conditions": ((assertion("AudienceRestriction"), assertion("OneTimeUse")), "NotBefore NotOnOrAfter"),
        "AudienceRestriction": ((assertion("Audience"),), ""),
        "Audience": _NOTHING,
        "OneTimeUse": _NOTHING,
        "AuthnStatement": (
            (assertion("SubjectLocality"), assertion("AuthnContext")),
            "AuthnInstant SessionIndex SessionNotOnOrAfter",
        ),
        "SubjectLocality": ((), "Address DNSName"),
        "AuthnContext": (
            (
                assertion("AuthnContextClassRef"),
                assertion("AuthnContextDeclRef"),
                assertion("AuthenticatingAuthority"),
            ),
            "",
        ),
        "AuthnContextClassRef": _NOTHING,
        "AuthnContextDeclRef": _NOTHING,
        "AuthenticatingAuthority": _NOTHING,
        "AttributeStatement": ((assertion("Attribute"),), ""),
        "Attribute": ((assertion("AttributeValue"),), "Name NameFormat FriendlyName *"),
        "AttributeValue": ((assertion("NameID"),), "*"),
    },
    ds={
        "Signature": ((dsig("SignedInfo"), dsig("SignatureValue"), dsig("KeyInfo")), "Id"),
        "SignedInfo": ((dsig("CanonicalizationMethod"), dsig("SignatureMethod"), dsig("Reference")), "Id"),
        "CanonicalizationMethod": ((f"{{{EXC_C14N}}}InclusiveNamespaces",), "Algorithm"),
        "SignatureMethod": ((), "Algorithm"),
        "Reference": ((dsig("Transforms"), dsig("DigestMethod"), dsig("DigestValue")), "Id URI Type"),
        "Transforms": ((dsig("Transform"),), ""),
        "Transform": ((f"{{{EXC_C14N}}}InclusiveNamespaces",), "Algorithm"),
        "DigestMethod": ((), "Algorithm"),
        "DigestValue": _NOTHING,
        "SignatureValue": ((), "Id"),
        "KeyInfo": ((dsig("X509Data"), dsig("KeyName"), dsig("KeyValue"), xenc("EncryptedKey")), "Id"),
        "KeyName": _NOTHING,
        "KeyValue": ((dsig("RSAKeyValue"),), ""),
        "RSAKeyValue": ((dsig("Modulus"), dsig("Exponent")), ""),
        "Modulus": _NOTHING,
        "Exponent": _NOTHING,
        "X509Data": (
            (
                dsig("X509Certificate"),
                dsig("X509SubjectName"),
                dsig("X509IssuerSerial"),
                dsig("X509SKI"),
            ),
            "",
        ),
        "X509Certificate": _NOTHING,
        "X509SubjectName": _NOTHING,
        "X509SKI": _NOTHING,
        "X509IssuerSerial": ((dsig("X509IssuerName"), dsig("X509SerialNumber")), ""),
        "X509IssuerName": _NOTHING,
        "X509SerialNumber": _NOTHING,
    },
    xenc={
        "EncryptedData": (_ENCRYPTED_CHILDREN, _ENCRYPTED_ATTRIBUTES),
        "EncryptedKey": (_ENCRYPTED_CHILDREN, f"{_ENCRYPTED_ATTRIBUTES} Recipient"),
        "EncryptionMethod": ((dsig("DigestMethod"), f"{{{XENC11}}}MGF"), "Algorithm"),
        "CipherData": ((xenc("CipherValue"),), ""),
        "CipherValue": _NOTHING,
    },
    xenc11={"MGF": ((), "Algorithm")},
    exc={"InclusiveNamespaces": ((), "PrefixList")},
)
