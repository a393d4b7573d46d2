"""Our own verifier of enveloped XML signatures: a signature is matched against the one template SAML prescribes, and
what comes back is not "valid" but the bytes that were signed.

It shares libxml2 with libxmlsec, for parsing and canonicalizing, and nothing else: digest and signature are made by
cryptography. No URI is resolved and no transform is run: the template leaves one meaning, the parent element without
this signature, exclusively canonicalized (SAML Core §5.4).
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives import hashes

from jit_middleware.errors import VerificationError
from jit_middleware.records import dataclass
from jit_middleware.sso.saml.keys import ALGORITHMS, DIGESTS, SignatureAlgorithm, TrustedKey
from jit_middleware.sso.saml.names import ENVELOPED, EXC_C14N, dsig
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element, canonical_bytes, element_base64, reread

_SIGNATURE: Final = dsig("Signature")
# Without comments in the message, which the reader sees to, both forms give the same bytes.
_CANONICALIZATIONS: Final = frozenset({EXC_C14N, f"{EXC_C14N}WithComments"})
_INCLUSIVE: Final = f"{{{EXC_C14N}}}InclusiveNamespaces"
_MOST_PREFIXES: Final = 32


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature that has the shape it must have. Nothing is verified yet."""

    signature: Element
    signed_info: Element
    signed_info_prefixes: list[str] | None
    content_prefixes: list[str] | None
    digest: hashes.HashAlgorithm
    digest_value: bytes
    algorithm: SignatureAlgorithm
    signature_value: bytes


def signature_of(parent: Element) -> Element | None:
    """The one signature that is a child of this element, ``None`` when there is none."""
    found = [child for child in parent if child.tag == _SIGNATURE]
    if len(found) > 1:
        raise VerificationError(Reason.SIGNATURE_MALFORMED, "several on one element")
    return found[0] if found else None


def read_envelope(parent: Element) -> Envelope | None:
    """The signature on this element if it is enveloped, over exactly this element, by listed algorithms; ``None`` when
    it has none. Raises ``VerificationError`` for a signature of any other shape."""
    signature = signature_of(parent)
    if signature is None:
        return None
    info, value, *rest = _children(signature, "SignedInfo", "SignatureValue", optional="KeyInfo")
    del rest  # KeyInfo: the keys are the configured ones, whatever it says
    method, algorithm, reference = _children(info, "CanonicalizationMethod", "SignatureMethod", "Reference")
    if method.get("Algorithm") not in _CANONICALIZATIONS:
        raise VerificationError(Reason.SIGNATURE_TRANSFORM, "CanonicalizationMethod")
    if len(algorithm) or algorithm.get("Algorithm", "") not in ALGORITHMS:
        raise VerificationError(Reason.SIGNATURE_ALGORITHM, "SignatureMethod")
    identifier = parent.get("ID")
    if not identifier or reference.get("URI") != f"#{identifier}":
        raise VerificationError(Reason.SIGNATURE_REFERENCE)
    transforms, digest, digest_value = _children(reference, "Transforms", "DigestMethod", "DigestValue")
    if digest.get("Algorithm", "") not in DIGESTS:
        raise VerificationError(Reason.SIGNATURE_ALGORITHM, "DigestMethod")
    return Envelope(
        signature=signature,
        signed_info=info,
        signed_info_prefixes=_inclusive_prefixes(method),
        content_prefixes=_transform_prefixes(transforms),
        digest=DIGESTS[digest.get("Algorithm", "")],
        digest_value=element_base64(digest_value),
        algorithm=ALGORITHMS[algorithm.get("Algorithm", "")],
        signature_value=element_base64(value),
    )


def verified(parent: Element, keys: tuple[TrustedKey, ...]) -> Element | None:
    """What was signed on this element, read anew from the signed bytes; ``None`` without a signature.

    The signature is taken out of ``parent``. Raises ``VerificationError``.
    """
    envelope = read_envelope(parent)
    if envelope is None:
        return None
    signed_info = canonical_bytes(envelope.signed_info, envelope.signed_info_prefixes)
    if not any(envelope.algorithm.verifies(key.public, envelope.signature_value, signed_info) for key in keys):
        raise VerificationError(Reason.SIGNATURE_INVALID)
    _take_out(envelope.signature)
    content = canonical_bytes(parent, envelope.content_prefixes)
    digest = hashes.Hash(envelope.digest)
    digest.update(content)
    if not hmac.compare_digest(digest.finalize(), envelope.digest_value):
        raise VerificationError(Reason.DIGEST_MISMATCH)
    return reread(content)


def _children(parent: Element, *names: str, optional: str = "") -> list[Element]:
    """Exactly these children, in this order, and perhaps one more at the end."""
    children = list(parent)
    tags = [child.tag for child in children]
    wanted = [dsig(name) for name in names]
    if tags != wanted and not (optional and tags == [*wanted, dsig(optional)]):
        few = dsig("Reference") in wanted
        raise VerificationError(Reason.SIGNATURE_REFERENCE if few else Reason.SIGNATURE_MALFORMED)
    return children


def _transform_prefixes(transforms: Element) -> list[str] | None:
    """SAML Core §5.4.4: the enveloped signature transform, then exclusive canonicalization, and no other."""
    found = list(transforms)
    if [one.tag for one in found] != [dsig("Transform")] * 2:
        raise VerificationError(Reason.SIGNATURE_TRANSFORM, "not two")
    enveloped, exclusive = found
    if enveloped.get("Algorithm") != ENVELOPED or len(enveloped):
        raise VerificationError(Reason.SIGNATURE_TRANSFORM, "first")
    if exclusive.get("Algorithm") not in _CANONICALIZATIONS:
        raise VerificationError(Reason.SIGNATURE_TRANSFORM, "second")
    return _inclusive_prefixes(exclusive)


def _inclusive_prefixes(method: Element) -> list[str] | None:
    """The PrefixList of a canonicalization (Exclusive XML Canonicalization 1.0 §3)."""
    if not len(method):
        return None
    if len(method) > 1 or method[0].tag != _INCLUSIVE or len(method[0]):
        raise VerificationError(Reason.SIGNATURE_TRANSFORM, "parameters")
    prefixes = method[0].get("PrefixList", "").split()
    if len(prefixes) > _MOST_PREFIXES:
        raise VerificationError(Reason.SIGNATURE_TRANSFORM, "PrefixList")
    return prefixes or None


def _take_out(signature: Element) -> None:
    """Remove the signature and nothing else: the text behind it belongs to the signed element."""
    parent = signature.getparent()
    assert parent is not None
    if signature.tail:
        before = signature.getprevious()
        if before is None:
            parent.text = (parent.text or "") + signature.tail
        else:
            before.tail = (before.tail or "") + signature.tail
    parent.remove(signature)
