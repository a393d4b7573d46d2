"""How fast users appear: a limit that refuses, and an alarm that only tells.

A provider that begins to assert thousands of people is taken over or misconfigured, and each of them would get an
account here. The limit is counted like the seats, under the tenant's lock. The alarm is looked at after the commit of a
creation, by each worker at most every half minute, and is raised once in its window whichever worker notices.
"""

from __future__ import annotations

import logging
from typing import Final

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import AdapterError, Conflict, CreationLimited
from jit_middleware.model import AuditEvent, IdentityLink
from jit_middleware.ports import Clock, Ledger, Transaction
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ProvisioningSettings, Rate

log = logging.getLogger("jit_middleware.provisioning")

_LOOK_EVERY: Final = 30


async def check_creation_rate(
    tx: Transaction,
    settings: ProvisioningSettings,
    tenant: str,
    steps: Steps,
    *,
    at: int,
    besides: IdentityLink | None = None,
) -> None:
    """Pass while fewer users than ``creation_rate`` were made in its window. Raises ``CreationLimited``.

    ``besides`` is the open intent of the very login that asks. Without a rate nothing is held and nothing counted.
    """
    rate = settings.creation_rate
    if rate is None:
        return
    await tx.hold_tenant(tenant)
    if await tx.count_created(tenant, since=at - rate.seconds + 1, besides=besides) >= rate.count:
        steps.note("creation_rate", "refused", str(rate))
        raise CreationLimited("creation_rate", f"JIT_CREATION_RATE is {rate}")
    steps.note("creation_rate", "passed")


class CreationAlarm:
    """Tells when more users appear than anybody expects; one in each worker."""

    def __init__(self, settings: ProvisioningSettings, *, ledger: Ledger, audit: AuditTrail, clock: Clock) -> None:
        self._rate = settings.creation_alarm
        self._ledger = ledger
        self._audit = audit
        self._clock = clock
        self._due: dict[str, float] = {}

    async def look(self, tenant: str) -> None:
        """Look, if it is time, and raise the alarm with the event ``provisioning.alarm``.

        Never fails: somebody has just been signed in, and the alarm is not about them.
        """
        rate, now = self._rate, self._clock.monotonic()
        if rate is None or now < self._due.get(tenant, now):
            return
        self._due[tenant] = now + _LOOK_EVERY
        at = self._clock.now()

        async def work(tx: Transaction) -> int:
            made = await tx.count_created(tenant, since=at - rate.seconds + 1)
            if made >= rate.count:
                await tx.append_audit(self._event(tenant, rate, made, at))
            return made

        try:
            made = await self._ledger.transaction(work)
        except Conflict:
            return  # another worker was quicker in this window
        except AdapterError as error:
            log.warning("creation alarm not looked at: %s", error.reason)
            return
        if made >= rate.count:
            log.warning("%d users of tenant %r were made within %ds (JIT_CREATION_ALARM)", made, tenant, rate.seconds)

    def _event(self, tenant: str, rate: Rate, made: int, at: int) -> AuditEvent:
        return AuditEvent(
            id=self._audit.new_id(),
            type="provisioning.alarm",
            at=at,
            tenant=tenant,
            data={"created": made, "rate": str(rate)},
            once=f"provisioning.alarm:{tenant}:{rate}:{at // rate.seconds}",
        )
