"""Keys and certificates, read once and kept: configured ones only, and only those that are strong enough.

What a message says about its own key (``ds:KeyInfo``) is never looked at. A certificate's dates are not either: in SAML
it is a container for a key that the configuration trusts (SAML Metadata Interoperability Profile §2.6.1).
"""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from typing import Final, TypeAlias

import xmlsec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.records import dataclass
from jit_middleware.sso.saml.names import DSIG_MORE, DSIG_MORE_2007, XENC

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_SMALLEST_RSA: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_KEPT: Final = 256

DIGESTS: Final = {
    f"{XENC}sha256": hashes.SHA256(),
    f"{DSIG_MORE}sha384": hashes.SHA384(),
    f"{XENC}sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """One algorithm of the list: a family of keys with a hash, and whether RSA pads by PSS (RFC 9231 §2.3)."""

    hash: hashes.HashAlgorithm
    elliptic: bool = False
    pss: bool = False

    def verifies(self, key: PublicKey, signature: bytes, data: bytes) -> bool:
        """Whether this key, if it is of the family, made the signature over ``data``."""
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                if not self.elliptic:
                    return False
                key.verify(_der(signature, key), data, ec.ECDSA(self.hash))
            elif self.elliptic:
                return False
            else:
                key.verify(signature, data, self.padding(), self.hash)
        except InvalidSignature:
            return False
        return True

    def padding(self) -> padding.AsymmetricPadding:
        """How RSA pads: PKCS #1 v1.5, or PSS with a salt as long as the hash."""
        if not self.pss:
            return padding.PKCS1v15()
        return padding.PSS(padding.MGF1(self.hash), self.hash.digest_size)


#: The only signature algorithms there are. No SHA-1, MD5 or RIPEMD, no DSA, and never an HMAC: its key would be public.
ALGORITHMS: Final = {
    f"{DSIG_MORE}rsa-sha256": SignatureAlgorithm(hashes.SHA256()),
    f"{DSIG_MORE}rsa-sha384": SignatureAlgorithm(hashes.SHA384()),
    f"{DSIG_MORE}rsa-sha512": SignatureAlgorithm(hashes.SHA512()),
    f"{DSIG_MORE}ecdsa-sha256": SignatureAlgorithm(hashes.SHA256(), elliptic=True),
    f"{DSIG_MORE}ecdsa-sha384": SignatureAlgorithm(hashes.SHA384(), elliptic=True),
    f"{DSIG_MORE}ecdsa-sha512": SignatureAlgorithm(hashes.SHA512(), elliptic=True),
    f"{DSIG_MORE_2007}sha256-rsa-MGF1": SignatureAlgorithm(hashes.SHA256(), pss=True),
    f"{DSIG_MORE_2007}sha384-rsa-MGF1": SignatureAlgorithm(hashes.SHA384(), pss=True),
    f"{DSIG_MORE_2007}sha512-rsa-MGF1": SignatureAlgorithm(hashes.SHA512(), pss=True),
}


@dataclass(frozen=True, slots=True)
class SPKey:
    """A key pair of ours, PEM: for signing what we send and opening what is encrypted for us."""

    private_key_pem: str = field(repr=False)
    certificate_pem: str


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """The public key of a configured certificate, as each of the two verifiers wants it."""

    public: PublicKey
    native: xmlsec.Key


@lru_cache(maxsize=_KEPT)
def trusted_key(certificate_pem: str) -> TrustedKey | None:
    """The key of a configured certificate; ``None`` when it is unreadable or too weak to decide anything."""
    try:
        public = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(public, rsa.RSAPublicKey):
        fit = public.key_size >= _SMALLEST_RSA
    elif isinstance(public, ec.EllipticCurvePublicKey):
        fit = isinstance(public.curve, _CURVES)
    else:
        return None
    if not fit:
        return None
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(public, xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem))


def trusted_keys(certificates: tuple[str, ...]) -> tuple[TrustedKey, ...]:
    """The usable keys among the configured certificates. One odd certificate does not stop all logins."""
    return tuple(key for pem in certificates if (key := trusted_key(pem)) is not None)


@lru_cache(maxsize=_KEPT)
def private_key(key: SPKey) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """The private half of our own key. Raises ``ConfigurationError`` for one that cannot be used."""
    try:
        loaded = load_pem_private_key(key.private_key_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unusable("it is no unencrypted PEM private key.") from None
    if isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return loaded
    raise _unusable("it is neither an RSA nor an EC key.")


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError([Fault("saml sp_key", problem, "Give an unencrypted RSA (2048 bits or more) or EC key.")])


def _der(signature: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """XML Signature writes r and s side by side, each as long as the curve's order (RFC 9231 §2.3.6)."""
    length = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * length:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:length]), int.from_bytes(signature[length:]))
