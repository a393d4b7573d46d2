"""Signed tokens (RFC 7515, compact form): judged before any cryptography, verified with given keys only.

joserfc does the cryptography, and is imported with the first token. What decides, the header and which key may be
tried, is decided here and in ``keys``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON
from jit_middleware.records import record
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.reasons import Reason

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    AsymmetricKey = RSAKey | ECKey | OKPKey

MAX_BYTES: Final = 65_536
_LONGEST_REMEMBERED: Final = 512

#: The ``typ`` of an ID token, lower case; ``None`` stands for a header without one.
ID_TOKEN_TYPES: Final[frozenset[str | None]] = frozenset({None, "jwt"})

#: The only algorithms there are, whatever is configured: public-key signatures (RFC 8725 §3.1), never none, never HMAC.
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"}
)


@record(frozen=True, slots=True)
class SignedToken:
    """A token whose header may be acted on. Nothing is verified yet."""

    algorithm: str
    kid: str | None
    payload: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def is_signed_with(self, key: AsymmetricKey) -> bool:
        """Whether this key, which fits the algorithm, made the signature."""
        from joserfc.errors import JoseError
        from joserfc.jws import JWSRegistry

        try:
            return JWSRegistry.algorithms[self.algorithm].verify(self.signing_input, self.signature, key)
        except (JoseError, ValueError):
            return False

    def claims(self) -> dict[str, JSON]:
        """The payload as one strict JSON object; to be called on a verified token. Raises ``VerificationError``."""
        try:
            return parse_object(self.payload)
        except NotStrictJSON as problem:
            raise VerificationError(Reason.TOKEN_MALFORMED, f"payload: {problem}") from None


def read_token(
    token: str,
    algorithms: Collection[str],
    *,
    types: Collection[str | None] = ID_TOKEN_TYPES,
    most_bytes: int = MAX_BYTES,
) -> SignedToken:
    """Take a compact JWS apart and judge its header (RFC 8725 §3), ``typ`` being one of ``types``.

    Raises ``VerificationError``.
    """
    from joserfc.util import urlsafe_b64decode

    if len(token) > most_bytes:
        raise VerificationError(Reason.TOKEN_TOO_LARGE)
    try:
        raw_header, raw_payload, raw_signature = token.encode("ascii").split(b".")
        header = _header_of(raw_header)
        payload = urlsafe_b64decode(raw_payload)
        signature = urlsafe_b64decode(raw_signature)
    except NotStrictJSON as problem:
        raise VerificationError(Reason.TOKEN_MALFORMED, f"header: {problem}") from None
    except ValueError:
        raise VerificationError(Reason.TOKEN_MALFORMED, "not a compact JWS") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise VerificationError(Reason.ALGORITHM_NOT_ALLOWED)
    _check_header(header)
    _check_type(header, types)
    if not isinstance(kid, str | None):
        raise VerificationError(Reason.TOKEN_MALFORMED, "kid is not a string")
    return SignedToken(algorithm, kid, payload, raw_header + b"." + raw_payload, signature)


def _header_of(raw: bytes) -> Mapping[str, JSON]:
    """The header, which is the same in all that one key signs: the last few are remembered, read and not judged."""
    return _remembered(raw) if len(raw) <= _LONGEST_REMEMBERED else _read_header(raw)


def _read_header(raw: bytes) -> Mapping[str, JSON]:
    from joserfc.util import urlsafe_b64decode

    return parse_object(urlsafe_b64decode(raw))


_remembered = lru_cache(maxsize=64)(_read_header)


def _check_header(header: Mapping[str, JSON]) -> None:
    # RFC 7515 §4.1.11: crit names extensions that must be understood; we understand none.
    if "crit" in header or "b64" in header or "zip" in header or "enc" in header:
        raise VerificationError(Reason.CRITICAL_HEADER)
    # RFC 7515 §10: keys come from the connection's key set alone, never from the token (CVE-2026-27962).
    if "jwk" in header or "jku" in header or "x5c" in header or "x5u" in header:
        raise VerificationError(Reason.KEY_IN_HEADER)


def _check_type(header: Mapping[str, JSON], types: Collection[str | None]) -> None:
    """RFC 8725 §3.11: ``at+jwt``, ``logout+jwt`` and the like are each made for one purpose."""
    if "typ" not in header and None in types:
        return
    typ = header.get("typ")
    # RFC 7515 §4.1.9: a media type, so without regard to case, and "application/" may be left out.
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in types:
        raise VerificationError(Reason.TOKEN_TYPE_CONFUSED, "typ")


def sign_token(header: Mapping[str, JSON], claims: Mapping[str, JSON], algorithm: str, key: AsymmetricKey) -> str:
    """A compact JWS of these claims, signed with our key."""
    from joserfc.jws import JWSRegistry
    from joserfc.util import urlsafe_b64encode

    parts = ({**header, "alg": algorithm, "typ": "JWT"}, claims)
    signing_input = b".".join(urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    signature = JWSRegistry.algorithms[algorithm].sign(signing_input, key)
    return (signing_input + b"." + urlsafe_b64encode(signature)).decode("ascii")
