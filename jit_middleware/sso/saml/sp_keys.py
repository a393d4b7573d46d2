"""Our own keys of one connection, each with its certificate. Raises ``ConfigurationError`` at start, never later."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jit_middleware.errors import ConfigurationError, Fault
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.keys import PublicKey, SPKey, private_key

_SMALLEST_RSA = 2048


def key_pairs(connection: SAMLConnection) -> tuple[SPKey, ...]:
    """The keys in the order given, each with the certificate that has its public half; the first one signs.

    A certificate whose key is not here yet is no fault: it is announced before it is used.
    """
    by_public_half = {_spki(certificate_key(pem, connection)): pem for pem in connection.sp_certificates}
    pairs: list[SPKey] = []
    for number, pem in enumerate(connection.sp_keys, start=1):
        which = "the key" if len(connection.sp_keys) == 1 else f"key number {number}"
        key = private_key(SPKey(pem, ""))
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _SMALLEST_RSA:
            raise _fault(connection, "sp_key", f"{which} has fewer than {_SMALLEST_RSA} bits.", "make a new one.")
        certificate = by_public_half.get(_spki(key.public_key()))
        if certificate is None:
            problem = f"no certificate belongs to {which}."
            raise _fault(connection, "sp_cert", problem, "give the certificate that was made with it.")
        pairs.append(SPKey(pem, certificate))
    return tuple(pairs)


def certificate_key(pem: str, connection: SAMLConnection) -> PublicKey:
    """The public key of a certificate of ours."""
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm) as broken:
        raise _fault(
            connection, "sp_cert", "a certificate in it cannot be read.", "give the whole PEM file."
        ) from broken
    if not isinstance(key, PublicKey):
        raise _fault(connection, "sp_cert", "a certificate in it is neither RSA nor EC.", "make a new key.")
    return key


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _fault(connection: SAMLConnection, setting: str, problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError([Fault(f"connections.{connection.name}.{setting}", problem, fix)])
