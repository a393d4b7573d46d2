"""From verified claims to a :class:`~jit_middleware.model.VerifiedIdentity`; the last step, after every check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON, VerifiedIdentity
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.oidc.id_token import check_subject, text_claim, time_claim
from jit_middleware.sso.oidc.reasons import Reason

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_EMAIL: Final = 320


def identity_of(
    claims: Mapping[str, JSON],
    connection: OIDCConnection,
    id_token: str,
    refresh_token: str | None = None,
    *,
    begun_at: int = 0,
) -> VerifiedIdentity:
    """Who signed in, by a login that was begun then. Raises ``VerificationError`` for claims of a wrong type."""
    email = _email(claims)
    return VerifiedIdentity(
        connection=connection.name,
        issuer=connection.issuer,
        subject=check_subject(claims),
        claims=claims,
        tenant=connection.tenant,
        email=email,
        email_verified=_email_verified(claims) if email is not None else None,
        idp_session=text_claim(claims, "sid"),
        auth_time=time_claim(claims, "auth_time"),
        acr=text_claim(claims, "acr"),
        amr=_amr(claims),
        session_ceiling=_ceiling(claims, connection),
        logout_hint=id_token,
        refresh_token=refresh_token if connection.refresh_probe is not None else None,
        begun_at=begun_at,
    )


def _ceiling(claims: Mapping[str, JSON], connection: OIDCConnection) -> int | None:
    names = ("session_expiry", "exp") if connection.session_ceiling == "id_token" else ("session_expiry",)
    ends = (time_claim(claims, name) for name in names)
    return min((end for end in ends if end is not None), default=None)


def _email(claims: Mapping[str, JSON]) -> str | None:
    email = claims.get("email")
    if email is None or email == "":
        return None
    if not isinstance(email, str) or len(email) > _LONGEST_EMAIL or _CONTROL.search(email):
        raise VerificationError(Reason.CLAIM_MALFORMED, "email")
    return email


def _email_verified(claims: Mapping[str, JSON]) -> bool | None:
    """Only the JSON value ``true`` verifies an address; ``"true"``, ``1`` and ``["x"]`` do not (they are truthy)."""
    return claims["email_verified"] is True if "email_verified" in claims else None


def _amr(claims: Mapping[str, JSON]) -> tuple[str, ...]:
    methods = claims.get("amr")
    if methods is None:
        return ()
    if not isinstance(methods, list):
        raise VerificationError(Reason.CLAIM_MALFORMED, "amr")
    names = tuple(method for method in methods if isinstance(method, str))
    if len(names) != len(methods):
        raise VerificationError(Reason.CLAIM_MALFORMED, "amr")
    return names
