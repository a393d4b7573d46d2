"""One connection's side of what is pushed at it: who may send what, and what it then says."""

from __future__ import annotations

from typing import Final

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.model import JSON
from jit_middleware.ports import Clock
from jit_middleware.settings.connections import DEFAULT_ALGORITHMS, OIDCConnection
from jit_middleware.settings.saml import SAMLConnection
from jit_middleware.sso.oidc.id_token import check_subject, text_claim
from jit_middleware.sso.oidc.kept import Kept
from jit_middleware.sso.oidc.keys import ProviderKeys
from jit_middleware.sso.oidc.metadata import ProviderMetadata
from jit_middleware.sso.oidc.pushed import LOGOUT, REVOCATION, SECURITY_EVENT, PushedVerifier, Sender, events_of
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.oidc.subjects import read_subject
from jit_middleware.sso.signals import (
    ABOUT_SOMEBODY,
    BACKCHANNEL_LOGOUT,
    VERIFICATION,
    LogoutToken,
    Receipt,
    SecurityEvent,
)

_LONGEST_EVENT: Final = 255
_LONGEST_STATE: Final = 512


class SignalReceiver:
    """Takes what may be pushed at one connection.

    ``keys`` and ``metadata`` are those of the OpenID provider, ``None`` for SAML; ``signal_keys`` those of the
    transmitter that the settings name, if they are others. ``revoke_url`` and ``signals_url`` are our own endpoints.
    """

    def __init__(
        self,
        connection: OIDCConnection | SAMLConnection,
        *,
        keys: ProviderKeys | None,
        metadata: Kept[ProviderMetadata] | None,
        signal_keys: ProviderKeys | None,
        revoke_url: str,
        signals_url: str,
        clock: Clock,
    ) -> None:
        openid = connection if isinstance(connection, OIDCConnection) else None
        signals = connection.signals
        self.issuer = None if openid is None else openid.issuer
        self._metadata = metadata
        self._client_id = None if openid is None else openid.client_id
        self._verifier = PushedVerifier(
            connection.name,
            DEFAULT_ALGORITHMS if openid is None else openid.algorithms,
            clock=clock,
            clock_skew=connection.clock_skew,
        )
        event_keys = signal_keys or keys
        self._provider: Sender | None = None
        self._transmitter: Sender | None = None
        self._revoker: Sender | None = None
        if openid is not None and keys is not None:
            self._provider = Sender(openid.issuer, openid.client_id, keys)
            self._revoker = Sender(openid.issuer, revoke_url, keys)
        if signals.issuer is not None and event_keys is not None:
            self._transmitter = Sender(signals.issuer, signals.audience or signals_url, event_keys)
            self._revoker = Sender(signals.issuer, revoke_url, event_keys)

    @property
    def takes_events(self) -> bool:
        return self._transmitter is not None

    @property
    def takes_revocations(self) -> bool:
        return self._revoker is not None

    async def logout_token(self, token: str) -> LogoutToken:
        sender = _present(self._provider)
        pushed = await self._verifier.verify(token, LOGOUT, sender)
        claims = pushed.claims
        events = claims.get("events")
        # Back-Channel Logout §2.4 asks for this member alone, and Keycloak writes a boolean beside it.
        if not isinstance(events, dict) or not isinstance(events.get(BACKCHANNEL_LOGOUT), dict):
            raise VerificationError(Reason.EVENT_MISMATCH, "no backchannel-logout")
        subject = check_subject(claims) if "sub" in claims else None
        idp_session = text_claim(claims, "sid")
        if subject is None and idp_session is None:
            raise VerificationError(Reason.CLAIM_MISSING, "sid or sub")
        return LogoutToken(pushed.receipt, sender.issuer, subject, idp_session)

    async def revocation(self, token: str) -> Receipt:
        pushed = await self._verifier.verify(token, REVOCATION, _present(self._revoker))
        caller: JSON = pushed.claims.get("sub")
        # The provider names the client that it speaks to; one that names another means another application.
        if self._client_id is not None and caller is not None and caller != self._client_id:
            raise VerificationError(Reason.AUTHORIZED_PARTY_MISMATCH)
        return pushed.receipt

    async def security_event(self, token: str) -> SecurityEvent:
        pushed = await self._verifier.verify(token, SECURITY_EVENT, _present(self._transmitter))
        events = events_of(pushed.claims)
        if len(events) != 1:
            raise VerificationError(Reason.EVENT_MISMATCH, "several events")
        ((event, said),) = events.items()
        if not event.isascii() or not event.isprintable() or len(event) > _LONGEST_EVENT:
            raise VerificationError(Reason.EVENT_MISMATCH, "no name of an event")
        subject = read_subject(pushed.claims.get("sub_id")) if event in ABOUT_SOMEBODY else None
        return SecurityEvent(
            pushed.receipt, event, subject, _state(said.get("state")) if event == VERIFICATION else None
        )

    async def framing_urls(self) -> tuple[str, ...]:
        if self.issuer is None or self._metadata is None:
            return ()
        try:
            metadata = await self._metadata.get()
        except (ProviderUnavailable, VerificationError):
            return (self.issuer,)
        logout = metadata.end_session_endpoint
        return (self.issuer,) if logout is None else (self.issuer, logout)


def _state(value: JSON) -> str | None:
    """``state`` of a verification event (SSF 1.0 §7.1.4), which comes back as the operator gave it."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_STATE:
        raise VerificationError(Reason.CLAIM_MALFORMED, "state")
    return value


def _present(sender: Sender | None) -> Sender:
    if sender is None:
        raise VerificationError(Reason.KEY_UNKNOWN, "nobody may send this here")
    return sender
