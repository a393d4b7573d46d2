"""Signed messages other than Responses: logout messages and metadata in XML, logout messages in a redirect, and ours.

What comes in is believed only if our verifier and libxmlsec agree on it; what goes out is made without libxmlsec.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from dataclasses import field
from typing import Final, Literal
from urllib.parse import quote_plus, unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from jit_middleware.errors import VerificationError
from jit_middleware.records import dataclass
from jit_middleware.sso.saml.exclusive import signature_of, verified
from jit_middleware.sso.saml.keys import ALGORITHMS, SPKey, private_key, trusted_keys
from jit_middleware.sso.saml.names import DSIG, DSIG_MORE, ENVELOPED, EXC_C14N, XENC, assertion, dsig
from jit_middleware.sso.saml.native import is_signed, is_signed_text, register_ids
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element, canonical_bytes, decode_base64, read_signed_document

MessageName = Literal["SAMLRequest", "SAMLResponse"]

_MOST_QUERY: Final = 96 * 1024
_MOST_INFLATED: Final = 64 * 1024
_DEFLATE: Final = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
_NAME: Final = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
_PERCENT: Final = re.compile(r"(?:[!-$&-~]++|%[0-9A-Fa-f]{2})*+")
_RSA_SHA256: Final = f"{DSIG_MORE}rsa-sha256"
_ECDSA_SHA256: Final = f"{DSIG_MORE}ecdsa-sha256"


@dataclass(frozen=True, slots=True)
class RedirectMessage:
    """What a verified redirect carries."""

    xml: bytes = field(repr=False)
    relay_state: str | None


def verify_enveloped(element_bytes: bytes, certificates: tuple[str, ...]) -> bytes:
    """The bytes that were signed of an XML message whose root is signed: canonical XML without the signature.

    Both verifiers agree on them. Raises ``VerificationError``.
    """
    keys = trusted_keys(certificates)
    if not keys:
        raise VerificationError(Reason.CERTIFICATE_UNUSABLE)
    content = verified(read_signed_document(element_bytes), keys)
    if content is None:
        raise VerificationError(Reason.SIGNATURE_MISSING)
    again = read_signed_document(element_bytes)
    register_ids(again)
    signature = signature_of(again)
    if signature is None:
        raise VerificationError(Reason.SIGNATURE_MISSING)
    # No signature covers what it says about keys: libxmlsec has the configured ones, and does not get to see it.
    etree.strip_elements(signature, dsig("KeyInfo"), with_tail=False)
    if not is_signed(signature, keys):
        raise VerificationError(Reason.VERIFIERS_DISAGREE)
    return canonical_bytes(content)


def verify_redirect(raw_query: str, *, message: MessageName, certificates: tuple[str, ...]) -> RedirectMessage:
    """The message in the query string of a signed redirect (SAML Bindings §3.4.4.1).

    The raw query is taken apart once, here: a name that comes twice, that is percent-encoded, or that names the other
    kind of message would let what is verified and what is acted on differ. Raises ``VerificationError``.
    """
    sent = _parameters(raw_query)
    if ("SAMLRequest" in sent) + ("SAMLResponse" in sent) != 1 or message not in sent:
        raise VerificationError(Reason.QUERY_MALFORMED if len(sent) > 1 else Reason.MESSAGE_MISSING)
    if "Signature" not in sent or "SigAlg" not in sent:
        raise VerificationError(Reason.SIGNATURE_MISSING)
    if _text(sent.get("SAMLEncoding", _DEFLATE)) != _DEFLATE:
        raise VerificationError(Reason.QUERY_MALFORMED, "SAMLEncoding")
    name = _text(sent["SigAlg"])
    if name not in ALGORITHMS:
        raise VerificationError(Reason.SIGNATURE_ALGORITHM, "SigAlg")
    keys = trusted_keys(certificates)
    if not keys:
        raise VerificationError(Reason.CERTIFICATE_UNUSABLE)
    # As it was sent, not as it could be written again: encodings differ between implementations.
    signed = "&".join(f"{part}={sent[part]}" for part in (message, "RelayState", "SigAlg") if part in sent).encode()
    signature = decode_base64(_text(sent["Signature"]))
    if not any(ALGORITHMS[name].verifies(key.public, signature, signed) for key in keys):
        raise VerificationError(Reason.SIGNATURE_INVALID)
    if not is_signed_text(signed, signature, name, keys):
        raise VerificationError(Reason.VERIFIERS_DISAGREE)
    xml = inflate(decode_base64(_text(sent[message])))
    return RedirectMessage(xml, _text(sent["RelayState"]) if "RelayState" in sent else None)


def inflate(data: bytes) -> bytes:
    """One whole raw DEFLATE stream (RFC 1951) of at most 64 KiB. Raises ``VerificationError``."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, _MOST_INFLATED + 1)
    except zlib.error:
        raise VerificationError(Reason.DEFLATE_MALFORMED) from None
    if len(inflated) > _MOST_INFLATED:
        raise VerificationError(Reason.MESSAGE_TOO_LARGE)
    if not stream.eof or stream.unused_data:
        raise VerificationError(Reason.DEFLATE_MALFORMED)
    return inflated


def deflate(xml: bytes) -> bytes:
    """The message as a redirect carries it (SAML Bindings §3.4.4.1)."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(xml) + stream.flush()


def sign_enveloped(xml: bytes, key: SPKey) -> bytes:
    """Our message with a signature on its root, which has an ``ID``: behind the Issuer, or first where there is none
    (metadata). RSA-SHA256, or ECDSA-SHA256 with an EC key."""
    root = read_signed_document(xml)
    private = private_key(key)
    content = canonical_bytes(root)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    signature = etree.Element(dsig("Signature"), nsmap={"ds": DSIG})
    info = etree.SubElement(signature, dsig("SignedInfo"))
    etree.SubElement(info, dsig("CanonicalizationMethod"), Algorithm=EXC_C14N)
    etree.SubElement(info, dsig("SignatureMethod"), Algorithm=_algorithm(private))
    reference = etree.SubElement(info, dsig("Reference"), URI=f"#{root.get('ID', '')}")
    transforms = etree.SubElement(reference, dsig("Transforms"))
    etree.SubElement(transforms, dsig("Transform"), Algorithm=ENVELOPED)
    etree.SubElement(transforms, dsig("Transform"), Algorithm=EXC_C14N)
    etree.SubElement(reference, dsig("DigestMethod"), Algorithm=f"{XENC}sha256")
    etree.SubElement(reference, dsig("DigestValue")).text = b64encode(digest.finalize()).decode()
    value = etree.SubElement(signature, dsig("SignatureValue"))
    holder = etree.SubElement(etree.SubElement(signature, dsig("KeyInfo")), dsig("X509Data"))
    etree.SubElement(holder, dsig("X509Certificate")).text = _certificate_base64(key)
    _put_in(root, signature)
    value.text = b64encode(_sign(private, canonical_bytes(info))).decode()
    return etree.tostring(root)


def sign_redirect(url: str, message: MessageName, xml: bytes, relay_state: str | None, key: SPKey) -> str:
    """The URL that carries our message, signed (SAML Bindings §3.4.4.1)."""
    private = private_key(key)
    parts: list[tuple[str, str]] = [(message, b64encode(deflate(xml)).decode())]
    if relay_state is not None:
        parts.append(("RelayState", relay_state))
    parts.append(("SigAlg", _algorithm(private)))
    query = "&".join(f"{name}={quote_plus(value)}" for name, value in parts)
    signature = b64encode(_sign(private, query.encode())).decode()
    return f"{url}{'&' if '?' in url else '?'}{query}&Signature={quote_plus(signature)}"


def _parameters(raw_query: str) -> dict[str, str]:
    """The values as sent, still encoded, by names that need no decoding; each name once."""
    if len(raw_query) > _MOST_QUERY:
        raise VerificationError(Reason.MESSAGE_TOO_LARGE)
    sent: dict[str, str] = {}
    for pair in raw_query.split("&"):
        name, _, value = pair.partition("=")
        if not _NAME.fullmatch(name) or name in sent or not _PERCENT.fullmatch(value):
            raise VerificationError(Reason.QUERY_MALFORMED)
        sent[name] = value
    return sent


def _text(value: str) -> str:
    try:
        return unquote_to_bytes(value.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise VerificationError(Reason.QUERY_MALFORMED, "not UTF-8") from None


def _put_in(root: Element, signature: Element) -> None:
    first = root[0] if len(root) else None
    root.insert(1 if first is not None and first.tag == assertion("Issuer") else 0, signature)


def _algorithm(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return _RSA_SHA256 if isinstance(private, rsa.RSAPrivateKey) else _ECDSA_SHA256


def _sign(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
    length = (private.curve.key_size + 7) // 8
    return r.to_bytes(length) + s.to_bytes(length)


def _certificate_base64(key: SPKey) -> str:
    certificate = x509.load_pem_x509_certificate(key.certificate_pem.encode())
    return b64encode(certificate.public_bytes(Encoding.DER)).decode()
