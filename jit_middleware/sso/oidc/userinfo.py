"""The userinfo endpoint (OIDC Core §5.3): asked only for claims the ID token lacks, believed only beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Clock, Fetch, Fetched, Transport
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.json import NotStrictJSON, parse_object
from jit_middleware.sso.oidc.id_token import check_parties, time_claim
from jit_middleware.sso.oidc.jws import read_token
from jit_middleware.sso.oidc.keys import ProviderKeys
from jit_middleware.sso.oidc.metadata import ProviderMetadata
from jit_middleware.sso.oidc.reasons import Reason

#: Claims about the token and the login: those of the ID token stand alone.
_OF_THE_TOKEN: Final = frozenset(
    {
        "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "nonce", "at_hash", "c_hash", "s_hash", "sid",
        "auth_time", "acr", "amr", "session_expiry", "events",
    }
)  # fmt: skip
#: A claim that vouches for another one, and is worth nothing beside a different value of it.
_VOUCHERS: Final = (("email", "email_verified"), ("phone_number", "phone_number_verified"))


class Userinfo:
    """Completes the claims of verified ID tokens of one connection."""

    def __init__(self, connection: OIDCConnection, keys: ProviderKeys, transport: Transport, *, clock: Clock) -> None:
        self._connection = connection
        self._keys = keys
        self._transport = transport
        self._clock = clock

    async def complete(self, claims: dict[str, JSON], access_token: str, metadata: ProviderMetadata) -> dict[str, JSON]:
        """The claims with what userinfo adds to them; the ID token wins wherever both speak.

        Raises ``VerificationError`` or ``ProviderUnavailable``.
        """
        if not self._is_wanted(claims):
            return claims
        if metadata.userinfo_endpoint is None:
            if self._connection.userinfo == "always":
                raise VerificationError(Reason.USERINFO_UNSUPPORTED)
            return claims
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json, application/jwt"}
        answer = await self._transport.fetch(Fetch(metadata.userinfo_endpoint, headers=headers))
        return merge(claims, await self._read(answer))

    def _is_wanted(self, claims: Mapping[str, JSON]) -> bool:
        match self._connection.userinfo:
            case "always":
                return True
            case "never":
                return False
            case "auto":
                return any(claims.get(name) is None for name in self._connection.needed_claims)

    async def _read(self, answer: Fetched) -> dict[str, JSON]:
        if answer.status != 200:
            raise ProviderUnavailable(Reason.USERINFO_UNAVAILABLE, f"status {answer.status}")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "application/jwt":
            return await self._verify(answer.body)
        try:
            return parse_object(answer.body)
        except NotStrictJSON as problem:
            raise ProviderUnavailable(Reason.USERINFO_MALFORMED, str(problem)) from None

    async def _verify(self, body: bytes) -> dict[str, JSON]:
        """Signed userinfo: the same provider, for us (OIDC Core §5.3.2), and still valid if it says until when."""
        signed = read_token(body.decode("latin-1").strip(), self._connection.algorithms)
        await self._keys.verify(signed)
        claims = signed.claims()
        check_parties(claims, self._connection.issuer, self._connection.client_id)
        expires = time_claim(claims, "exp")
        if expires is not None and self._clock.now() >= expires + self._connection.clock_skew:
            raise VerificationError(Reason.TOKEN_EXPIRED)
        return claims


def merge(claims: dict[str, JSON], more: Mapping[str, JSON]) -> dict[str, JSON]:
    """Both sets of claims about one person. Raises ``VerificationError`` if they are about two."""
    # OIDC Core §5.3.2: without this, an access token of somebody else could be swapped in.
    if more.get("sub") != claims["sub"]:
        raise VerificationError(Reason.USERINFO_SUBJECT_MISMATCH)
    dropped = set(_OF_THE_TOKEN)
    for value, voucher in _VOUCHERS:
        if claims.get(value) is not None and claims[value] != more.get(value):
            dropped.add(voucher)  # "verified" said of another address
    merged = {name: value for name, value in more.items() if name not in dropped}
    merged.update((name, value) for name, value in claims.items() if value is not None or name not in merged)
    return merged
