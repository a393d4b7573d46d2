"""The revocation feed: no request is served on knowledge older than the bound.

One small read tells a worker which sessions, users or connections changed since its last one; what is named leaves
the cache at once. The read is shared: one reader at a time, the others wait for its answer. Age is measured on the
monotonic clock from before the read began, so that the bound holds whatever the database takes.
"""

from __future__ import annotations

import logging
import math

from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import FeedPage
from jit_middleware.ports import Clock, Ledger, Locks
from jit_middleware.sessions.cache import SessionCache

_PAGE = 1_000

log = logging.getLogger("jit_middleware.sessions")


class RevocationFeed:
    """Keeps the cache no staler than ``max_staleness`` seconds (0: every request asks)."""

    def __init__(
        self, ledger: Ledger, cache: SessionCache, *, max_staleness: float, grace: float, clock: Clock, locks: Locks
    ) -> None:
        self._ledger = ledger
        self._cache = cache
        self._max_staleness = max_staleness
        self._grace = grace
        self._clock = clock
        self._reading = locks()
        self._read_began = -math.inf
        self.position: int | None = None
        self.fresh_until = -math.inf

    async def ensure_fresh(self) -> None:
        """Return once the cache holds nothing that was revoked longer than the bound ago.

        Raises ``StoreUnavailable`` when the feed has not been readable for longer than the grace period.
        """
        asked = self._clock.monotonic()
        if asked < self.fresh_until:
            return
        async with self._reading:
            if self._read_began >= asked or asked < self.fresh_until:
                return  # the reader before us began after we asked
            await self._read()

    async def _read(self) -> None:
        began = self._clock.monotonic()
        try:
            while True:
                page = await self._ledger.read_feed(self.position, _PAGE)
                self._apply(page)
                if len(page.entries) < _PAGE:
                    break
        except StoreUnavailable as error:
            if self.position is None or began >= self._read_began + self._grace:
                raise
            log.error("revocation feed unreadable, serving within the grace period: %s", error)
            self.fresh_until = began + min(1.0, self._grace / 10)
            return
        self._read_began = began
        self.fresh_until = began + self._max_staleness

    def _apply(self, page: FeedPage) -> None:
        # The position first: whoever loads a session meanwhile either sees it moved, or has its entry dropped below.
        self.position = page.position
        if not page.complete or any(entry.kind not in {"session", "user"} for entry in page.entries):
            self._cache.clear()
        elif page.entries:
            sessions = {entry.key for entry in page.entries if entry.kind == "session"}
            users = {entry.key for entry in page.entries if entry.kind == "user"}
            self._cache.drop_all_of(sessions=sessions, users=users)
