"""Tokens that are pushed at us, by whoever knows our address: one verifier for all kinds.

The same keys sign ID tokens, logout tokens and security events, for the same audience. What keeps one from being taken
for another is the ``typ`` in the header, and claims that one kind must have and another never has (RFC 8725 §3.11,
§3.12). An ID token has no place here, and none of these has a place in a login.

A token is looked at in the order in which it can be trusted: its size, its header, the signature with the keys of the
one who may have sent it, and only then what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from hashlib import sha256
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON, OnceKey
from jit_middleware.ports import Clock
from jit_middleware.records import dataclass
from jit_middleware.sso.oidc.id_token import time_claim
from jit_middleware.sso.oidc.jws import read_token
from jit_middleware.sso.oidc.keys import ProviderKeys
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.signals import Receipt

LARGEST: Final = 16_384  # bytes of a token
FRESH: Final = 300  # seconds from iat to the arrival of what is sent once
REMEMBERED: Final = 86_400  # seconds for which a jti is known as used, longer than any token is taken
#: Seconds from iat to the arrival of what is sent until it is taken (RFC 8935 §3): an outage must not lose it.
RETRIED: Final = REMEMBERED - 3_600
_LONGEST_JTI: Final = 1024


@dataclass(frozen=True, slots=True)
class PushedKind:
    """One kind of pushed token. ``types`` are its values of ``typ``, ``None`` standing for a header without one;
    ``within`` is how many seconds after ``iat`` it may arrive."""

    name: str
    types: frozenset[str | None]
    expires: bool
    never: frozenset[str]
    within: int = FRESH


#: OIDC Back-Channel Logout §2.4. Older providers send no ``typ``, or the general one: the event tells it apart then.
LOGOUT: Final = PushedKind("logout", frozenset({"logout+jwt", "jwt", None}), True, frozenset({"nonce"}))
#: RFC 8417 §2.3; SSF 1.0 forbids what would make it look like an ID or access token.
SECURITY_EVENT: Final = PushedKind(
    "event", frozenset({"secevent+jwt"}), False, frozenset({"exp", "sub", "nonce"}), RETRIED
)
#: What authenticates a global token revocation, as Okta sends it.
REVOCATION: Final = PushedKind(
    "revocation", frozenset({"global-token-revocation+jwt"}), True, frozenset({"events", "nonce"})
)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who may have sent it, with the keys that show it, and whom it has to name as ``audience``."""

    issuer: str
    audience: str
    keys: ProviderKeys = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A token that has passed every check that all kinds share."""

    claims: Mapping[str, JSON] = field(repr=False)
    receipt: Receipt


class PushedVerifier:
    """Verifies what is pushed at one connection."""

    def __init__(self, connection: str, algorithms: tuple[str, ...], *, clock: Clock, clock_skew: int) -> None:
        self._connection = connection
        self._algorithms = algorithms
        self._clock = clock
        self._clock_skew = clock_skew

    async def verify(self, token: str, kind: PushedKind, sender: Sender) -> Pushed:
        """The claims of this token and its one use. Raises ``VerificationError`` or ``ProviderUnavailable``."""
        signed = read_token(token, self._algorithms, types=kind.types, most_bytes=LARGEST)
        await sender.keys.verify_pushed(signed)
        claims, now = signed.claims(), self._clock.now()
        if claims.get("iss") != sender.issuer:
            raise VerificationError(Reason.ISSUER_MISMATCH)
        _check_audience(claims, sender.audience)
        for name in sorted(kind.never):
            if name in claims:
                raise VerificationError(Reason.CLAIM_FORBIDDEN, name)
        _check_times(claims, now, self._clock_skew, kind)
        return Pushed(claims, self._receipt(_jti(claims), sender, now))

    def _receipt(self, jti: str, sender: Sender, now: int) -> Receipt:
        key = f"{self._connection} {sender.issuer} {jti}"
        return Receipt(sha256(jti.encode()).hexdigest()[:32], OnceKey("pushed_token", key, now + REMEMBERED))


def events_of(claims: Mapping[str, JSON]) -> Mapping[str, Mapping[str, JSON]]:
    """``events`` (RFC 8417 §2.2): the types of the events, each with what it says. Raises ``VerificationError``."""
    events = claims.get("events")
    if not isinstance(events, dict) or not events:
        raise VerificationError(Reason.EVENT_MISMATCH, "no events")
    found = {name: payload for name, payload in events.items() if isinstance(payload, dict)}
    if len(found) != len(events):
        raise VerificationError(Reason.EVENT_MISMATCH, "an event that is no object")
    return found


def _check_audience(claims: Mapping[str, JSON], audience: str) -> None:
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise VerificationError(Reason.AUDIENCE_MISMATCH)
    if audience not in audiences:
        raise VerificationError(Reason.AUDIENCE_MISMATCH)


def _check_times(claims: Mapping[str, JSON], now: int, skew: int, kind: PushedKind) -> None:
    ends, issued, begins = (time_claim(claims, name) for name in ("exp", "iat", "nbf"))
    if issued is None or (kind.expires and ends is None):
        raise VerificationError(Reason.CLAIM_MISSING, "iat" if issued is None else "exp")
    if issued > now + skew or (begins is not None and begins > now + skew):
        raise VerificationError(Reason.TOKEN_NOT_YET_VALID)
    if now - issued > kind.within + skew:
        raise VerificationError(Reason.TOKEN_TOO_OLD)
    if ends is not None and now >= ends + skew:
        raise VerificationError(Reason.TOKEN_EXPIRED)


def _jti(claims: Mapping[str, JSON]) -> str:
    jti = claims.get("jti")
    if jti is None:
        raise VerificationError(Reason.CLAIM_MISSING, "jti")
    if not isinstance(jti, str) or not jti.strip() or len(jti) > _LONGEST_JTI:
        raise VerificationError(Reason.CLAIM_MALFORMED, "jti")
    return jti
