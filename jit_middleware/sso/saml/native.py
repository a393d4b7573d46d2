"""libxmlsec, the other of the two verifiers: asked about a signature after ours has accepted it.

It gets one configured key and no key store, so that nothing a message says about keys is followed.
"""

from __future__ import annotations

from typing import Final

import xmlsec

from jit_middleware.sso.saml.keys import TrustedKey
from jit_middleware.sso.saml.names import DSIG_MORE, DSIG_MORE_2007
from jit_middleware.sso.saml.tree import Element

_TRANSFORMS: Final = {
    f"{DSIG_MORE}rsa-sha256": xmlsec.constants.TransformRsaSha256,
    f"{DSIG_MORE}rsa-sha384": xmlsec.constants.TransformRsaSha384,
    f"{DSIG_MORE}rsa-sha512": xmlsec.constants.TransformRsaSha512,
    f"{DSIG_MORE}ecdsa-sha256": xmlsec.constants.TransformEcdsaSha256,
    f"{DSIG_MORE}ecdsa-sha384": xmlsec.constants.TransformEcdsaSha384,
    f"{DSIG_MORE}ecdsa-sha512": xmlsec.constants.TransformEcdsaSha512,
}


def register_ids(root: Element) -> None:
    """Tell libxml2 which XML attributes are identifiers: ``ID`` everywhere in this tree."""
    xmlsec.tree.add_ids(root, ["ID"])


def is_signed(signature: Element, keys: tuple[TrustedKey, ...]) -> bool:
    """Whether one of the keys made this ``ds:Signature``, whose reference is registered."""
    return any(_is_signed_with(signature, key) for key in keys)


def is_signed_text(text: bytes, signature: bytes, algorithm: str, keys: tuple[TrustedKey, ...]) -> bool:
    """Whether one of the keys made the signature over these bytes; also when libxmlsec has no name for the algorithm
    outside of XML (RSA-PSS), in which case it has nothing to say."""
    if algorithm not in _TRANSFORMS:
        return algorithm.startswith(DSIG_MORE_2007)
    return any(_is_text_signed_with(text, signature, algorithm, key) for key in keys)


def _is_signed_with(signature: Element, key: TrustedKey) -> bool:
    context = xmlsec.SignatureContext()
    context.key = key.native
    try:
        context.verify(signature)
    except xmlsec.Error:
        return False
    return True


def _is_text_signed_with(text: bytes, signature: bytes, algorithm: str, key: TrustedKey) -> bool:
    context = xmlsec.SignatureContext()
    context.key = key.native
    try:
        context.verify_binary(text, _TRANSFORMS[algorithm], signature)
    except xmlsec.Error:
        return False
    return True
