"""One secret from the operator, a separate key for each purpose.

Keys are derived with HKDF-SHA-256 (RFC 5869), so that a value sealed for one purpose means nothing for another. The
newest secret signs and seals; the older ones still verify and open, so a secret is rotated without a logout.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest, digest

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, Signer


class Keyring:
    """The operator's secrets, newest first, each at least 32 bytes."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        """One 32-byte key for each secret, newest first."""
        info = b"jit_middleware/" + purpose.encode()
        return tuple(
            HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret) for secret in self._secrets
        )

    def signature(self, purpose: str) -> Signature:
        return Signature(self.derive(purpose))

    def envelope(self, purpose: str) -> Envelope:
        return Envelope(self.derive(purpose))


class Signature:
    """Text that anybody may read and nobody can change."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        # The keys are derived already: itsdangerous signs with the last of its list and verifies with any.
        self._signer = Signer(list(reversed(keys)), key_derivation="none", digest_method=sha256)
        self._newest = keys[0]

    def sign(self, text: str) -> str:
        """``text`` and its signature, cookie-safe when ``text`` is."""
        return self._signer.sign(text).decode("ascii")

    def unsign(self, signed: str) -> str | None:
        """The text, or ``None`` when the signature does not verify."""
        try:
            return self._signer.unsign(signed).decode("ascii")
        except (BadSignature, UnicodeError):
            return None

    def tag(self, text: str) -> str:
        """A short proof that we have seen ``text``; for CSRF tokens."""
        return urlsafe_b64encode(digest(self._newest, text.encode(), "sha256")).decode("ascii").rstrip("=")

    def tag_matches(self, text: str, tag: str) -> bool:
        return compare_digest(self.tag(text).encode(), tag.encode("utf-8", "surrogatepass"))


class Envelope:
    """Text that nobody can read or change: AES-128-CBC with HMAC-SHA-256 (Fernet)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._cipher = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])

    def seal(self, text: str, now: int) -> str:
        return self._cipher.encrypt_at_time(text.encode(), now).decode("ascii").rstrip("=")

    def open(self, sealed: str, *, now: int, max_age: int | None = None) -> str | None:
        """The text, or ``None`` when it was not sealed here or is older than ``max_age`` seconds."""
        try:
            token = sealed.encode("ascii") + b"=" * (-len(sealed) % 4)
            if max_age is None:
                return self._cipher.decrypt(token).decode()
            return self._cipher.decrypt_at_time(token, max_age, now).decode()
        except (InvalidToken, UnicodeError, ValueError):
            return None
