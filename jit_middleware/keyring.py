"""One secret from the operator, a separate key for each purpose.

Keys are derived with HKDF-SHA-256 (RFC 5869), so that a value sealed for one purpose means nothing for another. The
newest secret signs and seals; the older ones still verify and open, so a secret is rotated without a logout.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import cached_property
from hmac import compare_digest, digest
from typing import TYPE_CHECKING, Final

from itsdangerous import Signer

from jit_middleware.ports import TokenSource

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")

_NONCE: Final = bytes(12)
"""The same for all, since every key seals once."""
_TIME: Final = 8
"""Bytes of the time, in whole seconds, that stand before the text."""
_SKEW: Final = 60
"""Seconds by which the clock of the host that sealed may be ahead."""


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

    def envelope(self, purpose: str, tokens: TokenSource) -> Envelope:
        return Envelope(self.derive(purpose), tokens)


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
        return _base64(digest(self._key, text, "sha256"))


class Envelope:
    """Text that nobody can read or change: AES-256-GCM (NIST SP 800-38D), each text under a key of its own.

    Sealed it is ``salt.rest``, the rest being ciphertext and tag in base64url. Its key is HKDF-Expand (RFC 5869 §2.3)
    of ours and the salt, so that no key seals twice: anybody who begins a login has us seal something, and a nonce
    drawn for each would meet itself one day.

    The cipher is loaded with the first login: a worker that serves sessions alone does without its megabytes.
    """

    def __init__(self, keys: Sequence[bytes], tokens: TokenSource) -> None:
        self._keys = tuple(keys)
        self._tokens = tokens

    @cached_property
    def _cipher(self) -> type[AESGCM]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM

    @cached_property
    def _forged(self) -> type[Exception]:
        from cryptography.exceptions import InvalidTag

        return InvalidTag

    def seal(self, text: str, now: int) -> str:
        salt = self._tokens(24)
        content = now.to_bytes(_TIME, "big") + text.encode()
        return f"{salt}.{_base64(self._once(self._keys[0], salt).encrypt(_NONCE, content, None)).decode()}"

    def open(self, sealed: str, *, now: int, max_age: int | None = None) -> str | None:
        """The text, or ``None`` when it was not sealed here, is older than ``max_age`` seconds or from the future."""
        salt, dot, rest = sealed.partition(".")
        encrypted = _from_base64(rest)
        if not dot or encrypted is None or not salt.isascii():
            return None
        for key in self._keys:
            try:
                content = self._once(key, salt).decrypt(_NONCE, encrypted, None)
            except self._forged:
                continue
            age = now - int.from_bytes(content[:_TIME], "big")
            return content[_TIME:].decode() if max_age is None or -_SKEW <= age <= max_age else None
        return None

    def _once(self, key: bytes, salt: str) -> AESGCM:
        """The cipher of one text."""
        return self._cipher(digest(key, salt.encode() + b"\x01", "sha256"))


def _base64(data: bytes) -> bytes:
    """RFC 4648 §5, without padding."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_URL_SAFE)


def _from_base64(text: str) -> bytes | None:
    """What :func:`_base64` wrote so, and not otherwise."""
    try:
        written = text.encode("ascii")
        data = a2b_base64(written.translate(_FROM_URL_SAFE) + b"=" * (-len(written) % 4))
    except ValueError:
        return None
    return data if _base64(data) == written else None
