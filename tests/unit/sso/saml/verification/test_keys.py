"""Which keys count: configured ones, strong ones, and each only for the algorithms of its family."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from jit_middleware.errors import ConfigurationError
from jit_middleware.sso.saml.keys import ALGORITHMS, SPKey, private_key, trusted_key, trusted_keys
from tests.adversarial_saml.mint import Pair, pair

MORE = "http://www.w3.org/2001/04/xmldsig-more#"
DATA = b"signed text"


def rsa_signature(key: Pair) -> bytes:
    private = load_pem_private_key(key.private.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.sign(DATA, padding.PKCS1v15(), hashes.SHA256())


def test_an_rsa_key_signs_rsa_only() -> None:
    key = trusted_key(pair().certificate)
    assert key is not None
    verifying = [
        name for name, algorithm in ALGORITHMS.items() if algorithm.verifies(key.public, rsa_signature(pair()), DATA)
    ]
    assert verifying == [f"{MORE}rsa-sha256"]


def test_an_ec_key_signs_ecdsa_only_and_not_in_der() -> None:
    ours = pair("elliptic", elliptic=True)
    key, private = trusted_key(ours.certificate), load_pem_private_key(ours.private.encode(), None)
    assert key is not None
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    der = private.sign(DATA, ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    raw = r.to_bytes(32) + s.to_bytes(32)
    for name, algorithm in ALGORITHMS.items():
        assert algorithm.verifies(key.public, raw, DATA) == (name == f"{MORE}ecdsa-sha256")
        assert not algorithm.verifies(key.public, der, DATA)


def test_weak_and_odd_certificates_do_not_count_and_stop_nothing() -> None:
    certificates = ("", "junk", pair("weak", bits=1024).certificate, pair().certificate)
    assert [key.public for key in trusted_keys(certificates)] == [trusted_keys((pair().certificate,))[0].public]


@pytest.mark.parametrize("pem", ["", "junk", pair().certificate])
def test_a_private_key_of_ours_that_is_none(pem: str) -> None:
    with pytest.raises(ConfigurationError):
        private_key(SPKey(pem, pair().certificate))
