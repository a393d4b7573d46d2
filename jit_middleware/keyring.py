"""One secret from the operator, a separate key for each purpose.

Keys are derived with HKDF-SHA-256 (RFC 5869), so that a value sealed for one purpose means nothing for another. The
newest secret signs and seals; the older ones still verify and open, so a secret is rotated without a logout.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import b2a_base64
from collections.abc import Sequence
from functools import cached_property
from hmac import compare_digest, digest
from typing import TYPE_CHECKING, Final

from itsdangerous import Signer

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")  # RFC 4648 §5


class Keyring:
    """The operator's secrets, newest first, each at least 32 bytes."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def derive(self, purpose: str) -> tuple[bytes, ...]:
        """One 32-byte key for each secret, newest first."""
        info = b"jit_middleware/" + purpose.encode()
        # RFC 5869 §2.2: no salt is a salt of zeros; §2.3: 32 bytes are the first block.
        extracted = (digest(bytes(32), secret, "sha256") for secret in self._secrets)
        return tuple(digest(key, info + b"\x01", "sha256") for key in extracted)

    def signature(self, purpose: str) -> Signature:
        return Signature(self.derive(purpose))

    def envelope(self, purpose: str) -> Envelope:
        return Envelope(self.derive(purpose))


class Signature:
    """Text that anybody may read and nobody can change: ``text.signature`` by HMAC-SHA-256 (itsdangerous).

    A signed value has one spelling only, since what is compared is the signature as it is written: base64 alone would
    take four, for the spare bits of its last character.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        # One signer for each key, newest first; the keys are derived already.
        self._signers = [_HMACSHA256(key) for key in keys]

    def sign(self, text: str) -> str:
        """``text`` and its signature, cookie-safe when ``text`` is."""
        return self._signers[0].sign(text).decode()

    def unsign(self, signed: str) -> str | None:
        """The text, or ``None`` when the signature does not verify."""
        text, dot, signature = signed.rpartition(".")
        if not dot or not signed.isascii():
            return None
        written = signature.encode()
        for signer in self._signers:
            if compare_digest(signer.get_signature(text), written):
                return text
        return None

    def tag(self, text: str) -> str:
        """A short proof that we have seen ``text``; for CSRF tokens."""
        return self._signers[0].get_signature(text).decode("ascii")

    def tag_matches(self, text: str, tag: str) -> bool:
        return tag.isascii() and compare_digest(self.tag(text), tag)


class _HMACSHA256(Signer):
    """HMAC-SHA-256 (RFC 2104) in one call, with a key that is derived already: a third of what itsdangerous' own steps
    cost, which every new cookie pays."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key, key_derivation="none")
        self._key = key

    def get_signature(self, value: str | bytes) -> bytes:
        text = value.encode() if isinstance(value, str) else value
        return b2a_base64(digest(self._key, text, "sha256"), newline=False).rstrip(b"=").translate(_URL_SAFE)


class Envelope:
    """Text that nobody can read or change: AES-128-CBC with HMAC-SHA-256 (Fernet).

    The cipher is loaded with the first login: a worker that serves sessions alone does without its megabytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    @cached_property
    def _cipher(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in self._keys])

    def seal(self, text: str, now: int) -> str:
        return self._cipher.encrypt_at_time(text.encode(), now).decode("ascii").rstrip("=")

    def open(self, sealed: str, *, now: int, max_age: int | None = None) -> str | None:
        """The text, or ``None`` when it was not sealed here or is older than ``max_age`` seconds."""
        from cryptography.fernet import InvalidToken

        try:
            token = sealed.encode("ascii") + b"=" * (-len(sealed) % 4)
            if max_age is None:
                return self._cipher.decrypt(token).decode()
            return self._cipher.decrypt_at_time(token, max_age, now).decode()
        except (InvalidToken, UnicodeError, ValueError):
            return None
