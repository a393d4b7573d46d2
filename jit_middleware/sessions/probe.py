"""The refresh probe: the provider is asked now and then, by a refresh token, whether the person is still welcome.

Theory of operation. The token of the login lies sealed in the session's row, with the time from which on the provider
is to be asked. The first request that loads the session after that time takes the question by a conditional write:
one worker asks, all others serve the session meanwhile. Providers may replace the token at each use and take a second
use for theft (RFC 9700 §4.14.2), so what they answer is kept in one write, and the old token is not used again.

A refusal ends the session. A provider that does not answer, or not by the protocol, is forgiven for the grace period.
What the provider says about the person is not read: a probe changes no user.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import AdapterError, ProviderRefused, StoreUnavailable, VerificationError
from jit_middleware.keyring import Envelope
from jit_middleware.model import SessionRecord, VerifiedIdentity
from jit_middleware.ports import Clock, Ledger, Transaction

log = logging.getLogger("jit_middleware.sessions")

_LEASE: Final = 60  # longer than asking can take; after that another worker may ask
_MEANWHILE: Final = 5
_ASK_AGAIN: Final = 60
#: RFC 6749 §5.2, and the errors of OIDC Core §3.1.2.6 by which providers say that the person has to come themself.
_GONE: Final = frozenset(
    {"invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"}
)


@dataclass(frozen=True, slots=True)
class Probe:
    """How one connection is asked: every so many seconds, forgiven for ``grace`` seconds.

    ``refresh`` uses a refresh token and returns the one that takes its place, ``None`` when it stays. It raises
    ``ProviderRefused``, ``ProviderUnavailable`` or ``VerificationError``.
    """

    every: int
    grace: int
    refresh: Callable[[str], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a new session begins: its sealed token, the time of the first question, and the end that it must have."""

    refresh_token: str | None = None
    probe_at: int | None = None
    ends_by: float = math.inf


class RefreshProbes:
    """Asks for the sessions of those connections that have a probe."""

    def __init__(
        self, probes: Mapping[str, Probe], *, ledger: Ledger, envelope: Envelope, audit: AuditTrail, clock: Clock
    ) -> None:
        self._probes = probes
        self._ledger = ledger
        self._envelope = envelope
        self._audit = audit
        self._clock = clock

    def begin(self, identity: VerifiedIdentity, now: int) -> Beginning:
        """What a session of this identity takes along. One that cannot be asked about lasts as long as an answer."""
        probe = self._probes.get(identity.connection)
        if probe is None:
            return Beginning()
        if identity.refresh_token is None:
            log.warning(
                "connection=%s gave no refresh token: the session ends in %ds", identity.connection, probe.every
            )
            return Beginning(ends_by=now + probe.every)
        return Beginning(self._envelope.seal(identity.refresh_token, now), now + probe.every)

    async def look(self, session: SessionRecord) -> float:
        """Ask if it is time; for how many seconds the session may be served without another look. 0: it has ended."""
        probe, now = self._probes.get(session.connection), self._clock.now()
        if probe is None or session.refresh_token is None or session.probe_at is None:
            return math.inf
        if now < session.probe_at:
            return session.probe_at - now
        lease = now + _LEASE
        try:
            if not await self._ledger.claim_probe(session.id, due=session.probe_at, lease=lease):
                return _MEANWHILE
            return await self._ask(session, session.refresh_token, probe, lease)
        except StoreUnavailable as error:
            # A database that can be read but not written ends no session that is alive.
            log.warning("a session is not asked about, or the answer is not kept: %s", error)
            return _MEANWHILE

    async def _ask(self, session: SessionRecord, sealed: str, probe: Probe, lease: int) -> float:
        token = self._envelope.open(sealed, now=self._clock.now())
        if token is None:
            return await self._end(session, "refresh_refused")
        try:
            renewed = await probe.refresh(token)
        except ProviderRefused as refusal:
            if refusal.reason in _GONE:
                return await self._end(session, "refresh_refused")
            return await self._forgive(session, sealed, probe, lease, refusal.reason)
        except (AdapterError, VerificationError) as error:
            return await self._forgive(session, sealed, probe, lease, error.reason)
        now = self._clock.now()
        kept = sealed if renewed is None else self._envelope.seal(renewed, now)
        return await self._keep(session, kept, lease, probe_at=now + probe.every, failing_since=None)

    async def _forgive(self, session: SessionRecord, sealed: str, probe: Probe, lease: int, reason: str) -> float:
        now = self._clock.now()
        since = now if session.probe_failing_since is None else session.probe_failing_since
        log.warning("connection=%s does not say whether people are still welcome: %s", session.connection, reason)
        if now >= since + probe.grace:
            return await self._end(session, "refresh_unreachable")
        again = max(now + 1, min(now + min(probe.every, _ASK_AGAIN), since + probe.grace))
        return await self._keep(session, sealed, lease, probe_at=again, failing_since=since)

    async def _keep(
        self, session: SessionRecord, sealed: str, lease: int, *, probe_at: int, failing_since: int | None
    ) -> float:
        kept = await self._ledger.settle_probe(
            session.id, lease=lease, probe_at=probe_at, failing_since=failing_since, refresh_token=sealed
        )
        return probe_at - self._clock.now() if kept else _MEANWHILE

    async def _end(self, session: SessionRecord, cause: Literal["refresh_refused", "refresh_unreachable"]) -> float:
        async def end(tx: Transaction) -> None:
            for ended in await tx.end_sessions(self._clock.now(), session_id=session.id):
                await tx.append_audit(self._audit.session_ended(ended, cause=cause))

        try:
            await self._ledger.transaction(end)
        except AdapterError as error:
            # This request is refused all the same, and the question comes up again when the lease is over.
            log.error("session not ended, although it has to be (%s): %s", cause, error)
        return 0
