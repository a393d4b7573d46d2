"""The ID token, every check of OIDC Core §3.1.3.7 and RFC 8725: the one verification boundary of this room.

Header first, then the signature with the provider's own keys, then the payload. A claim is looked at only when it is
known who signed it, and refused when its type is not exactly the one the specification gives it.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Clock
from jit_middleware.records import record
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.oidc.authorization import same
from jit_middleware.sso.oidc.jws import read_token
from jit_middleware.sso.oidc.keys import ProviderKeys
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.strategy import LoginState

_CODE_LIFETIME: Final = 600  # RFC 6749 §4.1.2: a code lives ten minutes at most, so its ID token is no older
_SUBJECT: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_LATEST: Final = 253_402_300_799  # the last second of the year 9999


@record(frozen=True, slots=True)
class Redeemed:
    """What the ID token came with, and is tied to."""

    login: LoginState
    code: str = field(repr=False)
    access_token: str = field(repr=False)


class IDTokenVerifier:
    """Verifies the ID tokens of one connection."""

    def __init__(self, connection: OIDCConnection, keys: ProviderKeys, *, clock: Clock) -> None:
        self._connection = connection
        self._keys = keys
        self._clock = clock

    async def verify(self, token: str, redeemed: Redeemed) -> dict[str, JSON]:
        """The claims of this token, every check passed. Raises ``VerificationError`` or ``ProviderUnavailable``."""
        signed = read_token(token, self._connection.algorithms)
        signer = await self._keys.verify(signed)
        claims = signed.claims()
        connection, now = self._connection, self._clock.now()
        check_parties(claims, connection.issuer, connection.client_id)
        check_subject(claims)
        _check_nonce(claims, redeemed.login.nonce)
        _check_times(claims, now, connection)
        _check_hash(claims, "at_hash", redeemed.access_token, signed.algorithm, signer.curve)
        _check_hash(claims, "c_hash", redeemed.code, signed.algorithm, signer.curve)
        _check_authentication(claims, connection, redeemed.login, now)
        return claims


def check_parties(claims: Mapping[str, JSON], issuer: str, client_id: str) -> None:
    """From this issuer, for us and nobody else, and not a token of another kind (OIDC Core §3.1.3.7 (2) to (5))."""
    if claims.get("iss") != issuer:
        raise VerificationError(Reason.ISSUER_MISMATCH)
    # OIDC Back-Channel Logout §2.4: a logout token is signed by the same keys, for the same audience.
    if "events" in claims:
        raise VerificationError(Reason.TOKEN_TYPE_CONFUSED, "events")
    audience, party = claims.get("aud"), claims.get("azp")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise VerificationError(Reason.AUDIENCE_MISMATCH)
    if "azp" in claims and party != client_id:
        raise VerificationError(Reason.AUTHORIZED_PARTY_MISMATCH)
    if not all(isinstance(one, str) and (one == client_id or party is not None) for one in audiences):
        raise VerificationError(Reason.AUDIENCE_MISMATCH, "others beside us, and no azp")


def check_subject(claims: Mapping[str, JSON]) -> str:
    """``sub``: 1 to 255 printable ASCII characters (OIDC Core §2) without blanks around."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise VerificationError(Reason.SUBJECT_INVALID)
    return subject


def time_claim(claims: Mapping[str, JSON], name: str) -> int | None:
    """A NumericDate (RFC 7519 §2), in whole seconds, rounded down; ``None`` when absent. A bool is no number."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise VerificationError(Reason.CLAIM_MALFORMED, name)
    if not 0 <= value <= _LATEST:
        raise VerificationError(Reason.CLAIM_MALFORMED, name)
    return int(value)


def text_claim(claims: Mapping[str, JSON], name: str) -> str | None:
    """A short printable ASCII text, ``None`` when absent."""
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _SUBJECT.fullmatch(value):
        raise VerificationError(Reason.CLAIM_MALFORMED, name)
    return value


def _check_nonce(claims: Mapping[str, JSON], nonce: str) -> None:
    given = claims.get("nonce")
    if not isinstance(given, str) or not same(given, nonce):
        raise VerificationError(Reason.NONCE_MISMATCH)


def _check_times(claims: Mapping[str, JSON], now: int, connection: OIDCConnection) -> None:
    skew = connection.clock_skew
    expires, issued, begins = (time_claim(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None:
        raise VerificationError(Reason.CLAIM_MISSING, "exp" if expires is None else "iat")
    # Where the session ends with the token, one that has ended begins none.
    if now >= expires + (0 if connection.session_ceiling == "id_token" else skew):
        raise VerificationError(Reason.TOKEN_EXPIRED)
    if issued > now + skew or (begins is not None and begins > now + skew):
        raise VerificationError(Reason.TOKEN_NOT_YET_VALID)
    if now - issued > _CODE_LIFETIME + skew:
        raise VerificationError(Reason.TOKEN_TOO_OLD)


def _check_hash(claims: Mapping[str, JSON], name: str, text: str, algorithm: str, curve: str) -> None:
    """``at_hash`` and ``c_hash`` (OIDC Core §3.1.3.6, §3.3.2.11): optional here, but never wrong."""
    if name not in claims:
        return
    given = claims[name]
    if not isinstance(given, str) or not same(given, half_hash(text, algorithm, curve)):
        raise VerificationError(Reason.AT_HASH_MISMATCH if name == "at_hash" else Reason.C_HASH_MISMATCH)


def half_hash(text: str, algorithm: str, curve: str) -> str:
    """The left half of the hash that goes with a signature algorithm, base64url."""
    digest = _DIGESTS[curve if curve in _DIGESTS else algorithm[2:]](text.encode("ascii"))
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")


def _check_authentication(claims: Mapping[str, JSON], connection: OIDCConnection, login: LoginState, now: int) -> None:
    """When and how the person signed in, against what this connection asks for (OIDC Core §3.1.3.7 (12), (13)).

    A step-up asks for classes of its own in place of the connection's; whoever began it judges them.
    """
    signed_in = time_claim(claims, "auth_time")
    if signed_in is not None and signed_in > now + connection.clock_skew:
        raise VerificationError(Reason.CLAIM_MALFORMED, "auth_time")
    if connection.max_age is not None:
        if signed_in is None:
            raise VerificationError(Reason.CLAIM_MISSING, "auth_time")
        # Counted back from the moment we asked, as the provider does: a slow login is not an old one.
        if signed_in < login.created_at - connection.max_age - connection.clock_skew:
            raise VerificationError(Reason.LOGIN_TOO_OLD)
    acr = text_claim(claims, "acr")
    wants_others = login.step_up is not None and bool(login.step_up.acr)
    if connection.acr_values and not wants_others and acr not in connection.acr_values:
        raise VerificationError(Reason.ACR_INSUFFICIENT)
    ends = time_claim(claims, "session_expiry")
    # No skew: by our own clock, a session that ends with it would be over before the browser has its cookie.
    if ends is not None and now >= ends:
        raise VerificationError(Reason.SESSION_ENDED)


_DIGESTS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "256": lambda data: hashlib.sha256(data).digest(),
    "384": lambda data: hashlib.sha384(data).digest(),
    "512": lambda data: hashlib.sha512(data).digest(),
    # The hash inside the signature scheme itself (RFC 8032 §5.1, §5.2).
    "Ed25519": lambda data: hashlib.sha512(data).digest(),
    "Ed448": lambda data: hashlib.shake_256(data).digest(114),
}
