"""RSA keys and self-signed certificates of this run, as SAML metadata carries them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its certificate, both PEM."""

    private_key: str = field(repr=False)
    certificate: str

    @property
    def bare_certificate(self) -> str:
        """The certificate as one line of base64, as ``ds:X509Certificate`` holds it."""
        return "".join(self.certificate.split("-----")[2].split())

    def write(self, folder: Path, name: str) -> None:
        """Write ``name.key`` and ``name.crt`` into the folder."""
        key = folder / f"{name}.key"
        key.write_text(self.private_key)
        key.chmod(0o600)
        (folder / f"{name}.crt").write_text(self.certificate)


def fresh_key_pair(common_name: str, *, bits: int = 2048) -> KeyPair:
    """A new key with a certificate that was valid yesterday and is tomorrow."""
    key = rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + 30 * DAY)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())
