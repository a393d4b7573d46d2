"""Sessions that were committed after a revocation had looked for them: not served, and ended when they are found."""

from __future__ import annotations

import logging

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import AdapterError
from jit_middleware.model import SessionView
from jit_middleware.overtaking import is_view_overtaken
from jit_middleware.ports import Clock, Ledger, Transaction

log = logging.getLogger("jit_middleware.sessions")


class Overtaken:
    """Ends what nobody is served, so that it stands nowhere as a live session, and its refresh token goes."""

    def __init__(self, ledger: Ledger, *, audit: AuditTrail, clock: Clock) -> None:
        self._ledger = ledger
        self._audit = audit
        self._clock = clock

    async def end(self, view: SessionView) -> None:
        """End the session if it was overtaken and is not over; when that fails, the next request tries."""
        session = view.session
        if session.ended_at is not None or self._clock.now() >= session.expires_at or not is_view_overtaken(view):
            return

        async def end(tx: Transaction) -> None:
            for ended in await tx.end_sessions(self._clock.now(), session_id=session.id):
                await tx.append_audit(self._audit.session_ended(ended, cause="revoked_meanwhile"))

        try:
            await self._ledger.transaction(end)
        except AdapterError as error:
            log.warning("an overtaken session is not served, and not ended yet: %s", error)
