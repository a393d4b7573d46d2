"""Forgetting what nobody needs any more: used once-keys, ended sessions, feed entries that every worker has read."""

from __future__ import annotations

import logging

from jit_middleware.errors import AdapterError
from jit_middleware.ports import Clock, Ledger

log = logging.getLogger("jit_middleware.sessions")

_EVERY = 3_600
_KEPT = 86_400


class Housekeeping:
    """Sweeps at most once an hour in each worker, on the heels of a login; what is a day old goes."""

    def __init__(self, ledger: Ledger, *, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._due = clock.monotonic() + _EVERY

    async def sweep_if_due(self) -> None:
        """Sweep when it is time. A sweep that fails is no reason to fail a login; the next one is in an hour."""
        if self._clock.monotonic() < self._due:
            return
        self._due = self._clock.monotonic() + _EVERY
        try:
            gone = await self._ledger.prune(self._clock.now() - _KEPT)
        except AdapterError as error:
            log.warning("old records not swept: %s", error)
        else:
            log.info("swept %d old records", gone)
